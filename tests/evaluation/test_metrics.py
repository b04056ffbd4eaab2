"""Metrics against scikit-learn, slow loops and numbers worked out by hand."""

from __future__ import annotations

import importlib.util
import json
import math
import socket
import sys

import evaluate
import numpy as np
import pytest
import sklearn.metrics
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lstm_sentiment.evaluation import metrics
from hf_lstm_sentiment.evaluation.metrics import (
    F1,
    ROCAUC,
    Accuracy,
    ConfusionMatrix,
    ExpectedCalibrationError,
    Precision,
    Recall,
    calibration_bins,
    evaluate_logits,
)

OF_LABELS = [Accuracy, Precision, Recall, F1, ConfusionMatrix]
OF_SCORES = [ROCAUC, ExpectedCalibrationError]

logits_and_labels = st.lists(
    st.tuples(st.floats(-700, 700), st.integers(0, 1)),
    min_size=1,
    max_size=60,
).map(lambda pairs: tuple(np.array(column) for column in zip(*pairs, strict=True)))


def make_reviews(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and labels of a classifier that is right four times out of five."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return (2 * labels - 1) * 1.5 + 1.8 * rng.normal(size=count), labels


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def slow_calibration_error(scores: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    total = 0.0
    for m in range(bins):
        members = []
        for p, label in zip(scores, labels, strict=True):
            predicted, confidence = (1, p) if p > 0.5 else (0, 1 - p)
            if m / bins < confidence <= (m + 1) / bins:
                members.append((predicted == label, confidence))
        if members:
            accuracy = sum(right for right, _ in members) / len(members)
            mean = sum(confidence for _, confidence in members) / len(members)
            total += len(members) / len(scores) * abs(accuracy - mean)
    return total


def compute_everything(predictions, scores, references) -> dict:
    combined = evaluate.combine([metric() for metric in OF_LABELS + OF_SCORES])
    return combined.compute(
        predictions=predictions,
        prediction_scores=scores,
        references=references,
    )


def test_label_metrics_by_hand():
    inputs = {"predictions": [1, 1, 1, 0, 0, 1], "references": [1, 1, 0, 0, 1, 1]}
    assert Accuracy().compute(**inputs) == {"accuracy": 4 / 6}
    assert Precision().compute(**inputs) == {"precision": 3 / 4}
    assert Recall().compute(**inputs) == {"recall": 3 / 4}
    assert F1().compute(**inputs) == {"f1": 3 / 4}
    cells = {"tn": 1, "fp": 1, "fn": 1, "tp": 3}
    assert ConfusionMatrix().compute(**inputs) == {"confusion_matrix": cells}


def test_false_positives_and_false_negatives_are_not_swapped():
    result = ConfusionMatrix().compute(predictions=[1, 1, 1, 0], references=[0, 0, 0, 1])
    assert result == {"confusion_matrix": {"tn": 0, "fp": 3, "fn": 1, "tp": 0}}


def test_metrics_agree_with_scikit_learn():
    logits, labels = make_reviews(700)
    scores, predictions = sigmoid(logits), logits > 0
    result = compute_everything(predictions, scores, labels)
    assert result["accuracy"] == sklearn.metrics.accuracy_score(labels, predictions)
    assert result["precision"] == sklearn.metrics.precision_score(labels, predictions)
    assert result["recall"] == sklearn.metrics.recall_score(labels, predictions)
    assert result["f1"] == sklearn.metrics.f1_score(labels, predictions)
    assert result["roc_auc"] == sklearn.metrics.roc_auc_score(labels, scores)
    cells = sklearn.metrics.confusion_matrix(labels, predictions).ravel().tolist()
    assert list(result["confusion_matrix"].values()) == cells


def test_roc_auc_by_hand():
    # Of the 2 x 2 pairs, three are in the right order and one is a tie.
    result = ROCAUC().compute(prediction_scores=[0.3, 0.6, 0.6, 0.9], references=[0, 0, 1, 1])
    assert result == {"roc_auc": 3.5 / 4}


@pytest.mark.parametrize("label", [0, 1])
def test_roc_auc_of_one_class_is_absent(label):
    assert ROCAUC().compute(prediction_scores=[0.2, 0.7], references=[label, label]) == {}
    result = compute_everything([0, 1], [0.2, 0.7], [label, label])
    assert "roc_auc" not in result
    assert result["accuracy"] == 0.5
    assert "roc_auc" not in evaluate_logits([-1.0, 1.0], [label, label])


@pytest.mark.parametrize("metric", [Precision, Recall, F1])
def test_nothing_to_divide_by_is_zero(metric, recwarn):
    result = metric().compute(predictions=[0, 0], references=[0, 0])
    assert result == {metric.__name__.lower(): 0.0}
    assert not recwarn.list


def test_calibration_error_by_hand():
    # Four reviews at confidence 0.9, three of them right, and one at 0.8, wrong:
    # 4/5 * |0.75 - 0.9| + 1/5 * |0 - 0.8| = 0.12 + 0.16
    result = ExpectedCalibrationError().compute(
        prediction_scores=[0.9, 0.9, 0.9, 0.1, 0.2],
        references=[1, 1, 0, 0, 1],
    )
    assert result == {"expected_calibration_error": pytest.approx(0.28, abs=1e-12)}


@pytest.mark.parametrize("seed", range(3))
def test_calibration_error_agrees_with_a_slow_loop(seed):
    logits, labels = make_reviews(400, seed)
    scores = sigmoid(logits)
    result = ExpectedCalibrationError().compute(prediction_scores=scores, references=labels)
    expected = slow_calibration_error(scores, labels)
    assert result["expected_calibration_error"] == pytest.approx(expected, abs=1e-12)


def test_scores_keep_their_64_bits():
    scores, labels = np.array([0.9 + 1e-12, 0.9]), np.array([1, 0])
    assert ROCAUC().compute(prediction_scores=scores, references=labels) == {"roc_auc": 1.0}


def test_calibrated_scores_have_no_calibration_error():
    exact = calibration_bins([0.8] * 10 + [0.25] * 4, [1] * 8 + [0] * 2 + [1, 0, 0, 0])
    assert exact.expected_calibration_error == pytest.approx(0, abs=1e-12)
    rng = np.random.default_rng(0)
    scores = rng.random(50_000)
    labels = (rng.random(50_000) < scores).astype(int)
    assert calibration_bins(scores, labels).expected_calibration_error < 0.01


def test_sure_and_wrong_is_the_worst_calibration():
    assert calibration_bins([1.0, 0.0], [0, 1]).expected_calibration_error == 1


def test_bins_hold_their_upper_edges():
    calibration = calibration_bins([0.5, 0.25, 0.75, 0.76, 1.0], [0, 0, 0, 1, 1], bins=4)
    assert calibration.edges.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert calibration.counts.tolist() == [0, 1, 2, 2]
    np.testing.assert_allclose(calibration.confidence, [np.nan, 0.5, 0.75, 0.88])
    np.testing.assert_allclose(calibration.accuracy, [np.nan, 1, 0.5, 1])


def test_bins_must_be_positive():
    with pytest.raises(ValueError, match="bins is 0; allowed: a whole number of at least 1"):
        calibration_bins([0.5], [1], bins=0)


def test_combine_mixes_labels_and_scores():
    result = compute_everything([0, 1, 1], [0.1, 0.9, 0.6], [0, 1, 0])
    assert set(result) == {
        "accuracy",
        "precision",
        "recall",
        "f1",
        "confusion_matrix",
        "roc_auc",
        "expected_calibration_error",
    }
    json.dumps(result, allow_nan=False)
    assert all(type(result[key]) is float for key in result if key != "confusion_matrix")
    assert all(type(count) is int for count in result["confusion_matrix"].values())


@pytest.mark.parametrize("one_by_one", [False, True])
def test_reviews_can_be_added_in_portions(one_by_one):
    logits, labels = make_reviews(40)
    predictions, scores = (logits > 0).astype(int), sigmoid(logits)
    combined = evaluate.combine([metric() for metric in OF_LABELS + OF_SCORES])
    if one_by_one:
        for prediction, score, label in zip(predictions, scores, labels, strict=True):
            combined.add(prediction=prediction, prediction_scores=score, reference=label)
    else:
        for part in (slice(0, 7), slice(7, 40)):
            combined.add_batch(
                predictions=predictions[part],
                prediction_scores=scores[part],
                references=labels[part],
            )
    assert combined.compute() == compute_everything(predictions, scores, labels)


def test_a_metric_can_be_used_twice_and_beside_another():
    first, second = Accuracy(), Accuracy()
    first.add_batch(predictions=[1, 1], references=[1, 0])
    second.add_batch(predictions=[1, 1], references=[1, 1])
    assert first.compute() == {"accuracy": 0.5}
    assert second.compute() == {"accuracy": 1.0}
    assert first.compute(predictions=[0], references=[0]) == {"accuracy": 1.0}


def test_tensors_and_dataset_columns_are_welcome():
    references = Dataset.from_dict({"label": [0, 1, 1]})["label"]
    result = Accuracy().compute(predictions=torch.tensor([0, 1, 0]), references=references)
    assert result == {"accuracy": 2 / 3}


def test_no_network_and_no_files(monkeypatch, tmp_path):
    def refuse(*_):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    compute_everything([0, 1], [0.2, 0.9], [0, 1])
    evaluate_logits([-1.0, 2.0], [0, 1])
    assert list(tmp_path.iterdir()) == []


def test_files_on_request(tmp_path):
    metric = Accuracy(keep_in_memory=False, cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0, 1], references=[0, 0]) == {"accuracy": 0.5}
    assert (tmp_path / "accuracy").is_dir()


@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([0, 2], [0, 1], "predictions hold 2 at position 1, 1 wrong values in all; allowed: 0 "),
        ([0, 1], [-1, 1], "references hold -1 at position 0"),
        ([0.7, 1], [0, 1], "predictions hold 0.7 at position 0"),
        ([math.nan, 1], [0, 1], "predictions hold nan at position 0"),
        (["1", "0"], [0, 1], "predictions are of type <U1; allowed: numbers"),
        ([None, 1], [0, 1], "predictions are of type object; allowed: numbers"),
        ([[0, 1]], [0], r"predictions have shape \(1, 2\); allowed: \(n,\)"),
        ([0, 1, 1], [0, 1], "3 predictions and 2 references; allowed: the same number"),
        ([], [], "predictions are empty"),
        (None, [0, 1], "predictions are missing; accuracy needs predictions and references"),
        (None, None, "accuracy got no reviews; pass predictions and references"),
    ],
)
def test_label_errors(predictions, references, message):
    with pytest.raises(ValueError, match=message):
        Accuracy().compute(predictions=predictions, references=references)


@pytest.mark.parametrize("metric", OF_SCORES)
@pytest.mark.parametrize(
    ("scores", "references", "message"),
    [
        ([0.5, 1.5], [0, 1], "prediction_scores hold 1.5 at position 1.*allowed: probabilities"),
        ([-0.1, 0.5], [0, 1], "prediction_scores hold -0.1 at position 0"),
        ([0.1, math.nan], [0, 1], "prediction_scores hold nan at position 1"),
        ([0.1, 0.2], [0, 3], "references hold 3 at position 1"),
        ([0.1], [0, 1], "1 prediction_scores and 2 references"),
        ([], [], "prediction_scores are empty"),
    ],
)
def test_score_errors(metric, scores, references, message):
    with pytest.raises(ValueError, match=message):
        metric().compute(prediction_scores=scores, references=references)


def test_score_metrics_do_not_take_labels_for_scores():
    with pytest.raises(ValueError, match="prediction_scores"):
        ROCAUC().compute(predictions=[0, 1], references=[0, 1])


def test_unknown_inputs_are_refused():
    with pytest.raises(ValueError, match=r"Bad inputs.*'logits'"):
        Accuracy().add_batch(predictions=[0], references=[0], logits=[1.0])
    with pytest.raises(ValueError, match=r"Bad inputs.*'logits'"):
        Accuracy().add(prediction=0, reference=0, logits=1.0)
    with pytest.raises(TypeError, match="normalize"):
        Accuracy().compute(predictions=[0, 1], references=[0, 1], normalize=False)


def test_a_refused_batch_leaves_nothing_behind():
    metric = Accuracy()
    metric.add_batch(predictions=[1], references=[1])
    with pytest.raises(ValueError, match="2 predictions and 1 references"):
        metric.add_batch(predictions=[0, 0], references=[1])
    with pytest.raises(ValueError, match=r"predictions hold 0\.5"):
        metric.add(prediction=0.5, reference=1)
    assert len(metric) == 1
    assert metric.compute() == {"accuracy": 1.0}


def test_evaluate_logits_by_hand():
    result = evaluate_logits(np.array([2.0, -1.0, 0.0, 3.0]), np.array([1, 0, 0, 0]))
    loss = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log(2)) / 4
    loss += math.log1p(math.exp(3)) / 4
    assert result.pop("loss") == pytest.approx(loss, rel=1e-14)
    assert result.pop("expected_calibration_error") > 0
    assert result == {
        "accuracy": 0.75,
        "precision": 0.5,
        "recall": 1.0,
        "f1": pytest.approx(2 / 3),
        "roc_auc": pytest.approx(2 / 3),
        "confusion_matrix": {"tn": 2, "fp": 1, "fn": 0, "tp": 1},
        "reviews": 4,
    }


def test_loss_is_exact_where_probabilities_round():
    assert evaluate_logits([800.0, -800.0], [1, 0])["loss"] == 0
    assert evaluate_logits([800.0, -800.0], [0, 1])["loss"] == 800
    assert evaluate_logits([40.0], [1])["loss"] == pytest.approx(math.exp(-40), rel=1e-12)


def test_logits_of_32_bits_are_measured_in_64():
    logits, labels = make_reviews(200)
    single = logits.astype(np.float32)
    assert evaluate_logits(single, labels) == evaluate_logits(single.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([1.0, math.inf], [0, 1], "logits hold inf at position 1.*allowed: finite numbers"),
        ([math.nan], [0], "logits hold nan at position 0"),
        ([1.0], [2], "labels hold 2 at position 0"),
        ([1.0, 2.0], [1], "2 logits and 1 labels"),
        ([], [], "logits are empty"),
        (np.zeros((3, 2)), [0, 0, 1], r"shape \(3, 2\); pass logits\[:, 1\] - logits\[:, 0\]"),
        (np.zeros((3, 1)), [0, 0, 1], r"shape \(3, 1\); allowed: \(n,\)"),
    ],
)
def test_logit_errors(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate_logits(logits, labels)


@settings(max_examples=25, deadline=None)
@given(logits_and_labels)
def test_evaluate_logits_properties(reviews):
    logits, labels = reviews
    result = evaluate_logits(logits, labels)
    json.dumps(result, allow_nan=False)
    cells = result["confusion_matrix"]
    assert sum(cells.values()) == result["reviews"] == len(labels)
    assert result["accuracy"] == pytest.approx((cells["tp"] + cells["tn"]) / len(labels))
    assert cells["tp"] + cells["fp"] == (logits > 0).sum()
    assert ("roc_auc" in result) == (len(set(labels)) == 2)
    assert 0 <= result.get("roc_auc", 0) <= 1
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits),
        torch.from_numpy(labels).double(),
    )
    assert result["loss"] == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(logits_and_labels, st.integers(1, 30))
def test_calibration_properties(reviews, bins):
    logits, labels = reviews
    calibration = calibration_bins(sigmoid(logits), labels, bins=bins)
    assert -1e-12 <= calibration.expected_calibration_error <= 1 + 1e-12
    assert calibration.counts.sum() == len(labels)
    filled = calibration.counts > 0
    means = calibration.confidence[filled]
    assert (means >= calibration.edges[:-1][filled] - 1e-12).all()
    assert (means <= calibration.edges[1:][filled] + 1e-12).all()
    assert np.isnan(calibration.accuracy[~filled]).all()


def test_every_review_of_a_large_split_counts():
    logits, labels = make_reviews(25_000)
    assert evaluate_logits(logits, labels)["reviews"] == 25_000


def test_info_says_what_a_metric_is():
    info = ExpectedCalibrationError().info
    assert "1706.04599" in info.citation
    assert info.description.startswith("Mean distance between")
    assert list(info.features) == ["prediction_scores", "references"]


def test_missing_library_is_reported_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    spec = importlib.util.spec_from_file_location(f"{metrics.__package__}.without_evaluate", metrics.__file__)
    module = importlib.util.module_from_spec(spec)
    advice = r'evaluate.*pip install "hf_lstm_sentiment\[train\]"'
    with pytest.raises(ModuleNotFoundError, match=advice):
        spec.loader.exec_module(module)
