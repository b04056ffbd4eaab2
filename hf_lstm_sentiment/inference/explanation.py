"""What an explanation of a decision holds; its pictures are drawn elsewhere."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..model.configuration_sentiment_lstm import NEGATIVE, POSITIVE


@dataclass(frozen=True, slots=True)
class Word:
    """One token of a review.

    Attributes:
        text: The word as the review spells it, `review[start:end]`.
        start: Its first character in the review.
        end: One past its last character.
        contribution: Its share in the logit of POSITIVE; None where the model does not read it.
        probability: Probability of POSITIVE had the review ended here; None where the model does not read it.
        unknown: The word is not in the vocabulary.
        truncated: The word lies beyond the length that the model reads.
    """

    text: str
    start: int
    end: int
    contribution: float | None
    probability: float | None
    unknown: bool
    truncated: bool


@dataclass(frozen=True)
class Explanation:
    """What the classifier says of a review, and what of it led there.

    Attributes:
        text: The review.
        label: The more probable label.
        score: Its probability, 0.5 to 1.
        logit: The logit of POSITIVE.
        baseline_logit: That of a review of as many zero vectors, against which the contributions are counted.
        words: The words, in order; of those that the model does not read, the first ones.
        completeness_error: How far the sum of the contributions is from `logit - baseline_logit`, as a fraction of
            that difference (of 0.1, where it is smaller).
        labels: The names of the negative and of the positive label.
        words_left_out: Words after the last one in `words`, which the model does not read either.
    """

    text: str
    label: str
    score: float
    logit: float
    baseline_logit: float
    words: tuple[Word, ...]
    completeness_error: float
    labels: tuple[str, str] = (NEGATIVE, POSITIVE)
    words_left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Everything as what `json.dumps` takes."""
        return {**asdict(self), "words": [asdict(word) for word in self.words], "labels": list(self.labels)}

    def to_html(self) -> str:
        """A page of its own: the decision, the coloured review, the curve of the opinion, the strongest words.

        Raises:
            ModuleNotFoundError: Jinja2 is not installed.
        """
        from .explanation_html import page

        return page(self)

    def to_html_fragment(self, first: int = 0, last: int | None = None) -> str:
        """Some of the words as coloured `<span>`s, with what stands between them, escaped; to put into a page.

        Args:
            first: The first word.
            last: One past the last word; None for all.

        Raises:
            ValueError: There are no such words.
        """
        from .explanation_html import fragment

        return fragment(self, first, last)

    def strongest_window(self, words: int = 40) -> tuple[int, int]:
        """Where the contributions towards the decision sum highest.

        Args:
            words: Length of the passage.

        Returns:
            The first word of the passage and one past its last. Words that the model does not read are not in it.

        Raises:
            ValueError: `words` is below 1.
        """
        if words < 1:
            raise ValueError(f"words is {words}; allowed: a whole number of at least 1")
        towards = (1 if self.logit > 0 else -1) * np.array([w.contribution for w in self.words if not w.truncated])
        words = min(words, len(towards))
        sums = np.concatenate([[0.0], np.cumsum(towards)])
        first = int(np.argmax(sums[words:] - sums[: len(sums) - words]))
        return first, first + words

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the opinion after every word and the contributions underneath, as a PNG file.

        Args:
            path: File to write; directories above it are created.

        Returns:
            The path of the picture.

        Raises:
            ModuleNotFoundError: Matplotlib is not installed.
        """
        from .explanation_plot import plot

        return plot(self, path)
