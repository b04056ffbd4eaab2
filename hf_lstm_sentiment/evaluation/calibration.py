"""Calibration: how sure a classifier is against how often it is right, and the temperature that joins the two."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inference.classifier import sigmoid
from ..utils.imports import require
from .statistics import as_labels, as_logits, as_probabilities, check_lengths, decisions, label_count

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

    The confidence in a review is the probability of the predicted label: of two labels, `max(p, 1 - p)`, and POSITIVE
    is predicted if `p > 0.5`; of more, the largest of its row. The m-th bin B_m holds the confidences in
    ((m - 1) / bins, m / bins]; the expected calibration error is

        ECE = \sum_m |B_m| / n * |accuracy(B_m) - mean confidence(B_m)|

    Equation 3 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural Networks",
    https://arxiv.org/abs/1706.04599, after Naeini, Cooper and Hauskrecht (2015). *Shape:* (n,) or (n, K), and (n,).
    """
    if bins < 1:
        raise ValueError(f"bins is {bins}; allowed: a whole number of at least 1")
    p = as_probabilities(probabilities, "probabilities")
    y = as_labels(labels, "labels", count=label_count(p))
    check_lengths(probabilities=p, labels=y)
    confidence = certainty(p)
    correct = (decisions(p) if p.ndim == 2 else p > 0.5) == y
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


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of POSITIVE per review, or of each of several labels. *Shape:* that of the logits."""
    if logits.ndim == 1:
        return sigmoid(logits)
    return np.asarray(np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)))


def certainty(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of the predicted label. *Shape:* (n,) or (n, K) to (n,)."""
    p = probabilities
    return np.asarray(np.maximum(p, 1 - p) if p.ndim == 1 else p.max(axis=1))


def cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean cross-entropy in nats, from the logits, so that it stays exact where a probability rounds to 0 or 1."""
    if logits.ndim == 1:
        return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())
    return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())


def measure_calibration(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Calibration:
    """Measure how well the probabilities of classified reviews agree with their labels."""
    p = probabilities_of(logits)
    error = calibration_bins(p, labels).expected_calibration_error
    # Of more than two labels, the sum over all of them, as in Brier (1950).
    squares = (p - labels) ** 2 if p.ndim == 1 else ((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1)
    return Calibration(error, float(squares.mean()), cross_entropy(logits, labels))


def measure_coverage(
    logits: ArrayLike, labels: ArrayLike, *, rejected: Sequence[float] = (0.0, 0.05, 0.1, 0.2)
) -> list[dict[str, Any]]:
    """Measure what is gained by leaving the least sure answers out.

    Args:
        logits: As for `evaluate_logits`. *Shape:* (n,) or (n, K)
        labels: Likewise. *Shape:* (n,)
        rejected: Shares of the reviews, from 0 to below 1.

    Returns:
        For each share "rejected": "reviews" that are left, their "accuracy", and "unsure_below", the least of their
        probabilities of the predicted label: the value with which `predict` calls about as many of such reviews unsure.

    Raises:
        ValueError: As `evaluate_logits`; a share out of range.
    """
    z = as_logits(logits, "logits")
    y = as_labels(labels, "labels", count=label_count(z))
    check_lengths(logits=z, labels=y)
    if wrong := [share for share in rejected if not 0 <= share < 1]:
        raise ValueError(f"rejected holds {wrong[0]}; allowed: shares from 0 to below 1")
    sure, correct = certainty(probabilities_of(z)), decisions(z) == y
    # By the logit, where there is one, which still tells apart what rounds to a probability of 1.
    order = np.argsort(-np.abs(z) if z.ndim == 1 else -sure, kind="stable")
    rows = []
    for share in rejected:
        kept = order[: max(1, len(z) - round(share * len(z)))]
        accuracy, least = float(correct[kept].mean()), float(sure[kept[-1]])
        rows.append({"rejected": share, "reviews": len(kept), "accuracy": accuracy, "unsure_below": least})
    return rows


def cross_validate_temperature(logits: ArrayLike, labels: ArrayLike, *, folds: int = 5) -> Calibration:
    """Measure what a temperature does for reviews that it was not fitted on: each fold gets that of the others."""
    z = as_logits(logits, "logits")
    y = as_labels(labels, "labels", count=label_count(z))
    fold, scaled = np.arange(len(z)) % folds, z.copy()
    for number in range(min(folds, len(z))):
        scaled[fold == number] /= fit_temperature(z[fold != number], y[fold != number]) or 1.0
    return measure_calibration(scaled, y)


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float | None:
    """Find the T > 0 that minimizes the mean cross-entropy of logits / T.

    Temperature scaling, section 4.2 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural
    Networks", https://arxiv.org/abs/1706.04599. No decision changes. The cross-entropy is convex in 1 / T; the zero of
    its derivative is found by Brent's method. *Shape:* (n,) or (n, K), and (n,).

    Returns:
        T, within `TEMPERATURES`; 1 if all logits are 0, for which every T is as good. None, and a warning, where the
        minimum lies beyond them, as it does where every decision is right (T would go to 0) or the logits say nothing
        of the labels: such reviews cannot tell how sure the model may be, and nothing should be scaled by them.
    """
    require("scipy", extra="train")
    from scipy.optimize import brentq

    z = as_logits(logits, "logits")
    y = as_labels(labels, "labels", count=label_count(z))
    check_lengths(logits=z, labels=y)
    if not z.any():
        return 1.0

    def slope(inverse: float) -> float:
        if z.ndim == 1:
            margins = np.where(y == 1, z, -z)
            return float(-(margins * sigmoid(-inverse * margins)).mean())
        return float(((probabilities_of(inverse * z) * z).sum(axis=1) - z[np.arange(len(y)), y]).mean())

    sharpest, softest = 1 / TEMPERATURES[0], 1 / TEMPERATURES[1]
    for limit, beyond in ((sharpest, slope(sharpest) <= 0), (softest, slope(softest) >= 0)):
        if beyond:
            logger.warning(f"no temperature is taken: the best one for {len(z)} reviews lies beyond {1 / limit:g}")
            return None
    return float(1 / brentq(slope, softest, sharpest, xtol=1e-12))
