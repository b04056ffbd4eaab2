"""Trainings of other labels than two sentiments."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_lstm_sentiment import Classifier, teach, train
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import BAD, GOOD, NOISE, TINY, refused, save_parts, write_csv

NAMES = ["bad", "so-so", "good"]
WORDS = {"bad": BAD, "so-so": ["passable", "average"], "good": GOOD}
THREE = replace(TINY, calibrate=True, epochs=9)


def of_three(count, *, seed=0):
    """Reviews of three labels; half of them are good ones."""
    generator = random.Random(seed)
    rows = []
    for i in range(count):
        label = NAMES[min(i % 4, 2)]
        words = [*generator.choices(NOISE, k=generator.randint(3, 8)), f"nr{seed}x{i}"]
        words.insert(generator.randrange(len(words)), generator.choice(WORDS[label]))
        rows.append((" ".join(words), label))
    return rows


@pytest.fixture(scope="module")
def rated(tmp_path_factory):
    """Reviews, and the order of their labels."""
    path = write_csv(tmp_path_factory.mktemp("data") / "three.csv", of_three(320))
    return {"dataset": path, "labels": "bad=bad so-so=so-so good=good"}


@pytest.fixture(scope="module")
def result(rated, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "three"
    return train(THREE, **rated, class_weights="balanced", output_dir=run, disable_tqdm=True)


def test_three_labels_are_learned_weighed_and_calibrated(result):
    metrics, run = result.metrics, result.run_directory
    assert metrics == read_json(run / "metrics.json")
    assert metrics["labels"] == metrics["dataset"]["labels"] == NAMES
    # A quarter, a quarter and a half of the reviews.
    weights = read_json(run / "config.json")["class_weights"]
    assert weights == metrics["class_weights"] == pytest.approx([4 / 3, 4 / 3, 2 / 3], rel=0.05)
    assert metrics["temperature"] > 0
    assert metrics["calibration"]["cross_validated"]["nll"] > 0
    test = metrics["test"]
    assert min(test["accuracy"], test["macro_f1"]) > 0.9
    assert {"top_2_accuracy", "per_class", "coverage"} < set(test)
    assert np.sum(test["confusion_matrix"]) == metrics["dataset"]["test"]
    assert load_file(run / "model.safetensors")["classifier.weight"].shape == (3, 16)
    classifier = Classifier.from_pretrained(run)
    assert classifier.labels == tuple(NAMES)
    assert [p.label for p in classifier(["word1 dull", "word1 passable", "word1 superb"])] == NAMES
    summary, said = result.summary(), [f"{weight:.3g}" for weight in weights]
    assert f"macro F1 {test['macro_f1']:.2%}" in summary
    assert f"bad (weight {said[0]}), so-so (weight {said[1]}), good (weight {said[2]})" in summary
    assert "false positives" not in summary
    # A card of many labels, with all plots that it shows.
    card = (run / "README.md").read_text()
    assert "It answers one of bad, so-so, good" in card
    assert "class_weights=balanced" in card
    for plot in ("training_curves", "confusion_matrix", "coverage"):
        assert (run / "plots" / f"{plot}.png").is_file()
        assert f"plots/{plot}.png" in card


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
    given["labels"] = "bad=negative so-so= good=positive"
    other = fit(preset, output_dir=tmp_path / "two", **given).metrics
    assert other["base_model"]["kept"] == ["tokenizer", "encoder"]
    assert not {"base_validation", "labels"} & set(other)
    given["labels"] = "bad=ham so-so=ham good=spam"
    named = fit(preset, output_dir=tmp_path / "named", **given)
    assert named.metrics["labels"] == ["ham", "spam"]
    assert named.metrics["test"]["roc_auc"] >= 0
    assert "ham, spam" in named.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": "1,2"}, r"class_weights are \[1.0, 2.0\]; allowed: 3 finite numbers"),
        (
            {"class_weights": {0: 1, 1: 2, 3: 4}},
            "class_weights is .{0: 1, 1: 2, 3: 4}.; allowed: balanced, or a number",
        ),
        ({"class_weights": 2}, "class_weights are .2.0.; allowed: 3 finite numbers"),
        ({"metric_for_best_model": "roc_auc"}, "'roc_auc', which is not measured of 3 labels; allowed: accuracy"),
    ],
)
def test_what_does_not_go_with_three_labels_is_refused_before_any_work(fit, rated, tmp_path, options, message):
    refused(lambda: fit(THREE, dataset=rated["dataset"], **options), message)
    assert not list((tmp_path / "run").glob("checkpoints/checkpoint-*"))


def test_teachers_have_two_labels(tmp_path):
    folder = save_parts(tmp_path / "reviews", train=of_three(60), unsupervised=[("word1 word2", "")])
    refused(lambda: teach(dataset=folder, output_dir=tmp_path / "teachers"), "3 labels, and soft labels are of two")


def test_texts_and_labels_from_python(fit, result):
    texts, labels = zip(*of_three(200, seed=3), strict=True)
    base = {"model_name_or_path": result.run_directory, "num_train_epochs": 1}
    metrics = fit(texts=texts, labels=labels, test_fraction=0.1, **base).metrics
    # The preset for a model to start from, where none is named.
    assert metrics["preset"] == "finetune"
    dataset = metrics["dataset"]
    assert dataset["source"] == "200 texts given in Python"
    assert (dataset["test"], dataset["validation"], dataset["train"]) == (20, 36, 144)
    assert metrics["labels"] == ["bad", "good", "so-so"]
    assert metrics["options"]["test_fraction"] == 0.1
    # The same names in another order are other labels.
    assert metrics["base_model"]["kept"] == ["tokenizer", "encoder"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "reviews.csv"}, "dataset is 'reviews.csv', and texts are given; leave one of them out"),
        ({"text_column": "text"}, "text_column is 'text', and texts are given"),
        ({"labels": None}, "labels is None; pass a list with one for each review"),
        ({"labels": [1]}, "2 texts and 1 labels"),
        ({"texts": None}, r"labels is \[0, 1\], and there are no texts"),
    ],
)
def test_texts_that_do_not_go_with_the_rest_are_refused(fit, options, message):
    refused(lambda: fit(TINY, **{"texts": ["word1", "word2"], "labels": [0, 1], **options}), message)
