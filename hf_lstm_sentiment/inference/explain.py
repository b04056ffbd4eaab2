"""Why a review is called what it is called: the opinion after every word, and each word's share in the decision."""

from __future__ import annotations

import math
import os
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..model.packed_lstm import Packing, pool
from .classifier import Classifier, sigmoid
from .explanation import Explanation, Word

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification

__all__ = ["DeletionFaithfulness", "Explainer", "Explanation", "Word", "deletion_faithfulness", "explain"]

# Points of the quadrature to begin with, and the most that are tried.
STEPS, MAX_STEPS = 16, 1_024
# Relative error of the contributions' sum that is good enough; differences of less than so many logits count as that.
TOLERANCE, FLOOR = 0.01, 0.1
# Words beyond the model's length that an explanation keeps; the rest is counted.
TRUNCATED_KEPT = 200

# Tokens that go through the model at once: some tens of megabytes of states and gradients.
_TOKENS = 8_192

# Whether cuDNN is used is a setting of the process, so that only one thread may change it.
_CUDNN = threading.Lock()

Values = npt.NDArray[np.float64]


class Explainer:
    """A model and its tokenizer, loaded once, for any number of reviews. Several threads may use it at once.

    Args:
        model: The model; put into evaluation mode. Its parameters and their gradients stay as they are.
        tokenizer: Its tokenizer, with a `tokenizers` backend and a `model_max_length`.

    Attributes:
        classifier: The same model, for labels and scores alone.

    Raises:
        ValueError: As `Classifier`.
    """

    def __init__(self, model: SentimentLSTMForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        self._set_up(Classifier(model, tokenizer))

    def _set_up(self, classifier: Classifier) -> None:
        self.classifier = classifier
        # Its gradients are taken with respect to the word vectors only.
        self._network = classifier._network
        self._config = classifier.config
        self._device = self._network.head.weight.device

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str] | None = None, *, revision: str | None = None) -> Explainer:
        """Load a checkpoint with the classes of this package, in float32; no code of the checkpoint is run.

        Args:
            source: A run directory, or a repository of the Hub; the model that comes with the package where None.
            revision: Branch, tag or commit of a repository.

        Raises:
            FileNotFoundError, OSError, ValueError: As `Classifier.from_pretrained`.
        """
        explainer = cls.__new__(cls)
        explainer._set_up(Classifier.from_pretrained(source, revision=revision))
        return explainer

    def __call__(self, text: str, *, steps: int = STEPS) -> Explanation:
        """Explain the decision on one review; see :func:`explain`."""
        if not isinstance(text, str):
            raise TypeError(f"text is {text!r} ({type(text).__name__}); it must be a string")
        if not 1 <= steps <= MAX_STEPS:
            raise ValueError(f"steps is {steps}; allowed: a whole number from 1 to {MAX_STEPS}")
        ids, spans, left_out = self._encode(text)
        length, labels = self.classifier.max_length, self.classifier.labels
        prefixes = self._prefix_logits(ids[:length])
        read = len(prefixes) - 1
        logit = float(prefixes[-1])
        contributions, baseline, error = self._contributions(ids[:length], logit, steps)
        probabilities = sigmoid(prefixes)
        return Explanation(
            text=text,
            label=labels[int(logit > 0)],
            score=float(sigmoid(abs(logit))),
            logit=logit,
            baseline_logit=baseline,
            words=tuple(
                Word(
                    text=text[start:end],
                    start=start,
                    end=end,
                    contribution=float(contributions[i]) if i < read else None,
                    probability=float(probabilities[i + 1]) if i < read else None,
                    unknown=token == self.classifier.unk_token_id,
                    truncated=i >= read,
                )
                for i, (token, (start, end)) in enumerate(zip(ids, spans, strict=True))
            ),
            completeness_error=error,
            labels=labels,
            words_left_out=left_out,
        )

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]], int]:
        """Ids and places of the words that an explanation keeps, and the number of those that it does not."""
        try:
            encoding = self.classifier._tokenizer.encode(text)
        except TypeError as error:
            raise ValueError("the text holds half of a surrogate pair, which is no character; decode it") from error
        kept = min(len(encoding), self.classifier.max_length + TRUNCATED_KEPT)
        special = [token.content for token in self.classifier._tokenizer.get_added_tokens_decoder().values()]
        spans = list(_spans(text, encoding.offsets[:kept], special))
        return encoding.ids[:kept], spans, len(encoding) - kept

    def _prefix_logits(self, ids: Sequence[int]) -> Values:
        """The logit had the review ended after 0, 1, ... words. *Shape:* (words + 1,)."""
        pooling, words = self._config.pooling, len(ids)
        if self._config.bidirectional or self._config.naive_padding or not words:
            # Every word changes what the backward direction, or the padding, does to all others.
            return self._logits([ids[:length] for length in range(words + 1)])
        packing = self._packing(1, words)
        with torch.inference_mode():
            vectors = self._network.embedding(torch.tensor(ids, dtype=torch.int64, device=self._device))
            (states,) = self._network.lstm(vectors, packing)  # (words, hidden_size)
            if pooling == "max":
                states = states.cummax(dim=0).values
            elif pooling == "mean":
                states = states.cumsum(dim=0) / torch.arange(1, words + 1, device=self._device)[:, None]
            states = torch.cat([states.new_zeros(1, states.size(-1)), states])
            return _numbers(self._network.head(states).squeeze(-1))

    def _logits(self, reviews: Sequence[Sequence[int]]) -> Values:
        """Logits of reviews given as token ids, in batches. *Shape:* (reviews,)."""
        longest = max(1, *map(len, reviews), self.classifier.max_length if self._config.naive_padding else 1)
        rows = max(1, _TOKENS // longest)
        batches = [[list(review) for review in reviews[i : i + rows]] for i in range(0, len(reviews), rows)]
        return np.concatenate([self.classifier._forward(batch, np.array([*map(len, batch)])) for batch in batches])

    def _contributions(self, ids: Sequence[int], logit: float, steps: int) -> tuple[Values, float, float]:
        """Integrated gradients, the logit of the baseline, and the relative error of their sum.

        Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", equation 1,
        https://arxiv.org/abs/1703.01365. The path leads straight from zero vectors to those of the words. Its
        integral is taken by Gauss and Legendre's rule, with twice the points until the sum is right.
        """
        table = self._network.embedding.weight.detach()
        vectors = table[torch.tensor(ids, dtype=torch.int64, device=self._device)]  # (words, embedding_size)
        # Padding that is read as words stands behind the baseline too, so that it has no share.
        padding = self.classifier.max_length - len(ids) if self._config.naive_padding else 0
        behind = table[self._config.pad_token_id or 0].expand(padding, -1)
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
            with (
                torch.inference_mode(False),
                torch.enable_grad(),
                _CUDNN if vectors.is_cuda else nullcontext(),
                torch.backends.cudnn.flags(enabled=False) if vectors.is_cuda else nullcontext(),
            ):
                scaled = (scale[:, None, None] * vectors).requires_grad_()  # (rows, words, embedding_size)
                (gradient,) = torch.autograd.grad(self._logit(scaled, behind).sum(), scaled)
            total += _numbers(torch.einsum("b,bwe,we->w", weight, gradient, vectors))
        return total

    def _logit(self, vectors: Tensor, behind: Tensor) -> Tensor:
        """Logits of reviews given as word vectors. *Shape:* (batch_size, words, embedding_size) to (batch_size,)."""
        inputs = torch.cat([vectors, behind.expand(len(vectors), *behind.shape)], dim=1)
        packing = self._packing(len(inputs), inputs.size(1))
        (states,) = self._network.lstm(packing.gather(inputs), packing)
        return cast(Tensor, self._network.head(pool(states, packing, self._config))).squeeze(-1)

    def _packing(self, reviews: int, words: int) -> Packing:
        return Packing.from_mask(torch.ones(reviews, words, dtype=torch.bool, device=self._device))


def explain(text: str, *, model: str | os.PathLike[str] | Explainer | None = None, steps: int = STEPS) -> Explanation:
    """Explain the decision on one review.

    Args:
        text: The review.
        model: A run directory, a repository of the Hub, or an `Explainer`, which is loaded already; the model that
            comes with the package where None.
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
        ids = explainer._encode(text)[0][: explainer.classifier.max_length]
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
        drops.append(sigmoid(abs(logit)) - sigmoid(sign * after))
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


def _spans(text: str, offsets: Sequence[tuple[int, int]], special: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the words stand in the text, from the places that the tokenizer reports; none lies in another.

    Of a spelt-out special token, which the normaliser rewrites, it reports the last character only; of a letter
    that it composes with the marks after it, it leaves the marks out; of a character that it takes apart or writes
    out, it reports the same place for several words.
    """
    before = 0
    for place, (start, end) in enumerate(offsets):
        after = offsets[place + 1][0] if place + 1 < len(offsets) else len(text)
        for token in special:
            first = start + 1 - len(token)
            if first >= before and text[first : start + 1].lower() == token:
                start = first
        while end < after and unicodedata.category(text[end]).startswith("M"):
            end += 1
        start = max(start, before)
        before = max(end, start)
        yield start, before
