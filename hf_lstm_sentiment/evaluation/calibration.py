"""Calibration: how sure a classifier is against how often it is right, and the temperature that joins the two."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inference.classifier import sigmoid
from ..utils.imports import require
from .statistics import as_labels, as_logits, as_probabilities, check_lengths

logger = logging.getLogger(__name__)

# A temperature outside of them says that the logits are wrong, not that they need softening.
TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class CalibrationBins:
    """Confidence against accuracy, in bins of equal width; what a reliability diagram shows.

    Attributes:
        edges: Limits of the bins, from 0 to 1. A bin holds its upper edge, not its lower one. *Shape:* (bins + 1,)
        counts: Reviews per bin. *Shape:* (bins,)
        confidence: Mean confidence of the reviews in a bin, NaN where there are none. *Shape:* (bins,)
        accuracy: Fraction of them that is classified correctly, NaN where there are none. *Shape:* (bins,)
        expected_calibration_error: Mean distance of the two over all reviews.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    expected_calibration_error: float


@dataclass(frozen=True)
class Calibration:
    """How well probabilities and reality agree, the smaller, the better: see `calibration_bins`; Brier (1950); nats."""

    expected_calibration_error: float
    brier: float
    nll: float


def calibration_bins(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 15) -> CalibrationBins:
    r"""Sort reviews by how sure the classifier was, and see how often it was right.

    The confidence in a review is `max(p, 1 - p)`, the probability of the predicted label, which is POSITIVE if
    `p > 0.5`. The m-th bin B_m holds the confidences in ((m - 1) / bins, m / bins]; the expected calibration error is

        ECE = \sum_m |B_m| / n * |accuracy(B_m) - mean confidence(B_m)|

    Equation 3 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural Networks",
    https://arxiv.org/abs/1706.04599, after Naeini, Cooper and Hauskrecht (2015). *Shape:* (n,) and (n,).
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; allowed: a whole number of at least 1")
    p, y = as_probabilities(probabilities, "probabilities"), as_labels(labels, "labels")
    check_lengths(probabilities=p, labels=y)
    confidence = np.maximum(p, 1 - p)
    correct = (p > 0.5) == (y == 1)
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(index, minlength=bins)
    confidence_sums = np.bincount(index, weights=confidence, minlength=bins)
    correct_sums = np.bincount(index, weights=correct, minlength=bins)
    divisors = np.where(counts > 0, counts, np.nan)
    return CalibrationBins(
        edges=edges,
        counts=counts,
        confidence=confidence_sums / divisors,
        accuracy=correct_sums / divisors,
        # A bin's size cancels against the denominators of its accuracy and of its mean confidence.
        expected_calibration_error=float(np.abs(correct_sums - confidence_sums).sum() / len(p)),
    )


def cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean binary cross-entropy in nats, from logits of POSITIVE, so that it stays exact where p rounds to 0 or 1."""
    return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())


def measure_calibration(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Measure how well the probabilities of classified reviews agree with their labels."""
    p = sigmoid(logits)
    error = calibration_bins(p, labels).expected_calibration_error
    return Calibration(error, float(((p - labels) ** 2).mean()), cross_entropy(logits, labels))


def cross_validate_temperature(logits: ArrayLike, labels: ArrayLike, *, folds: int = 5) -> Calibration:
    """Measure what a temperature does for reviews that it was not fitted on: each fold gets that of the others."""
    z, y = as_logits(logits, "logits"), as_labels(labels, "labels")
    fold, scaled = np.arange(len(z)) % folds, z.copy()
    for number in range(min(folds, len(z))):
        scaled[fold == number] /= fit_temperature(z[fold != number], y[fold != number]) or 1.0
    return measure_calibration(scaled, y)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float | None:
    """Find the T > 0 that minimizes the mean binary cross-entropy of logits / T.

    Temperature scaling, section 4.2 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural
    Networks", https://arxiv.org/abs/1706.04599. No decision changes. The cross-entropy is convex in 1 / T; the zero of
    its derivative is found by Brent's method. *Shape:* (n,) and (n,).

    Returns:
        T, within `TEMPERATURES`; 1 if all logits are 0, for which every T is as good. None, and a warning, where the
        minimum lies beyond them, as it does where every decision is right (T would go to 0) or the logits say nothing
        of the labels: such reviews cannot tell how sure the model may be, and nothing should be scaled by them.
    """
    require("scipy", extra="train")
    from scipy.optimize import brentq

    z, y = as_logits(logits, "logits"), as_labels(labels, "labels")
    check_lengths(logits=z, labels=y)
    if not z.any():
        return 1.0
    margins = np.where(y == 1, z, -z)

    def slope(inverse: float) -> float:
        return float(-(margins * sigmoid(-inverse * margins)).mean())

    sharpest, softest = 1 / TEMPERATURES[0], 1 / TEMPERATURES[1]
    for limit, beyond in ((sharpest, slope(sharpest) <= 0), (softest, slope(softest) >= 0)):
        if beyond:
            logger.warning(f"no temperature is taken: the best one for {len(z)} reviews lies beyond {1 / limit:g}")
            return None
    return float(1 / brentq(slope, softest, sharpest, xtol=1e-12))
