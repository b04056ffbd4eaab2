"""The computation of an explanation: prefix probabilities, and attributions by integrated gradients."""

from __future__ import annotations

import logging
import os
import re
import threading
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..model.packed_lstm import Packing, pool
from ..utils.messages import check_text, shown
from .classifier import Classifier, decisions, probabilities
from .explanation import Explanation, Word

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification

logger = logging.getLogger(__name__)

# Points of the quadrature to begin with, and the most that are tried.
STEPS, MAX_STEPS = 16, 1_024
# Relative error of the attributions' sum that is good enough; differences of less than so many logits count as that.
TOLERANCE, FLOOR = 0.01, 0.1

# Tokens that go through the model at once: some tens of megabytes of states and gradients.
_TOKENS = 8_192

# Whether cuDNN is used is a setting of the process, so that only one thread may change it.
_CUDNN = threading.Lock()

Values = npt.NDArray[np.float64]


class Explainer:
    """A model and its tokenizer, loaded once, for any number of reviews. Several threads may use it at once.

    Args:
        model: As for `Classifier`, and so is the error. Its parameters and their gradients stay as they are.
        tokenizer: As for `Classifier`.

    Attributes:
        classifier: The same model, for labels and scores alone.
    """

    def __init__(self, model: SentimentLSTMForSequenceClassification, tokenizer: PreTrainedTokenizerBase) -> None:
        self.classifier = Classifier(model, tokenizer)

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike[str] | None = None, *, revision: str | None = None) -> Explainer:
        """Load a checkpoint in float32, as `Classifier.from_pretrained` does, with the same errors.

        Args:
            source: A run directory or a repository of the Hub; the model that comes with the package where None.
            revision: Branch, tag or commit of a repository.
        """
        explainer = cls.__new__(cls)
        explainer.classifier = Classifier.from_pretrained(source, revision=revision)
        return explainer

    def __call__(self, text: str, *, label: str | None = None) -> Explanation:
        """Explain the decision on one review; see :func:`explain`."""
        check_text(0, text)
        classifier = self.classifier
        labels = classifier.labels
        if label is not None and label not in labels:
            raise ValueError(f"label is {shown(label)}; allowed: {shown(labels)}")
        encoding = classifier.tokenizer.encode(text)
        ids = encoding.ids[: classifier.max_length]
        special = [token.content for token in classifier.tokenizer.get_added_tokens_decoder().values()]
        prefixes = self._prefix_logits(ids)
        best = int(decisions(prefixes[-1:])[0])
        target = labels.index(label) if label is not None else 1 if len(labels) == 2 else best
        logit = float(_log_odds(torch.from_numpy(prefixes[-1:]), target))
        attributions, baseline, error = self._attributions(ids, target, logit)
        chances = probabilities(prefixes).tolist()
        spans, unknown = _spans(text, encoding.offsets, special), classifier.unk_token_id
        after = [*zip(attributions.tolist(), chances[1:], strict=True), *[(None, None)] * (len(encoding) - len(ids))]
        words = tuple(
            Word(text[slice(*at)], *at, own, every and every[target], token == unknown, not every, tuple(every or ()))
            for token, at, (own, every) in zip(encoding.ids, spans, after, strict=True)
        )
        return Explanation(
            text=text,
            label=labels[best],
            score=chances[-1][best],
            logit=logit,
            baseline_logit=baseline,
            words=words,
            completeness_error=error,
            labels=labels,
            target=labels[target],
            probabilities=tuple(chances[-1]),
        )

    def _prefix_logits(self, ids: Sequence[int]) -> Values:
        """The logits had the review ended after 0, 1, ... tokens. *Shape:* (tokens + 1,) or (tokens + 1, labels)."""
        network, config, length = self.classifier.network, self.classifier.network.config, len(ids)
        if config.bidirectional or config.naive_padding or not length:
            # Every token changes what the backward direction, or the padding, does to all others.
            longest = self.classifier.max_length if config.naive_padding else max(length, 1)
            prefixes = [ids[:end] for end in range(length + 1)]
            rows = max(1, _TOKENS // longest)
            return self.classifier.logits_of_ids(prefixes, batch_size=rows).astype(np.float64)
        packing = self._packing(1, length)
        with torch.inference_mode():
            vectors = network.embedding(torch.tensor(ids, dtype=torch.int64, device=self._device))
            (states,) = network.lstm(vectors, packing)  # (tokens, hidden_size)
            if config.pooling == "max":
                states = states.cummax(dim=0).values
            elif config.pooling == "mean":
                states = states.cumsum(dim=0) / torch.arange(1, length + 1, device=self._device)[:, None]
            states = torch.cat([states.new_zeros(1, states.size(-1)), states])
            return _numbers(network.head(states).squeeze(-1))

    def _attributions(self, ids: Sequence[int], target: int, logit: float) -> tuple[Values, float, float]:
        """Integrated gradients, the logit of the baseline, and the relative error of their sum.

        Sundararajan, Taly and Yan (2017), "Axiomatic Attribution for Deep Networks", equation 1,
        https://arxiv.org/abs/1703.01365. The path leads straight from zero vectors to those of the tokens. Its
        integral is taken by Gauss and Legendre's rule, with twice the points until the sum is right.
        """
        config = self.classifier.network.config
        table = self.classifier.network.embedding.weight.detach()
        vectors = table[torch.tensor(ids, dtype=torch.int64, device=self._device)]  # (tokens, embedding_size)
        # Padding that is read as tokens stands behind the baseline too, so that nothing is attributed to it.
        padding = self.classifier.max_length - len(ids) if config.naive_padding else 0
        behind = table[config.pad_token_id or 0].expand(padding, -1)
        with torch.inference_mode():
            baseline = float(self._logit(torch.zeros_like(vectors)[None], behind, target))
        difference, steps = logit - baseline, STEPS
        while True:
            attributions = self._integrate(vectors, behind, target, steps) if ids else np.zeros(0)
            error = abs(attributions.sum() - difference) / max(abs(difference), FLOOR)
            if error < TOLERANCE or 2 * steps > MAX_STEPS:
                if error >= TOLERANCE:
                    logger.warning(f"the attributions are inexact: their sum is {100 * error:.1f} % off the logit's")
                return attributions, baseline, float(error)
            steps *= 2

    def _integrate(self, vectors: Tensor, behind: Tensor, target: int, steps: int) -> Values:
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
                scaled = (scale[:, None, None] * vectors).requires_grad_()  # (rows, tokens, embedding_size)
                (gradient,) = torch.autograd.grad(self._logit(scaled, behind, target).sum(), scaled)
            total += _numbers(torch.einsum("b,bte,te->t", weight, gradient, vectors))
        return total

    def _logit(self, vectors: Tensor, behind: Tensor, target: int) -> Tensor:
        """Log-odds of a label, of word vectors. *Shape:* (batch_size, tokens, embedding_size) to (batch_size,)."""
        network = self.classifier.network
        inputs = torch.cat([vectors, behind.expand(len(vectors), *behind.shape)], dim=1)
        packing = self._packing(len(inputs), inputs.size(1))
        (states,) = network.lstm(packing.gather(inputs), packing)
        return _log_odds(network.head(pool(states, packing, network.config)).squeeze(-1), target)

    @property
    def _device(self) -> torch.device:
        return self.classifier.network.head.weight.device

    def _packing(self, reviews: int, tokens: int) -> Packing:
        return Packing.from_mask(torch.ones(reviews, tokens, dtype=torch.bool, device=self._device))


def explain(
    text: str, *, label: str | None = None, model: str | os.PathLike[str] | Explainer | None = None
) -> Explanation:
    """Explain the decision on one review.

    Args:
        text: The review.
        label: What is explained is the probability of this label; of the second one where there are two, of the most
            probable one where there are more, where None.
        model: As for `predict`, or an `Explainer`, which is loaded already.

    Returns:
        The decision, the tokens with the probability after each one, and their attributions.

    Raises:
        OSError, ValueError: As `Explainer.from_pretrained`.
        TypeError: The text is not a string.
        ValueError: The model has no such label, or the text holds a lone surrogate.
    """
    explainer = model if isinstance(model, Explainer) else Explainer.from_pretrained(model)
    return explainer(text, label=label)


def _log_odds(logits: Tensor, target: int) -> Tensor:
    """The logit of a label against all others: its probability is the sigmoid. *Shape:* to (reviews,)."""
    if logits.dim() == 1:
        return logits if target else -logits
    others = [index for index in range(logits.size(1)) if index != target]
    return logits[:, target] - logits[:, others].logsumexp(dim=1)


# What the normalizer of the tokenizer writes out.
_WRITTEN = re.compile(r"&(?:amp;)*#?\w{2,31};|[:=]'?[-o]?[()D]|<3")


def _numbers(values: Tensor) -> Values:
    return cast(Values, values.double().cpu().numpy())


def _spans(text: str, offsets: Sequence[tuple[int, int]], special: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where the tokens stand in the text, from the places that the tokenizer reports; none lies in another.

    Of a spelt-out special token, which the normalizer rewrites, it reports the last character only; of a letter
    that it composes with the marks after it, it leaves the marks out; of a character that it takes apart or writes
    out, it reports the same place for several tokens; of an HTML entity or an emoticon, one character.
    """
    written = {place: match.span() for match in _WRITTEN.finditer(text) for place in range(*match.span())}
    before = 0
    for place, (start, end) in enumerate(offsets):
        after = offsets[place + 1][0] if place + 1 < len(offsets) else len(text)
        for token in special:
            first = start + 1 - len(token)
            if first >= before and text[first : start + 1].lower() == token:
                start = first
        start = written.get(start, (start, 0))[0]
        end = max(end, min(written.get(end - 1, (0, end))[1], after))
        while end < after and unicodedata.category(text[end]).startswith("M"):
            end += 1
        start = max(start, before)
        before = max(end, start)
        yield start, before
