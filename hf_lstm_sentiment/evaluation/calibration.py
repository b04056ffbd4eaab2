"""Calibration: how sure a classifier is against how often it is right, and the temperature that joins the two."""

import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..inference.classifier import decisions, probabilities, sigmoid
from .statistics import checked_columns

logger = logging.getLogger(__name__)

# A temperature outside of them says that the logits are wrong, not that they need softening.
TEMPERATURES = (0.05, 20.0)
_BINS = 15
# Shares of the reviews that coverage leaves out.
_REJECTED = (0.0, 0.05, 0.1, 0.2)


class CalibrationBins(NamedTuple):
    """Confidence against accuracy in the bins that hold reviews: limits of the bins, share of the reviews, and means.

    *Shape:* (bins,) each
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    share: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    expected_calibration_error: float


def calibration_bins(p: NDArray[np.float64], labels: NDArray[np.int64]) -> CalibrationBins:
    r"""Sort reviews by how sure the classifier was, and see how often it was right.

    The confidence in a review is the probability of the predicted label: of two labels, `max(p, 1 - p)`, and POSITIVE
    is predicted if `p > 0.5`; of more, the largest of its row. The m-th bin B_m holds the confidences in
    ((m - 1) / 15, m / 15]; the expected calibration error is

        ECE = \sum_m |B_m| / n * |accuracy(B_m) - mean confidence(B_m)|

    Equation 3 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural Networks",
    https://arxiv.org/abs/1706.04599, after Naeini, Cooper and Hauskrecht (2015). *Shape:* (n,) or (n, K), and (n,).
    """
    confidence = certainty(p)
    correct = (decisions(p) if p.ndim == 2 else p > 0.5) == labels
    edges = np.linspace(0, 1, _BINS + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    counts, sure, right = (np.bincount(index, w, minlength=_BINS) for w in (np.ones(len(p)), confidence, correct))
    # A bin's size cancels against the denominators of its accuracy and of its mean confidence.
    error = float(np.abs(right - sure).sum() / len(p))
    filled = counts > 0
    n = counts[filled]
    return CalibrationBins(
        edges[:-1][filled], edges[1:][filled], n / len(p), sure[filled] / n, right[filled] / n, error
    )


def probabilities_of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of POSITIVE per review, or of each of several labels. *Shape:* that of the logits."""
    return sigmoid(logits) if logits.ndim == 1 else probabilities(logits)


def certainty(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The probability of the predicted label. *Shape:* (n,) or (n, K) to (n,)."""
    return np.asarray(np.maximum(p, 1 - p) if p.ndim == 1 else p.max(axis=1))


def cross_entropy(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean cross-entropy in nats, from the logits, so that it stays exact where a probability rounds to 0 or 1."""
    if logits.ndim == 1:
        return float(np.logaddexp(0, np.where(labels == 1, -logits, logits)).mean())
    return float((np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).mean())


def measure_calibration(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, float]:
    """Measure how badly probabilities and labels agree: calibration error, "brier" as Brier (1950), "nll" in nats."""
    p = probabilities_of(logits)
    error = calibration_bins(p, labels).expected_calibration_error
    # Of more than two labels, the sum over all of them, as in Brier (1950).
    squares = (p - labels) ** 2 if p.ndim == 1 else ((p - np.eye(p.shape[1])[labels]) ** 2).sum(axis=1)
    nll = cross_entropy(logits, labels)
    return {"expected_calibration_error": error, "brier": float(squares.mean()), "nll": nll}


def measure_coverage(logits: ArrayLike, labels: ArrayLike) -> list[dict[str, Any]]:
    """Measure what is gained by leaving the least sure answers out.

    For each share "rejected": "reviews" that are left, their "accuracy", and "unsure_below", the least of their
    probabilities of the predicted label: the value with which `predict` calls about as many of such reviews unsure.
    """
    z, y = checked_columns(logits, labels)
    sure, correct = certainty(probabilities_of(z)), decisions(z) == y
    # By the logit, where there is one, which still tells apart what rounds to a probability of 1.
    order = np.argsort(-np.abs(z) if z.ndim == 1 else -sure, kind="stable")
    rows = []
    for share in _REJECTED:
        kept = order[: max(1, len(z) - round(share * len(z)))]
        accuracy, least = float(correct[kept].mean()), float(sure[kept[-1]])
        rows.append({"rejected": share, "reviews": len(kept), "accuracy": accuracy, "unsure_below": least})
    return rows


def cross_validate_temperature(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """Measure what a temperature does for reviews that it was not fitted on: each fifth gets that of the others."""
    z, y = checked_columns(logits, labels)
    fold, scaled = np.arange(len(z)) % 5, z.copy()
    for number in range(min(5, len(z))):
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
    from scipy.optimize import brentq

    z, y = checked_columns(logits, labels)
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
