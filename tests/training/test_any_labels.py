"""Three labels, from reviews to strangers: trained, compared, reported, explained, exported, published, pulled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_lstm_sentiment import Classifier, explain, predict, teach, train
from hf_lstm_sentiment.evaluation.report import write_report
from hf_lstm_sentiment.inference.onnx import export_onnx
from hf_lstm_sentiment.inference.onnx_classify import OnnxClassifier
from hf_lstm_sentiment.training.study import study
from hf_lstm_sentiment.utils.files import read_json
from tests.hub_clients import TAG, push, run_stranger
from tests.reviews import TINY, make_rated, refused, save_parts, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["positive", "neutral", "negative"]
THREE = replace(TINY, name="three", calibrate=True, epochs=9)
TEXTS = ["a wonderful film", "", "boring and dull word1", "an average film"]


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Reviews, half of them neutral ones, and the order of their labels."""
    rows = make_rated(500)
    rows = [row for i, row in enumerate(rows) if row[1] == "neutral" or i % 4 < 2]
    path = write_csv(tmp_path_factory.mktemp("data") / "three.csv", rows)
    return {"dataset": path, "labels": " ".join(f"{name}={name}" for name in NAMES)}


@pytest.fixture(scope="module")
def compared(rated, tmp_path_factory):
    """The runs of a short and of a long training that count the labels alike, and their comparison."""
    folder = tmp_path_factory.mktemp("runs")
    presets = [replace(THREE, name="short", epochs=1), THREE]
    options = {**rated, "class_weights": "balanced", "disable_tqdm": True}
    return folder, study(presets, seeds=[42], runs_dir=folder, **options)


@pytest.fixture(scope="module")
def result(compared, rated):
    """What the long one returned."""
    run = compared[0] / "three-seed42"
    return train(THREE, **rated, class_weights="balanced", output_dir=run, resume=True, disable_tqdm=True)


def test_three_labels_are_learned_weighed_and_calibrated(result):
    metrics, run = result.metrics, result.run_directory
    assert metrics == read_json(run / "metrics.json")
    assert metrics["labels"] == metrics["dataset"]["labels"] == NAMES
    # A quarter, a half and a quarter of the reviews.
    weights = read_json(run / "config.json")["class_weights"]
    assert weights == metrics["class_weights"] == pytest.approx([4 / 3, 2 / 3, 4 / 3], rel=0.1)
    assert metrics["temperature"] > 0
    assert metrics["calibration"]["cross_validated"]["nll"] > 0
    test = metrics["test"]
    assert min(test["accuracy"], test["macro_f1"]) > 0.9
    assert {"top_2_accuracy", "per_class", "coverage"} < set(test)
    assert np.sum(test["confusion_matrix"]) == metrics["dataset"]["test"]
    assert load_file(run / "model.safetensors")["classifier.weight"].shape == (3, 16)
    classifier = Classifier.from_pretrained(run)
    assert classifier.labels == tuple(NAMES)
    assert [p.label for p in classifier(["word1 superb", "word1 average", "word1 dull"])] == NAMES
    summary = result.summary()
    assert f"macro F1 {test['macro_f1']:.2%}" in summary
    assert "false positives" not in summary
    # A card of many labels, with all plots that it shows.
    card = (run / "README.md").read_text()
    assert "It answers one of positive, neutral, negative" in card
    assert "class_weights=balanced" in card
    for plot in ("training_curves", "confusion_matrix", "coverage"):
        assert (run / "plots" / f"{plot}.png").is_file()
        assert f"plots/{plot}.png" in card


def test_versions_are_compared_by_accuracy_and_macro_f1(compared):
    comparison = compared[1]
    found = comparison.results["presets"]["three"]
    assert "false_positives" not in found
    assert f"| {100 * found['macro_f1']['mean']:.2f} % |" in comparison.summary()
    (pair,) = comparison.results["neighbours"]
    only = pair["mcnemar"]["42"]
    reviews = comparison.results["dataset"]["test"]
    assert (only["only_b"] - only["only_a"]) / reviews == pytest.approx(pair["difference"]["difference"])


def test_errors_are_reported_by_label(compared, result):
    path = write_report(result.run_directory, against=compared[0] / "short-seed42", excerpts=2)
    found, page = read_json(path.with_name("report.json")), path.read_text(encoding="utf-8")
    test = found["test"]
    assert found["labels"] == NAMES
    assert sum(row["reviews"] for row in found["confidence"]) == test["reviews"]
    assert sum(row["wrong"] for row in found["confidence"]) == round((1 - test["accuracy"]) * test["reviews"])
    recall = {row["name"]: row["accuracy"] for row in found["groups"]["label"]}
    assert recall == pytest.approx({name: of["recall"] for name, of in zip(NAMES, test["per_class"], strict=True)})
    assert "POSITIVE" not in page
    assert "Right here, wrong in short-seed42" in page
    assert any(row["predicted"] in row["probabilities"] for rows in found["excerpts"].values() for row in rows)


def test_all_ways_to_ask_answer_alike(hub, result, tmp_path):
    run = result.run_directory
    predictions = predict(TEXTS, model=run, all_scores=True)
    assert [prediction.label for prediction in predictions][::2] == ["positive", "negative"]
    explanation = explain(TEXTS[0], label="neutral", model=run)
    assert explanation.probabilities == pytest.approx(tuple(predictions[0].scores.values()), abs=1e-6)
    export_onnx(run)
    exported = OnnxClassifier(run / "onnx", model="model.onnx")
    np.testing.assert_allclose(exported.logits(TEXTS), Classifier.from_pretrained(run).logits(TEXTS), atol=1e-5)
    push(run, "user/three", for_serving=True)
    facts = {"repo": "user/three", "tag": TAG, "texts": TEXTS, "scores": [one.scores for one in predictions]}
    facts["max_length"] = TINY.max_length
    run_stranger("classify", folder=tmp_path, facts=facts, hub=hub, home=tmp_path / "home")


def test_numbers_weigh_labels_too_and_a_resume_with_others_is_refused(fit, rated):
    # The loss that the Trainer logs is weighted, that of the results is not.
    preset = replace(THREE, epochs=1, metric_for_best_model="loss")
    assert fit(preset, class_weights=[1, 0.5, 2], **rated).metrics["class_weights"] == [1, 0.5, 2]
    again = {**rated, "resume": True, "class_weights": "1,1,1"}
    refused(lambda: fit(preset, **again), "class_weights was '1,0.5,2' and is '1,1,1'")


def test_the_head_of_a_base_is_kept_for_the_same_labels_only(fit, result, rated, tmp_path):
    base = result.run_directory
    preset = replace(THREE, epochs=1, learning_rate=1e-12, calibrate=False)
    given = {"model_name_or_path": base, **rated}
    same = fit(preset, output_dir=tmp_path / "same", **given)
    assert same.metrics["base_model"]["kept"] == ["tokenizer", "encoder", "head"]
    assert same.metrics["base_validation"]["macro_f1"] == same.metrics["validation"]["macro_f1"]
    there, here = (load_file(run / "model.safetensors") for run in (base, same.run_directory))
    assert torch.allclose(there["classifier.weight"], here["classifier.weight"], atol=1e-6)
    given["labels"] = "negative=ham neutral=ham positive=spam"
    named = fit(preset, output_dir=tmp_path / "named", **given)
    assert named.metrics["base_model"]["kept"] == ["tokenizer", "encoder"]
    assert "base_validation" not in named.metrics
    assert named.metrics["labels"] == ["ham", "spam"]
    assert named.metrics["test"]["roc_auc"] >= 0
    # Of two sentiments there are no names.
    given["labels"] = "negative=negative neutral= positive=positive"
    assert "labels" not in fit(preset, output_dir=tmp_path / "two", **given).metrics


def test_texts_and_labels_from_python(fit, result):
    texts, labels = zip(*make_rated(198, seed=3), strict=True)
    base = {"model_name_or_path": result.run_directory, "num_train_epochs": 1}
    metrics = fit(texts=texts, labels=labels, test_fraction=0.1, **base).metrics
    # The preset for a model to start from, where none is named.
    assert metrics["preset"] == "finetune"
    dataset = metrics["dataset"]
    assert dataset["source"] == "198 texts given in Python"
    assert (dataset["test"], dataset["validation"], dataset["train"]) == (20, 36, 142)
    assert metrics["options"]["test_fraction"] == 0.1
    # The same names in another order, the alphabet's, are other labels.
    assert metrics["base_model"]["kept"] == ["tokenizer", "encoder"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"class_weights": {0: 1, 1: 2, 3: 4}},
            "class_weights is .{0: 1, 1: 2, 3: 4}.; allowed: balanced, or a number",
        ),
        ({"class_weights": "1,2"}, r"class_weights are \[1.0, 2.0\]; allowed: 3 finite numbers"),
        ({"class_weights": 2}, "class_weights are .2.0.; allowed: 3 finite numbers"),
        ({"metric_for_best_model": "roc_auc"}, "'roc_auc', which is not measured of 3 labels; allowed: accuracy"),
        (
            {"texts": ["a", "b"], "labels": [0, 1]},
            "dataset is .*three.csv'., and texts are given; leave one of them out",
        ),
        ({"dataset": None, "texts": ["a"], "text_column": "text"}, "text_column is 'text', and texts are given"),
        ({"dataset": None, "texts": ["a"]}, "labels is None; pass a list with one for each review"),
        ({"dataset": None, "texts": ["a", "b"], "labels": [1]}, "2 texts and 1 labels"),
        ({"labels": [0, 1]}, r"labels is \[0, 1\], and there are no texts"),
    ],
)
def test_what_does_not_go_together_is_refused_before_any_work(fit, rated, tmp_path, options, message):
    refused(lambda: fit(THREE, **{"dataset": rated["dataset"], **options}), message)
    assert not list((tmp_path / "run").glob("checkpoints/checkpoint-*"))


def test_teachers_have_two_labels(tmp_path):
    folder = save_parts(tmp_path / "reviews", train=make_rated(60), unsupervised=[("word1 word2", "")])
    refused(lambda: teach(dataset=folder, output_dir=tmp_path / "teachers"), "3 labels, and soft labels are of two")
