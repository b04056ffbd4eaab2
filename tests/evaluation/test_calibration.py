"""Calibration against scikit-learn and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from hf_lstm_sentiment.evaluation.calibration import (
    calibration_bins,
    cross_validate_temperature,
    fit_temperature,
    measure_calibration,
    measure_coverage,
)


def overconfident(n=4_000):
    """Logits twice as large as their labels deserve."""
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 3, n)
    return logits, (generator.random(n) < 1 / (1 + np.exp(-logits / 2))).astype(int)


def calibration_error(probabilities, labels):
    return calibration_bins(np.array(probabilities), np.array(labels)).expected_calibration_error


def test_calibration_error_by_hand():
    # Four reviews at confidence 0.9, three of them right, and one at 0.8, wrong:
    # 4/5 * |0.75 - 0.9| + 1/5 * |0 - 0.8| = 0.12 + 0.16
    assert calibration_error([0.9, 0.9, 0.9, 0.1, 0.2], [1, 1, 0, 0, 1]) == pytest.approx(0.28, abs=1e-12)
    assert calibration_error([1.0, 0.0], [0, 1]) == 1
    exact = calibration_error([0.8] * 10 + [0.25] * 4, [1] * 8 + [0] * 2 + [1, 0, 0, 0])
    assert exact == pytest.approx(0, abs=1e-12)


def test_bins_hold_their_upper_edges():
    found = calibration_bins(np.array([0.6, 0.4, 0.61, 1.0]), np.array([0, 0, 1, 1]))
    assert found.lower.tolist() == pytest.approx([8 / 15, 9 / 15, 14 / 15])
    assert found.upper.tolist() == pytest.approx([9 / 15, 10 / 15, 1])
    assert found.share.tolist() == [0.5, 0.25, 0.25]
    assert found.confidence.tolist() == pytest.approx([0.6, 0.61, 1])
    assert found.accuracy.tolist() == [0.5, 1, 1]


def test_calibration_agrees_with_scikit_learn():
    logits, labels = overconfident(500)
    before, after = measure_calibration(logits, labels), measure_calibration(logits / 2, labels)
    for found, z in ((before, logits), (after, logits / 2)):
        p = 1 / (1 + np.exp(-z))
        assert found["brier"] == pytest.approx(brier_score_loss(labels, p))
        assert found["nll"] == pytest.approx(log_loss(labels, p))
    assert after["expected_calibration_error"] < before["expected_calibration_error"]


def test_temperature_is_that_of_a_logistic_regression_and_measured_on_reviews_that_it_was_not_fitted_on():
    logits, labels = overconfident()
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels)
    temperature = fit_temperature(logits, labels)
    assert temperature == pytest.approx(1 / regression.coef_[0, 0], rel=1e-4)
    assert temperature == pytest.approx(2, rel=0.1)
    logits, labels = overconfident(200)
    fitted = measure_calibration(logits / fit_temperature(logits, labels), labels)
    unseen = cross_validate_temperature(logits, labels)
    assert fitted["nll"] < unseen["nll"] < measure_calibration(logits, labels)["nll"]


def test_several_labels_are_calibrated_like_two():
    """Logits 0 and z of two labels, beside one that nobody takes, are those of two labels."""
    z, labels = overconfident(500)
    three = np.stack([np.zeros(500), z, np.full(500, -1e4)], axis=1)
    assert fit_temperature(three, labels) == pytest.approx(fit_temperature(z, labels), rel=1e-9)
    two, many = measure_calibration(z, labels), measure_calibration(three, labels)
    assert many["expected_calibration_error"] == pytest.approx(two["expected_calibration_error"])
    assert many["nll"] == pytest.approx(two["nll"])
    assert many["brier"] == pytest.approx(2 * two["brier"])
    unseen = cross_validate_temperature(three, labels)
    assert unseen == pytest.approx({**cross_validate_temperature(z, labels), "brier": unseen["brier"]})
    assert measure_coverage(three, labels)[2]["accuracy"] == measure_coverage(z, labels)[2]["accuracy"]


def test_coverage_leaves_the_least_sure_out():
    logits = np.array([-3.0, 0.1, 2.0, -0.2, 1.0, 50.0, 60.0, 4.0, 5.0, 6.0])
    labels = [0, 0, 1, 1, 1, 1, 1, 1, 1, 0]
    found = measure_coverage(logits, labels)
    assert [row["rejected"] for row in found] == [0, 0.05, 0.1, 0.2]
    assert [row["reviews"] for row in found] == [10, 10, 9, 8]
    assert [row["accuracy"] for row in found] == [0.7, 0.7, 7 / 9, 7 / 8]
    assert found[3]["unsure_below"] == pytest.approx(1 / (1 + math.exp(-1)))


@pytest.mark.parametrize(
    ("logits", "labels", "found"), [([-1, 2], [0, 1], None), ([-1, 2], [1, 0], None), ([0, 0], [0, 1], 1)]
)
def test_reviews_that_determine_no_temperature(logits, labels, found, caplog):
    """Perfectly separated, T would go to 0: one of 0.05 had unknown words answered with a probability of 1."""
    assert fit_temperature(logits, labels) == found
    assert ("no temperature is taken" in caplog.text) is (found is None)
