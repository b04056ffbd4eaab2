"""Why a review is called what it is called: the opinion after every word, and each word's share in the decision."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, PreTrainedTokenizerBase

from .explanation import Explanation, Word
from .modeling_sentiment_lstm import SentimentLSTMForSequenceClassification

__all__ = ["DeletionFaithfulness", "Explainer", "Explanation", "Word", "deletion_faithfulness", "explain"]

# Points of the quadrature to begin with, and the most that are tried.
STEPS, MAX_STEPS = 16, 1_024
# Relative error of the contributions' sum that is good enough; differences of less than so many logits count as that.
TOLERANCE, FLOOR = 0.01, 0.1
# Words beyond the model's length that an explanation keeps; the rest is counted.
TRUNCATED_KEPT = 200

# Tokens that go through the model at once: some tens of megabytes of states and gradients.
_TOKENS = 8_192
# A text is tokenized in pieces of about so many characters, so that a book takes no more memory than a review. It is
# cut only between letters or digits, where neither normaliser nor splitter of any scheme looks across.
_PIECE = 1 << 16
_CUT = re.compile(r"(?<=[^\W_])[ \n](?=[^\W_])")

Values = npt.NDArray[np.float64]


class Explainer:
    """A model and its tokenizer, loaded once, for any number of reviews.

    Args:
        model: The model; put into evaluation mode. Its parameters and their gradients stay as they are.
        tokenizer: Its tokenizer, with a `tokenizers` backend and a `model_max_length`.
    """

    def __init__(self, model: SentimentLSTMForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        self.model = model
        self.model.train(False)
        self.max_length = int(tokenizer.model_max_length)
        names = cast("dict[int, str]", model.config.id2label)
        self.labels: tuple[str, str] = (names[0], names[1])
        self.unk_token_id = cast("int | None", tokenizer.unk_token_id)
        self._special = [str(token) for token in tokenizer.all_special_tokens]
        backend = cast(Any, tokenizer).backend_tokenizer
        # A copy, so that what others do to their tokenizer changes nothing here.
        self._tokenizer = type(backend).from_str(backend.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str], *, revision: str | None = None) -> Explainer:
        """Load a checkpoint with the classes of this package, in float32; no code of the checkpoint is run.

        Args:
            source: A run directory, or a repository of the Hub.
            revision: Branch, tag or commit of a repository.

        Raises:
            FileNotFoundError: A path that is not there.
            OSError: The Hub has no such repository, or cannot be reached.
            ValueError: The checkpoint holds another kind of model.
        """
        name = os.fspath(source)
        looks_like_path = name.startswith((".", "/", "~")) or name.count("/") > 1
        if looks_like_path and not Path(name).expanduser().is_dir():
            raise FileNotFoundError(f"model {name}: no such directory; pass a run directory or a Hub repository")
        name = str(Path(name).expanduser()) if looks_like_path else name
        model = AutoModelForSequenceClassification.from_pretrained(
            name, revision=revision, trust_remote_code=False, dtype=torch.float32
        )
        if not isinstance(model, SentimentLSTMForSequenceClassification):
            raise ValueError(
                f"model {name} is a {type(model).__name__}; this package explains its own kind of model only"
            )
        return cls(model, AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False))

    def __call__(self, text: str, *, steps: int = STEPS) -> Explanation:
        """Explain the decision on one review; see :func:`explain`."""
        if not isinstance(text, str):
            raise TypeError(f"text is {text!r} ({type(text).__name__}); it must be a string")
        if not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"steps is {steps}; allowed: a whole number from 1 to {MAX_STEPS}")
        ids, spans, left_out = self._encode(text)
        prefixes = self._prefix_logits(ids[: self.max_length])
        read = len(prefixes) - 1
        logit = float(prefixes[-1])
        contributions, baseline, error = self._contributions(ids[: self.max_length], logit, steps)
        probabilities = 1 / (1 + np.exp(-prefixes))
        return Explanation(
            text=text,
            label=self.labels[int(logit > 0)],
            score=1 / (1 + math.exp(-abs(logit))),
            logit=logit,
            baseline_logit=baseline,
            words=tuple(
                Word(
                    text=text[start:end],
                    start=start,
                    end=end,
                    contribution=float(contributions[i]) if i < read else None,
                    probability=float(probabilities[i + 1]) if i < read else None,
                    unknown=token == self.unk_token_id,
                    truncated=i >= read,
                )
                for i, (token, (start, end)) in enumerate(zip(ids, spans, strict=True))
            ),
            completeness_error=error,
            labels=self.labels,
            words_left_out=left_out,
        )

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]], int]:
        """Ids and places of the words that an explanation keeps, and the number of those that it does not."""
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        kept, total = self.max_length + TRUNCATED_KEPT, 0
        for start, piece in _pieces(text):
            try:
                encoding = self._tokenizer.encode(piece)
            except TypeError as error:
                raise ValueError("the text holds half of a surrogate pair, which is no character; decode it") from error
            total += len(encoding)
            if room := kept - len(ids):
                ids += encoding.ids[:room]
                offsets += [(start + a, start + b) for a, b in encoding.offsets[:room]]
        return ids, list(_spans(text, offsets, self._special)), total - len(ids)

    def _prefix_logits(self, ids: Sequence[int]) -> Values:
        """The logit had the review ended after 0, 1, ... words. *Shape:* (words + 1,)."""
        config, words = self.model.config, len(ids)
        if config.bidirectional or config.naive_padding:
            # Every word changes what the backward direction, or the padding, does to all others.
            return self._logits([ids[:length] for length in range(words + 1)])
        tokens = torch.tensor([ids], dtype=torch.int64, device=self.model.device)
        with torch.inference_mode():
            states = self.model.sentiment_lstm(tokens, torch.ones_like(tokens)).last_hidden_state[0]  # (words, width)
            if config.pooling == "max" and words:
                states = states.cummax(dim=0).values
            elif config.pooling == "mean":
                states = states.cumsum(dim=0) / torch.arange(1, words + 1, device=states.device)[:, None]
            states = torch.cat([states.new_zeros(1, states.size(-1)), states])
            return _numbers(self.model.classifier(states).squeeze(-1))

    def _logits(self, reviews: Sequence[Sequence[int]]) -> Values:
        """Logits of reviews given as token ids, in batches. *Shape:* (reviews,)."""
        naive = self.model.config.naive_padding
        results: list[Values] = []
        rows = max(1, _TOKENS // max(self.max_length if naive else max(map(len, reviews)), 1))
        for start in range(0, len(reviews), rows):
            batch = reviews[start : start + rows]
            width = self.max_length if naive else max(1, *map(len, batch))
            ids = torch.full((len(batch), width), self.model.config.pad_token_id or 0)
            for row, review in zip(ids, batch, strict=True):
                row[: len(review)] = torch.tensor(review, dtype=torch.int64)
            mask = torch.arange(width) < torch.tensor([len(review) for review in batch])[:, None]
            device = self.model.device
            with torch.inference_mode():
                logits = self.model(ids.to(device), mask.to(device)).logits
            results.append(_numbers(logits[:, 1] - logits[:, 0]))
        return np.concatenate(results)

    def _contributions(self, ids: Sequence[int], logit: float, steps: int) -> tuple[Values, float, float]:
        """Integrated gradients, the logit of the baseline, and the relative error of their sum.

        Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", equation 1,
        https://arxiv.org/abs/1703.01365. The path leads straight from zero vectors to those of the words. Its
        integral is taken by Gauss and Legendre's rule, with twice the points until the sum is right.
        """
        table = cast(Tensor, self.model.get_input_embeddings().weight).detach()
        vectors = table[torch.tensor(ids, dtype=torch.int64, device=table.device)]  # (words, embedding_size)
        # Padding that is read as words stands behind the baseline too, so that it has no share.
        padding = self.max_length - len(ids) if self.model.config.naive_padding else 0
        behind = table[self.model.config.pad_token_id or 0].expand(padding, -1)
        with torch.inference_mode():
            baseline = float(self._logit(torch.zeros_like(vectors)[None], behind)[0])
        difference = logit - baseline
        while True:
            contributions = self._integrate(vectors, behind, steps) if ids else np.zeros(0)
            error = abs(contributions.sum() - difference) / max(abs(difference), FLOOR)
            if error < TOLERANCE or 2 * steps > MAX_STEPS:
                return contributions, baseline, float(error)
            steps *= 2

    def _integrate(self, vectors: Tensor, behind: Tensor, steps: int) -> Values:
        points, weights = np.polynomial.legendre.leggauss(steps)  # on -1 to 1
        total = np.zeros(len(vectors))
        rows = max(1, _TOKENS // (len(vectors) + len(behind)))
        for start in range(0, steps, rows):
            scale = torch.from_numpy((points[start : start + rows] + 1) / 2).to(vectors)
            weight = torch.from_numpy(weights[start : start + rows] / 2).to(vectors)
            # cuDNN has no gradient for a recurrent network in evaluation mode.
            with torch.inference_mode(False), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
                scaled = (scale[:, None, None] * vectors).requires_grad_()  # (rows, words, embedding_size)
                (gradient,) = torch.autograd.grad(self._logit(scaled, behind).sum(), scaled)
            total += _numbers(torch.einsum("b,bwe,we->w", weight, gradient, vectors))
        return total

    def _logit(self, vectors: Tensor, behind: Tensor) -> Tensor:
        """Logits of reviews given as word vectors. *Shape:* (batch_size, words, embedding_size) to (batch_size,)."""
        inputs = torch.cat([vectors, behind.expand(len(vectors), *behind.shape)], dim=1)
        logits = self.model(inputs_embeds=inputs).logits
        return cast(Tensor, logits[:, 1] - logits[:, 0])


def explain(text: str, *, model: str | os.PathLike[str] | Explainer, steps: int = STEPS) -> Explanation:
    """Explain the decision on one review.

    Args:
        text: The review.
        model: A run directory, a repository of the Hub, or an `Explainer`, which is loaded already.
        steps: Points of the quadrature to begin with; doubled until the contributions sum to the logit within
            :data:`TOLERANCE`, or past :data:`MAX_STEPS`.

    Returns:
        The decision, the words with the opinion after each one, and their contributions.

    Raises:
        FileNotFoundError, OSError: As `Explainer.from_pretrained`.
        TypeError: The text is not a string.
        ValueError: As `Explainer.from_pretrained`; `steps` is out of range; the text holds a lone surrogate.
    """
    return (model if isinstance(model, Explainer) else Explainer.from_pretrained(model))(text, steps=steps)


@dataclass(frozen=True)
class DeletionFaithfulness:
    """How much deleting the words that the contributions point at hurts, against deleting any.

    Attributes:
        texts: Reviews measured; those without a word are not.
        share: Part of the words of each review that was deleted, at least one word.
        drop_top: Mean drop in the probability of the decided label without the words of the highest contributions.
        drop_random: The same without as many words drawn at random.
        difference: `drop_top - drop_random`.
        interval: Where the difference lies with 95 % confidence: 1.96 standard errors of the paired differences.
    """

    texts: int
    share: float
    drop_top: float
    drop_random: float
    difference: float
    interval: tuple[float, float]


def deletion_faithfulness(
    explainer: Explainer, texts: Sequence[str], *, share: float = 0.1, seed: int = 0
) -> DeletionFaithfulness:
    """Measure whether the contributions point at the words that the decision rests on.

    Of the words that the model reads, those with the highest contributions towards the decision are deleted from the
    token ids, and in their place as many random ones. "Comprehensiveness" of DeYoung et al. (2020),
    https://arxiv.org/abs/1911.03429, with random words for comparison.

    Args:
        explainer: A loaded model.
        texts: Reviews.
        share: Part of the words to delete.
        seed: Of the random words.

    Raises:
        TypeError: A text is not a string.
        ValueError: `share` is out of range, or fewer than two texts have a word.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; allowed: 0 < share <= 1")
    generator = np.random.default_rng(seed)
    drops = []
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text {row} is {text!r} ({type(text).__name__}); every text must be a string")
        ids = explainer._encode(text)[0][: explainer.max_length]
        if not ids:
            continue
        logit = float(explainer._logits([ids])[0])
        sign = 1 if logit > 0 else -1
        contributions = explainer._contributions(ids, logit, STEPS)[0]
        count = max(1, round(share * len(ids)))
        top = np.argsort(-sign * contributions, kind="stable")[:count]
        random = generator.choice(len(ids), count, replace=False)
        without = [np.delete(ids, places).tolist() for places in (top, random)]
        after = explainer._logits(without)
        drops.append(1 / (1 + math.exp(-abs(logit))) - 1 / (1 + np.exp(-sign * after)))
    if len(drops) < 2:
        raise ValueError(f"{len(drops)} of {len(texts)} texts have a word; an interval needs at least 2")
    drop_top, drop_random = np.mean(drops, axis=0)
    paired = np.subtract(*np.transpose(drops))
    margin = 1.96 * paired.std(ddof=1) / math.sqrt(len(paired))
    mean = float(paired.mean())
    return DeletionFaithfulness(
        texts=len(drops),
        share=share,
        drop_top=float(drop_top),
        drop_random=float(drop_random),
        difference=mean,
        interval=(mean - float(margin), mean + float(margin)),
    )


def _numbers(values: Tensor) -> Values:
    return cast(Values, values.double().cpu().numpy())


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Cut a text where it is safe, into pieces with their places."""
    start = 0
    while start < len(text):
        cut = _CUT.search(text, start + _PIECE)
        end = cut.start() if cut else len(text)
        yield start, text[start:end]
        start = end


def _spans(text: str, offsets: Sequence[tuple[int, int]], special: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the words stand in the text, from the places that the tokenizer reports; none lies in another.

    Of a spelt-out special token, which the normaliser rewrites, it reports the last character only; of a letter
    that it composes with the marks after it, it leaves the marks out; of a character that it takes apart, it reports
    the same place for several words.
    """
    before = 0
    for place, (start, end) in enumerate(offsets):
        after = offsets[place + 1][0] if place + 1 < len(offsets) else len(text)
        for token in special:
            if text.endswith(token, before, start + 1):
                start = start + 1 - len(token)
        while end < after and unicodedata.category(text[end]).startswith("M"):
            end += 1
        start = max(start, before)
        before = max(end, start)
        yield start, before
