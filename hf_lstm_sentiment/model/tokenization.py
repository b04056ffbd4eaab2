"""Word-level tokenizers, trained on a corpus and saved as a plain `tokenizer.json` that needs no remote code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal, get_args

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from tokenizers.trainers import WordLevelTrainer
from transformers import PreTrainedTokenizerFast

from ..utils.messages import check_text, shown
from .normalization import words_normalizer

PAD_TOKEN, UNK_TOKEN = "<pad>", "<unk>"
Scheme = Literal["whitespace", "words"]

# Texts handed to the tokenizer at once: enough to keep its threads busy, few enough to keep their encodings small.
_BATCH = 1_000

# What counts as one word in the `words` scheme, in the order in which it is tried.
_WORD = "|".join(
    [
        r"n't(?![\p{L}\p{M}\p{N}])",
        r"'(?:s|m|d|re|ve|ll)(?![\p{L}\p{M}\p{N}])",
        r"can(?=not(?![\p{L}\p{M}\p{N}]))",
        r"(?:\p{L}\.){2,}",
        # 3d, 2x, 8mm.
        r"\p{N}[\p{L}\p{M}]{1,2}(?![\p{L}\p{M}\p{N}])",
        # A number keeps its digits whatever follows, except in a word of both, as 4x4: 10stars, 3:30pm, 1,000x.
        r"\p{N}+(?!\p{N})(?:[.,:]\p{N}+(?!\p{N}))*(?![.,:]\p{N})(?:(?:st|nd|rd|th|s)(?![\p{L}\p{M}]))?"
        r"(?![\p{L}\p{M}]+\p{N})",
        r"[\p{L}\p{M}\p{N}]+",
        r"\.{2,}|-{2,}",
        r"\S",
    ]
)


def _pipeline(scheme: Scheme) -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
    """Make the normalizer and the splitter of a scheme."""
    if scheme == "words":
        return words_normalizer(), pre_tokenizers.Split(Regex(_WORD), behavior="removed", invert=True)
    # A review that spells out a special token holds text. WordLevel would look it up in its vocabulary, so it must not
    # be spelled the same when it gets there.
    tokens = [normalizers.Replace(token, f"[{token[1:-1]}]") for token in (PAD_TOKEN, UNK_TOKEN)]
    return normalizers.Sequence([normalizers.Lowercase(), *tokens]), pre_tokenizers.WhitespaceSplit()


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def split_words(texts: Iterable[str], *, scheme: Scheme) -> Iterator[list[str]]:
    """Split each text into the words that a tokenizer of this package would look up."""
    normalizer, splitter = _pipeline(scheme)
    for text in texts:
        yield [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]


def _words_by_frequency(
    texts: Iterable[str], normalizer: normalizers.Normalizer, splitter: pre_tokenizers.PreTokenizer
) -> list[str]:
    """List words in the order of `collections.Counter.most_common`: of equals, the one that occurs first is first."""
    # Split by the tokenizer that will be used, so that no word is counted which it would never produce.
    counter = Tokenizer(WordLevel({UNK_TOKEN: 0}, unk_token=UNK_TOKEN))
    counter.normalizer, counter.pre_tokenizer = normalizer, splitter
    everything = WordLevelTrainer(vocab_size=2**31 - 1, min_frequency=0, show_progress=False)
    counter.train_from_iterator(_batches(texts), everything)
    counts = np.zeros(counter.get_vocab_size(), dtype=np.int64)
    first = np.full(len(counts), np.iinfo(np.int64).max)
    position = 0
    for batch in _batches(texts):
        ids = np.concatenate([np.asarray(e.ids, dtype=np.int64) for e in counter.encode_batch(batch)])
        found, where, number = np.unique(ids, return_index=True, return_counts=True)
        counts[found] += number
        first[found] = np.minimum(first[found], where + position)
        position += len(ids)
    seen = np.flatnonzero(counts)
    order = seen[np.lexsort((first[seen], -counts[seen]))]
    words = {index: word for word, index in counter.get_vocab().items()}
    return [words[int(i)] for i in order]


def train_tokenizer(
    texts: Iterable[str],
    *,
    scheme: Scheme = "whitespace",
    vocab_size: int = 25_000,
    max_length: int = 256,
    rank: Callable[[list[str]], list[str]] | None = None,
) -> PreTrainedTokenizerFast:
    """Build a word-level tokenizer from a corpus.

    Args:
        texts: The corpus. Its order decides which of two equally frequent words comes first. It is read three times,
            in batches; an iterator, which can be read once only, becomes a list.
        scheme: "whitespace" lower-cases and splits on white space, as the reference experiment does. "words" removes
            HTML line breaks and splits punctuation and contractions off as the GloVe vocabulary does: do n't, it 's.
        vocab_size: Words to keep, the most frequent ones; `<pad>` (id 0) and `<unk>` (id 1) come on top.
        max_length: Tokens that a model reads of a review; becomes `model_max_length`, which takes effect where
            truncation is asked for.
        rank: Takes the words in the order of their frequency and returns them in the order in which they are kept.

    Returns:
        A tokenizer whose `save_pretrained` writes `tokenizer.json`, loadable by `AutoTokenizer`. Literal `<pad>` and
        `<unk>` in a text are text to it.

    Raises:
        ValueError: An unknown scheme, a size below 1, a corpus without a word, or a text of half a surrogate pair.
        TypeError: A text is not a string.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme is {scheme!r}; allowed: {', '.join(map(repr, get_args(Scheme)))}")
    for name, value in (("vocab_size", vocab_size), ("max_length", max_length)):
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed: a whole number of at least 1")
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise TypeError(f"texts is {shown(texts)}; pass a list of strings, one per review")
    corpus = list(texts) if isinstance(texts, Iterator) else texts
    count = 0
    for count, text in enumerate(corpus, start=1):
        check_text(count - 1, text)
    words = _words_by_frequency(corpus, *_pipeline(scheme)) if count else []
    if not words:
        raise ValueError(f"no word found in {count} texts; a tokenizer needs a corpus with at least one word")

    words = (words if rank is None else rank(words))[:vocab_size]
    vocabulary = {word: index for index, word in enumerate([PAD_TOKEN, UNK_TOKEN, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK_TOKEN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = _pipeline(scheme)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD_TOKEN,
        unk_token=UNK_TOKEN,
        model_max_length=max_length,
        model_input_names=["input_ids", "attention_mask"],
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
        # Literal special tokens in a text go through normalizer and splitter like any other text.
        split_special_tokens=True,
    )


def extend_tokenizer(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], count: int) -> None:
    """Append to a word-level vocabulary so many words of a corpus: the most frequent ones that it does not hold."""
    backend = tokenizer.backend_tokenizer
    if not isinstance(backend.model, WordLevel):
        raise ValueError(f"the tokenizer is a {type(backend.model).__name__}; only to a WordLevel can words be added")
    vocabulary = backend.get_vocab()
    found = _words_by_frequency(texts, backend.normalizer, backend.pre_tokenizer)
    words = [word for word in found if word not in vocabulary]
    if len(words) < count:
        raise ValueError(
            f"extend_vocab is {count:,}, and the training reviews hold {len(words):,} words that the base model does "
            f"not know; " + (f"allowed: 1 to {len(words):,}" if words else "leave it out")
        )
    first = 1 + max(vocabulary.values())
    vocabulary |= {word: first + place for place, word in enumerate(words[:count])}
    backend.model = WordLevel(vocabulary, unk_token=backend.model.unk_token)
