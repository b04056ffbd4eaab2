"""Word-level tokenizers, trained on a corpus and saved as a plain `tokenizer.json` that needs no remote code."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal, get_args

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from ..utils.messages import check_count, checked_texts
from .normalization import words_normalizer

PAD_TOKEN, UNK_TOKEN = "<pad>", "<unk>"
Scheme = Literal["whitespace", "words"]

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


def split_words(texts: Iterable[str], *, scheme: Scheme) -> Iterator[list[str]]:
    """Split each text into the words that a tokenizer of this package would look up."""
    normalizer, splitter = _pipeline(scheme)
    for text in texts:
        yield [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]


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
        texts: The corpus. Its order decides which of two equally frequent words comes first. It is read once.
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
        TypeError: The texts are no list or the like, or one is not a string.
    """
    if scheme not in get_args(Scheme):
        raise ValueError(f"scheme is {scheme!r}; allowed: {', '.join(map(repr, get_args(Scheme)))}")
    check_count("vocab_size", vocab_size)
    check_count("max_length", max_length)
    # Split by what the tokenizer is made of, so that no word is counted which it would never produce.
    counts = Counter(chain.from_iterable(split_words(checked_texts(texts), scheme=scheme)))
    # Of words that are as frequent, the one that occurs first is first.
    words = [word for word, _ in counts.most_common()]
    if not words:
        raise ValueError("no word found in the texts; a tokenizer needs a corpus with at least one word")
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
    normalizer, splitter = backend.normalizer, backend.pre_tokenizer
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    words = [word for word, _ in counts.most_common() if word not in vocabulary]
    if len(words) < count:
        raise ValueError(
            f"extend_vocab is {count:,}, and the training reviews hold {len(words):,} words that the base model does "
            f"not know; " + (f"allowed: 1 to {len(words):,}" if words else "leave it out")
        )
    first = 1 + max(vocabulary.values())
    vocabulary |= {word: first + place for place, word in enumerate(words[:count])}
    backend.model = WordLevel(vocabulary, unk_token=backend.model.unk_token)
