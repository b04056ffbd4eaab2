"""The statistics against statsmodels and scipy, and against what must hold of them."""

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


@pytest.mark.parametrize(("k", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (1, 3), (17, 40), (21_325, 25_000)])
def test_wilson_interval_agrees_with_statsmodels(k, n):
    theirs = proportion_confint(k, n, alpha=0.05, method="wilson")
    low, high = proportion_interval(k, n)
    assert (low, high) == pytest.approx(theirs, abs=1e-12)
    assert 0 <= low <= k / n <= high <= 1


def decisions(both, only_a, only_b, neither):
    a = np.repeat([True, True, False, False], [both, only_a, only_b, neither])
    b = np.repeat([True, False, True, False], [both, only_a, only_b, neither])
    return a, b


@pytest.mark.parametrize(
    ("both", "only_a", "only_b", "neither"),
    [(10, 0, 1, 0), (0, 5, 5, 0), (50, 0, 12, 3), (20_000, 900, 1_100, 3_000), (7, 30, 29, 1)],
)
def test_mcnemar_agrees_with_statsmodels(both, only_a, only_b, neither):
    found = mcnemar(*decisions(both, only_a, only_b, neither))
    theirs = their_mcnemar([[both, only_a], [only_b, neither]], exact=True)
    assert (found.only_a, found.only_b) == (only_a, only_b)
    # Twice a tail counts the middle twice where both are equally many.
    assert found.p_value == pytest.approx(min(1.0, theirs.pvalue), rel=1e-9)


def test_mcnemar_heeds_only_the_reviews_that_differ():
    few, many = mcnemar(*decisions(1, 3, 9, 1)), mcnemar(*decisions(5_000, 3, 9, 700))
    assert few.p_value == many.p_value < mcnemar(*decisions(1, 4, 8, 1)).p_value


def test_bootstrap_interval_is_that_of_the_normal_approximation():
    a, b = decisions(1_500, 140, 220, 140)
    found = bootstrap_difference(a, b)
    paired = b.astype(float) - a
    margin = 1.959963984540054 * paired.std() / np.sqrt(len(paired))
    assert found.difference == pytest.approx(80 / 2_000)
    assert (found.low, found.high) == pytest.approx((0.04 - margin, 0.04 + margin), abs=1.5e-3)


def test_bootstrap_of_equal_and_of_opposite_decisions():
    a = np.array([True, False, True])
    same, opposite = bootstrap_difference(a, a), bootstrap_difference(np.zeros(4, bool), np.ones(4, bool))
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert (opposite.difference, opposite.low, opposite.high) == (1, 1, 1)


def test_bootstrap_is_repeatable_and_wider_at_a_higher_level():
    a, b = decisions(100, 10, 30, 10)
    assert bootstrap_difference(a, b) == bootstrap_difference(a, b)
    narrow, wide = (bootstrap_difference(a, b, level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.difference < narrow.high < wide.high


@pytest.mark.parametrize(
    ("a", "message"),
    [([1, 0], "correct_a have shape"), ([], "correct_a have shape"), ([[[True]]], "correct_a have shape")],
)
def test_bootstrap_refuses(a, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_difference(np.array(a), np.array([True, False]))


@pytest.mark.parametrize(("k", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses(k, n):
    with pytest.raises(ValueError, match="allowed: n of at least 1 and k from 0 to n"):
        proportion_interval(k, n)


def test_mcnemar_of_the_same_decisions():
    assert mcnemar(np.array([True, False]), np.array([True, False])).p_value == 1


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([True], [True, False], "1 correct_a, 2 correct_b"),
        ([0, 1], [True, False], "correct_a have shape \\(2,\\) and type int64; allowed: \\(n,\\) and bool"),
    ],
)
def test_mcnemar_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        mcnemar(np.array(a), np.array(b))


def test_bootstrap_agrees_with_scipy():
    generator = np.random.default_rng(1)
    a, b = generator.random(800) < 0.8, generator.random(800) < 0.84
    found = bootstrap_difference(a, b, resamples=20_000)
    theirs = bootstrap(
        (a.astype(float), b.astype(float)),
        lambda x, y, axis: (y - x).mean(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        batch=2_000,
        rng=2,
    ).confidence_interval
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert found.low == pytest.approx(theirs.low, abs=1.5e-3)
    assert found.high == pytest.approx(theirs.high, abs=1.5e-3)


def test_bootstrap_takes_the_mean_over_seeds():
    a = np.array([[True, False, True, True], [True, True, False, True], [True, False, False, True]])
    b = np.array([True, True, True, True])
    # Per review: 0, 2/3, 2/3, 0.
    found = bootstrap_difference(a, b)
    assert found.difference == pytest.approx(1 / 3)
    assert (found.low, found.high) == pytest.approx((0, 2 / 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"resamples": 0}, "resamples is 0"), ({"level": 1.0}, "level is 1.0; allowed: above 0 and below 1")],
)
def test_bootstrap_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_difference(np.array([True]), np.array([True]), **options)


def test_spreads_are_written_for_readers():
    assert percent({"mean": 0.81912}) == "81.91 %"
    assert percent({"mean": 0.81912, "standard_deviation": 0.0012}) == "81.91 ± 0.12 %"
    assert p_value(0.0) == "p < 1e-300"
    assert p_value(0.0123) == "p = 0.012"
    assert count({"mean": 2512.4, "standard_deviation": 9.6}) == "2,512 ± 10"
