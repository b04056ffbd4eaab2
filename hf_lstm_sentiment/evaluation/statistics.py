"""Statistics of decisions: checked columns, intervals of accuracies and of their differences, p-values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..utils.imports import require


@dataclass(frozen=True)
class McNemar:
    """Reviews that only the first and only the second of two classifiers gets right; two-sided exact p-value."""

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """A difference of accuracies, the second less the first, with the limits of its interval."""

    difference: float
    low: float
    high: float


def as_labels(values: ArrayLike, name: str, *, count: int = 2) -> NDArray[np.int64]:
    """Labels as an array; refuse others than the places of so many labels, none, or another shape than (n,)."""
    allowed = "0 and 1" if count == 2 else f"0 to {count - 1}"
    return _checked(values, name, lambda array: np.isin(array, np.arange(count)), allowed).astype(np.int64)


def as_logits(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Logits as an array; refuse some that are not finite, none, or another shape than (n,) or (n, K), K above 2."""
    if np.ndim(values) == 2 and np.shape(values)[1] == 2:
        raise ValueError(f"{name} have shape {np.shape(values)}; pass {name}[:, 1] - {name}[:, 0] instead")
    return _checked(values, name, np.isfinite, "finite numbers", columns=True).astype(np.float64)


def as_probabilities(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Probabilities as an array; refuse some outside of 0 to 1, none, or another shape than (n,) or (n, K)."""
    return _checked(values, name, lambda p: (p >= 0) & (p <= 1), "0 to 1", columns=True).astype(np.float64)


def label_count(scores: NDArray[Any]) -> int:
    """How many labels logits or probabilities are of: two where there is one number per review."""
    return 2 if scores.ndim == 1 else int(scores.shape[1])


def decisions(logits: ArrayLike) -> NDArray[np.int64]:
    """The more probable label of each review, by its place. *Shape:* (n,) or (n, K) to (n,)."""
    z = np.asarray(logits)
    return ((z > 0) if z.ndim == 1 else z.argmax(axis=1)).astype(np.int64)


def _checked(
    values: ArrayLike, name: str, valid: Callable[[Any], Any], allowed: str, *, columns: bool = False
) -> NDArray[Any]:
    array = np.asarray(values)
    shaped = array.ndim == 1 or (columns and array.ndim == 2 and array.shape[1] > 2)
    if not shaped or not array.size or array.dtype.kind not in "biuf":
        more = " or, of three or more labels, a row of them" if columns else ""
        raise ValueError(
            f"{name} have shape {array.shape} and type {array.dtype}; "
            f"allowed: one number per review{more}, at least one"
        )
    wrong = np.argwhere(~valid(array))
    if len(wrong):
        found = f"{array[tuple(wrong[0])].item()} at position {wrong[0][0]}, {len(wrong)} wrong values in all"
        raise ValueError(f"{name} hold {found}; allowed: {allowed}")
    return array


def check_lengths(**columns: Any) -> None:
    """Refuse columns of different lengths."""
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"{listed}; allowed: the same number of each, one per review")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Summarize seeds: "mean", "values" and, of more than one, the "standard_deviation" of a sample (n - 1)."""
    found: dict[str, Any] = {"mean": float(np.mean(values)), "values": list(values)}
    if len(values) > 1:
        found["standard_deviation"] = float(np.std(values, ddof=1))
    return found


def percent(of: Mapping[str, Any]) -> str:
    """A share from `spread` as per cent, with its standard deviation where there is one."""
    deviation = of.get("standard_deviation")
    return f"{100 * of['mean']:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "") + " %"


def count(of: Mapping[str, Any]) -> str:
    """A count, likewise."""
    deviation = of.get("standard_deviation")
    return f"{of['mean']:,.0f}" + (f" ± {deviation:,.0f}" if deviation is not None else "")


def p_value(p: float) -> str:
    """A p-value for readers; smaller ones than the smallest float come as zero."""
    return f"p = {p:.2g}" if p > 0 else "p < 1e-300"


def proportion_interval(k: int, n: int) -> tuple[float, float]:
    """Compute the 95 % interval of a share that was seen k times in n; sensible for few reviews and near 0 and 1 too.

    The score interval of Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    require("scipy", extra="train")
    from scipy.stats import binomtest

    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"k is {k} and n is {n}; allowed: n of at least 1 and k from 0 to n")
    interval = binomtest(k, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Test whether two classifiers are equally often right on the same reviews.

    McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages", in
    its exact form: of the reviews that only one of them gets right, each one's number is binomial with p = 1/2. The
    p-value is 1 if there is no such review. *Shape:* (n,) and (n,), bool.
    """
    require("scipy", extra="train")
    from scipy.stats import binomtest

    a, b = np.asarray(correct_a), np.asarray(correct_b)
    check_lengths(correct_a=a, correct_b=b)
    for name, values in (("correct_a", a), ("correct_b", b)):
        if values.ndim != 1 or values.dtype != np.bool_:
            raise ValueError(f"{name} have shape {values.shape} and type {values.dtype}; allowed: (n,) and bool")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_a, discordant).pvalue) if discordant else 1.0)


def bootstrap_difference(
    correct_a: ArrayLike, correct_b: ArrayLike, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Compute the interval of the difference of two accuracies on the same reviews, the second less the first.

    The percentile bootstrap over reviews, paired (Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"). It
    says how the difference would move with other reviews, not with other seeds. A resample is drawn as the
    multinomial counts of the distinct per-review differences, which has the same distribution as drawing n reviews.
    Of several seeds, there is a row for each. *Shape:* (seeds, n) or (n,), bool.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: a whole number of at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; allowed: above 0 and below 1")
    a, b = _share_of_seeds(correct_a, "correct_a"), _share_of_seeds(correct_b, "correct_b")
    check_lengths(correct_a=a, correct_b=b)
    # Rounded, so that 2/3 - 1/3 and 1 - 2/3 count as one value.
    values, counts = np.unique(np.round(b - a, 12), return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(a), counts / len(a), size=resamples)
    tail = (1 - level) / 2
    low, high = np.quantile(drawn @ values / len(a), [tail, 1 - tail])
    return Difference(float((b - a).mean()), float(low), float(high))


def _share_of_seeds(correct: ArrayLike, name: str) -> NDArray[np.float64]:
    """Share of right decisions per review. *Shape:* (n,)."""
    array = np.asarray(correct)
    if array.dtype != np.bool_ or array.ndim not in (1, 2) or not array.size:
        raise ValueError(
            f"{name} have shape {array.shape} and type {array.dtype}; allowed: (seeds, n) or (n,) and bool"
        )
    share: NDArray[np.float64] = np.atleast_2d(array).mean(axis=0)
    return share
