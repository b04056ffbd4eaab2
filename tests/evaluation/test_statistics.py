"""The statistics against statsmodels and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.proportion import proportion_confint

from hf_lstm_sentiment.evaluation.statistics import (
    bootstrap_difference,
    count,
    mcnemar,
    p_value,
    percent,
    proportion_interval,
)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (17, 40), (21_325, 25_000)])
def test_wilson_interval_agrees_with_statsmodels(k, n):
    low, high = proportion_interval(k, n)
    assert (low, high) == pytest.approx(proportion_confint(k, n, alpha=0.05, method="wilson"), abs=1e-12)
    assert 0 <= low <= k / n <= high <= 1


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "neither"),
    [(1, 0, 0, 1), (10, 0, 1, 0), (0, 5, 5, 0), (50, 0, 12, 3), (20_000, 900, 1_100, 3_000), (7, 30, 29, 1)],
)
def test_mcnemar_agrees_with_statsmodels(both, only_a, only_b, neither):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    found = mcnemar(a, np.repeat([True, False, True, False], [both, only_a, only_b, neither]))
    theirs = their_mcnemar([[both, only_a], [only_b, neither]], exact=True)
    assert (found["only_a"], found["only_b"]) == (only_a, only_b)
    # Twice a tail counts the middle twice where both are equally many.
    assert found["p_value"] == pytest.approx(min(1.0, theirs.pvalue), rel=1e-9)


def test_bootstrap_agrees_with_scipy():
    generator = np.random.default_rng(1)
    a, b = generator.random(800) < 0.8, generator.random(800) < 0.84
    found = bootstrap_difference([a], [b])
    options = {"paired": True, "vectorized": True, "method": "percentile", "n_resamples": 20_000, "batch": 2_000}
    both = (a.astype(float), b.astype(float))
    theirs = bootstrap(both, lambda x, y, axis: (y - x).mean(axis=axis), rng=2, **options).confidence_interval
    assert found["difference"] == pytest.approx(b.mean() - a.mean())
    assert (found["low"], found["high"]) == pytest.approx((theirs.low, theirs.high), abs=1.5e-3)
    same, opposite = bootstrap_difference([a], [a]), bootstrap_difference([a & ~a], [a | ~a])
    assert (same["difference"], same["low"], same["high"]) == (0, 0, 0)
    assert (opposite["difference"], opposite["low"], opposite["high"]) == (1, 1, 1)


def test_bootstrap_takes_the_mean_over_seeds():
    a = np.array([[True, False, True, True], [True, True, False, True], [True, False, False, True]])
    # Per review: 0, 2/3, 2/3, 0.
    found = bootstrap_difference(a, [np.array([True, True, True, True])])
    assert found["difference"] == pytest.approx(1 / 3)
    assert (found["low"], found["high"]) == pytest.approx((0, 2 / 3))


def test_spreads_are_written_for_readers():
    assert percent({"mean": 0.81912}) == "81.91 %"
    assert percent({"mean": 0.81912, "standard_deviation": 0.0012}) == "81.91 ± 0.12 %"
    assert p_value(0.0) == "p < 1e-300"
    assert p_value(0.0123) == "p = 0.012"
    assert count({"mean": 2512.4, "standard_deviation": 9.6}) == "2,512 ± 10"
