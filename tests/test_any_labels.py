"""Three labels, from reviews to strangers: trained, compared, reported, explained, exported, published, pulled."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from hf_lstm_sentiment import Classifier, predict
from hf_lstm_sentiment.evaluation.report import write_report
from hf_lstm_sentiment.inference.explain import explain
from hf_lstm_sentiment.inference.onnx import export_onnx
from hf_lstm_sentiment.inference.onnx_classify import OnnxClassifier
from hf_lstm_sentiment.training.study import study
from tests.hub_clients import TAG, push, run_stranger
from tests.reviews import TINY, make_rated, write_csv

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")

LABELS = ["negative", "neutral", "positive"]
TEXTS = ["a wonderful film", "", "boring and dull word1", "an average film"]


@pytest.fixture(scope="module")
def study_of_three(tmp_path_factory):
    """Two short trainings on the same reviews, one of which counts the labels alike, and their comparison."""
    folder = tmp_path_factory.mktemp("three")
    reviews = write_csv(folder / "reviews.csv", make_rated(240))
    presets = [replace(TINY, name="short", epochs=1), replace(TINY, name="long", epochs=4)]
    options = {"dataset": reviews, "class_weights": "balanced", "num_threads": 1, "disable_tqdm": True}
    return folder, reviews, study(presets, seeds=[1], runs_dir=folder, **options)


@pytest.fixture(scope="module")
def run(study_of_three):
    return study_of_three[0] / "long-seed1"


def test_versions_are_compared_by_accuracy_and_macro_f1(study_of_three):
    _, _, comparison = study_of_three
    found = comparison.results["presets"]["long"]
    assert "false_positives" not in found
    assert f"| {100 * found['macro_f1']['mean']:.2f} % |" in comparison.summary()
    (pair,) = comparison.results["neighbours"]
    only = pair["mcnemar"]["1"]
    reviews = comparison.results["dataset"]["test"]
    assert (only["only_b"] - only["only_a"]) / reviews == pytest.approx(pair["difference"]["difference"])


def test_errors_are_reported_by_label(study_of_three, run):
    path = write_report(run, against=study_of_three[0] / "short-seed1", excerpts=2)
    found, page = json.loads(path.with_name("report.json").read_text()), path.read_text(encoding="utf-8")
    test = found["test"]
    assert found["labels"] == LABELS
    assert sum(row["reviews"] for row in found["confidence"]) == test["reviews"]
    assert sum(row["wrong"] for row in found["confidence"]) == round((1 - test["accuracy"]) * test["reviews"])
    recall = {row["name"]: row["accuracy"] for row in found["groups"]["label"]}
    assert recall == pytest.approx({name: of["recall"] for name, of in zip(LABELS, test["per_class"], strict=True)})
    assert "POSITIVE" not in page
    assert "Right here, wrong in short-seed1" in page
    assert any(row["predicted"] in row["probabilities"] for rows in found["excerpts"].values() for row in rows)


def test_all_ways_to_ask_answer_alike(hub, run, tmp_path):
    predictions = predict(TEXTS, model=run, all_scores=True)
    scores = [list(prediction.scores.values()) for prediction in predictions]
    assert [prediction.label for prediction in predictions][::2] == ["positive", "negative"]
    assert list(predictions[0].scores) == LABELS
    explanation = explain(TEXTS[0], label="neutral", model=run)
    assert explanation.probabilities == pytest.approx(scores[0], abs=1e-6)
    export_onnx(run)
    exported = OnnxClassifier(run / "onnx", model="model.onnx")
    np.testing.assert_allclose(exported.logits(TEXTS), Classifier.from_pretrained(run).logits(TEXTS), atol=1e-5)
    push(run, "user/three", for_serving=True)
    facts = {"repo": "user/three", "tag": TAG, "texts": TEXTS, "scores": [one.scores for one in predictions]}
    facts["max_length"] = TINY.max_length
    run_stranger("classify", folder=tmp_path, facts=facts, hub=hub, home=tmp_path / "home")
