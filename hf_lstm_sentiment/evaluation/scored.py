"""Labelled reviews with what a classifier says of them: what every statistic of its errors starts from.

Labels are 0 (NEGATIVE) and 1 (POSITIVE); the decision is POSITIVE if the logit is above 0, that is p > 0.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm  # type: ignore[import-untyped]

from ..inference.classifier import sigmoid
from .statistics import as_labels, as_logits, check_lengths

# Reviews that are tokenized together: their token ids are Python numbers, some hundred megabytes for all of IMDB.
_WINDOW = 4_096

Indices = NDArray[np.int64]


class Scorer(Protocol):
    """What `score_reviews` needs of an `inference.Classifier`."""

    max_length: int
    unk_token_id: int | None

    def logits(self, texts: Sequence[str]) -> NDArray[Any]:
        """Logit of POSITIVE per text. *Shape:* (len(texts),)."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of all tokens of each text, beyond `max_length` too."""


@dataclass(frozen=True, eq=False)
class ScoredReviews:
    """Labelled reviews with what a classifier says of them.

    Attributes:
        texts: The reviews. *Length:* n
        labels: 0 or 1. *Shape:* (n,)
        logits: Logit of POSITIVE. *Shape:* (n,)
        tokens: Length in tokens, before truncation. *Shape:* (n,)
        unknown: Share of unknown words among the tokens that are read; NaN for a review without tokens. *Shape:* (n,)
        max_length: Tokens that are read of a review, the first ones.
        duplicates: Whether the same text also stands among the training reviews. *Shape:* (n,)

    Raises:
        ValueError: No reviews, a column of another length, a label other than 0 and 1, a logit that is not finite.
    """

    texts: Sequence[str]
    labels: Indices
    logits: NDArray[np.float64]
    tokens: Indices
    unknown: NDArray[np.float64]
    max_length: int
    duplicates: NDArray[np.bool_]

    def __post_init__(self) -> None:
        as_labels(self.labels, "labels")
        as_logits(self.logits, "logits")
        columns = ("texts", "labels", "logits", "tokens", "unknown", "duplicates")
        check_lengths(**{name: getattr(self, name) for name in columns})

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def predicted(self) -> Indices:
        """The labels decided for. *Shape:* (n,)."""
        return (self.logits > 0).astype(np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the decision is right. *Shape:* (n,)."""
        return self.predicted == self.labels  # type: ignore[no-any-return]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of POSITIVE. *Shape:* (n,)."""
        return sigmoid(self.logits)

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Whether the end of the review is not read. *Shape:* (n,)."""
        return self.tokens > self.max_length

    @property
    def false_positives(self) -> Indices:
        """Places of NEGATIVE reviews taken for POSITIVE, the surest first."""
        return self._wrong(0)

    @property
    def false_negatives(self) -> Indices:
        """Places of POSITIVE reviews taken for NEGATIVE, the surest first."""
        return self._wrong(1)

    def _wrong(self, label: int) -> Indices:
        rows = np.flatnonzero(~self.correct & (self.labels == label))
        # By the logit, which still tells apart what rounds to a probability of 1.
        return rows[np.argsort(-np.abs(self.logits[rows]), kind="stable")]


def score_reviews(
    classifier: Scorer,
    texts: Sequence[str],
    labels: ArrayLike,
    *,
    training_texts: Iterable[str],
    logits: ArrayLike | None = None,
) -> ScoredReviews:
    """Let a classifier score labelled reviews; shows a bar where standard error is a terminal.

    Args:
        classifier: An `inference.Classifier`.
        texts: The reviews. *Length:* n
        labels: 0 or 1 per review. *Shape:* (n,)
        training_texts: What it was trained on, to find duplicates.
        logits: What it says, where that is known already. *Shape:* (n,)

    Raises:
        ValueError: As `ScoredReviews`.
    """
    computed, tokens, unknown = [np.empty(0)], [], []
    with tqdm(total=len(texts), desc="Scoring", unit="review", disable=None) as bar:
        for start in range(0, len(texts), _WINDOW):
            window = list(texts[start : start + _WINDOW])
            if logits is None:
                computed.append(np.asarray(classifier.logits(window), dtype=np.float64))
            for ids in classifier.token_ids(window):
                read = ids[: classifier.max_length]
                tokens.append(len(ids))
                # No id is None, so that a tokenizer without such a token knows every word.
                unknown.append(read.count(classifier.unk_token_id) / len(read) if read else np.nan)  # type: ignore[arg-type]
            bar.update(len(window))
    seen = set(training_texts)
    return ScoredReviews(
        texts=texts,
        labels=np.asarray(labels),
        logits=np.concatenate(computed) if logits is None else np.asarray(logits, dtype=np.float64),
        tokens=np.array(tokens),
        unknown=np.array(unknown),
        max_length=classifier.max_length,
        duplicates=np.array([text in seen for text in texts]),
    )
