"""Statistics of decisions: checked columns, intervals of accuracies and of their differences, p-values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def checked_columns(logits: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Logits and labels as arrays of one length, at least 1; refuse what is not finite, and no place of a label.

    *Shape:* (n,) or, of more than two labels, (n, K); and (n,)
    """
    z, y = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    places = np.arange(z.shape[1] if z.ndim == 2 else 2)
    if not z.size or y.shape != z.shape[:1] or z.ndim > 2 or (z.ndim == 2 and len(places) < 3):
        raise ValueError(
            f"logits have shape {z.shape} and labels {y.shape}; allowed: for each review of at least one a label and a "
            "logit, of three or more labels a row of them; of two, pass logits[:, 1] - logits[:, 0]"
        )
    columns = (("logits", z, np.isfinite(z), "finite"), ("labels", y, np.isin(y, places), f"0 to {places[-1]}"))
    for name, column, valid, allowed in columns:
        if len(wrong := np.argwhere(~valid)):
            found = f"{column[tuple(wrong[0])]} at position {wrong[0][0]}, {len(wrong)} wrong values in all"
            raise ValueError(f"{name} hold {found}; allowed: {allowed}")
    return z, y.astype(np.int64)


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
    from scipy.stats import binomtest

    interval = binomtest(k, n).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(correct_a: NDArray[np.bool_], correct_b: NDArray[np.bool_]) -> dict[str, Any]:
    """Test whether two classifiers are equally often right: "only_a" and "only_b", the reviews of one, and "p_value".

    McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages", in
    its exact form: of the reviews that only one of them gets right, each one's number is binomial with p = 1/2. The
    p-value is 1 if there is no such review. *Shape:* (n,) and (n,).
    """
    from scipy.stats import binomtest

    only_a, only_b = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    discordant = only_a + only_b
    p = float(binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return {"only_a": only_a, "only_b": only_b, "p_value": p}


def bootstrap_difference(
    correct_a: Sequence[NDArray[np.bool_]], correct_b: Sequence[NDArray[np.bool_]]
) -> dict[str, float]:
    """Compute the 95 % interval of the difference of two accuracies on the same reviews, the second less the first.

    The percentile bootstrap over reviews, paired (Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"). It
    says how the difference would move with other reviews, not with other seeds. A resample is drawn as the
    multinomial counts of the distinct per-review differences, which has the same distribution as drawing n reviews.
    There is a row for each seed. *Shape:* (seeds, n) and (seeds, n). Returns "difference", "low" and "high".
    """
    differences = np.mean(correct_b, axis=0) - np.mean(correct_a, axis=0)
    # Rounded, so that 2/3 - 1/3 and 1 - 2/3 count as one value.
    values, counts = np.unique(np.round(differences, 12), return_counts=True)
    reviews, tail = len(differences), (1 - 0.95) / 2
    drawn = np.random.default_rng(0).multinomial(reviews, counts / reviews, size=10_000)
    low, high = np.quantile(drawn @ values / reviews, [tail, 1 - tail])
    return {"difference": float(differences.mean()), "low": float(low), "high": float(high)}
