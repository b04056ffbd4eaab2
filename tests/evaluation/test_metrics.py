"""Metrics against PyTorch and numbers worked out by hand."""

from __future__ import annotations

import json
import math
import socket

import evaluate
import numpy as np
import pytest
import torch
from datasets import Dataset

from hf_lstm_sentiment.evaluation.metrics import SentimentMetrics, evaluate_logits


def test_metrics_by_hand():
    result = evaluate_logits(np.array([2.0, -1.0, 0.0, 3.0]), np.array([1, 0, 0, 0]))
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    loss = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log(2) + math.log1p(math.exp(3))) / 4
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


def test_metrics_of_five_labels_by_hand():
    labels = [0, 1, 2, 2, 4]
    # The last label comes second once, and third once.
    logits = np.eye(5)[[0, 1, 2, 1, 0]] * 3 + np.eye(5)[[4, 4, 4, 2, 1]] + np.eye(5)[4] * 0.5
    result = evaluate_logits(logits, labels)
    rows = [0, 0, 0, 0, 0]
    for row, label in zip(logits, labels, strict=True):
        rows[label] += math.log(sum(math.exp(value - row[label]) for value in row))
    assert result["loss"] == pytest.approx(sum(rows) / 5, rel=1e-12)
    assert result["accuracy"] == 3 / 5
    assert (result["top_2_accuracy"], result["top_3_accuracy"], "top_5_accuracy" in result) == (4 / 5, 1, False)
    assert [row["reviews"] for row in result["per_class"]] == [1, 1, 2, 0, 1]
    assert result["per_class"][2] == {"precision": 1, "recall": 0.5, "f1": pytest.approx(2 / 3), "reviews": 2}
    # Of the four labels that some review has or gets.
    assert result["macro_f1"] == pytest.approx((2 / 3 + 2 / 3 + 2 / 3 + 0) / 4)
    assert result["confusion_matrix"] == [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0] * 5, [1, 0, 0, 0, 0]]
    json.dumps(result)
    part = evaluate_logits(logits, labels, overlap=[True, False, False, False, False])["without_overlap"]
    assert part == {"reviews": 4, "accuracy": 0.5}
    for overlap in (None, [False] * 5, [True] * 5):
        assert "without_overlap" not in evaluate_logits(logits, labels, overlap=overlap)


def test_thousands_of_labels_have_no_confusion_matrix(unwarned):
    result = evaluate_logits(np.eye(3_000)[:500] * 9, np.arange(500))
    assert "confusion_matrix" not in result
    assert result["macro_f1"] == result["accuracy"] == 1
    assert len(result["per_class"]) == 3_000


def test_of_one_class_there_is_no_roc_auc_and_what_has_no_divisor_is_zero(unwarned):
    result = evaluate_logits([-1.0, -1.0], [0, 0])
    assert (result["precision"], result["recall"], result["f1"], "roc_auc" in result) == (0, 0, 0, False)


@pytest.mark.parametrize(
    ("logits", "labels", "loss"),
    [([800.0, -800.0], [1, 0], 0), ([800.0, -800.0], [0, 1], 800), ([40.0], [1], math.exp(-40))],
)
def test_loss_is_exact_where_probabilities_round(logits, labels, loss):
    assert evaluate_logits(logits, labels)["loss"] == pytest.approx(loss, rel=1e-12)


def test_the_metric_of_evaluate_takes_portions_tensors_and_columns_and_keeps_their_64_bits():
    single = np.random.default_rng(0).normal(size=40).astype(np.float32)
    labels = Dataset.from_dict({"label": [0, 1] * 20})["label"]
    expected = evaluate_logits(single.astype(np.float64), [0, 1] * 20)
    assert evaluate_logits(torch.tensor(single), labels) == expected
    assert evaluate_logits([0.9 + 1e-12, 0.9], [1, 0])["roc_auc"] == 1
    metric = evaluate.combine([SentimentMetrics()])
    for part in (slice(0, 7), slice(7, 40)):
        metric.add_batch(predictions=single[part], references=labels[part])
    with pytest.raises(ValueError, match=r"shape \(2,\) and labels \(1,\)"):
        metric.add_batch(predictions=[0.0, 0.0], references=[1])
    assert metric.compute() == expected


def test_no_network_and_no_files(monkeypatch, tmp_path):
    monkeypatch.setattr(socket, "socket", None)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    evaluate_logits([-1.0, 2.0], [0, 1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([1.0, math.inf], [0, 1], "logits hold inf at position 1.*allowed: finite"),
        ([1.0], [2], "labels hold 2 at position 0, 1 wrong values in all; allowed: 0 to 1"),
        (np.zeros((2, 3)), [2, 3], "labels hold 3 at position 1, 1 wrong values in all; allowed: 0 to 2"),
        ([1.0, 2.0], [0.7, 1], "labels hold 0.7 at position 0"),
        ([1.0, 2.0], ["1", "0"], "labels hold 1 at position 0"),
        ([1.0, 2.0], [1], r"shape \(2,\) and labels \(1,\); allowed: for each review"),
        ([], [], "logits have shape .*at least one"),
        (np.zeros((3, 2)), [0, 0, 1], r"shape \(3, 2\).*of two, pass logits\[:, 1\] - logits\[:, 0\]"),
    ],
)
def test_wrong_columns_are_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate_logits(logits, labels)
