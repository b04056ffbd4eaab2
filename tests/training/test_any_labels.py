"""Trainings of other labels than two sentiments."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_lstm_sentiment import Classifier, teach, train
from tests.reviews import BAD, GOOD, NOISE, TINY, refused, write_csv

pytestmark = pytest.mark.usefixtures("own_cache")

QUIET = {"disable_tqdm": True}
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
def reviews(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "three.csv", of_three(320))


@pytest.fixture(scope="module")
def result(reviews, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "three"
    options = {"dataset": reviews, "labels": "bad=bad so-so=so-so good=good"}
    return train(THREE, **options, class_weights="balanced", output_dir=run, **QUIET)


def test_three_labels_are_learned_weighed_and_calibrated(result):
    metrics, run = result.metrics, result.run_directory
    assert metrics == json.loads((run / "metrics.json").read_text())
    assert metrics["labels"] == metrics["dataset"]["labels"] == NAMES
    # A quarter, a quarter and a half of the reviews.
    weights = json.loads((run / "config.json").read_text())["class_weights"]
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
    assert "--class_weights balanced" in card
    for plot in ("training_curves", "confusion_matrix", "coverage"):
        assert (run / "plots" / f"{plot}.png").is_file()
        assert f"plots/{plot}.png" in card


def test_numbers_weigh_labels_too_and_a_resume_with_others_is_refused(result, reviews, tmp_path):
    options = {"dataset": reviews, "labels": "bad=bad so-so=so-so good=good", "output_dir": tmp_path / "run", **QUIET}
    # The loss that the Trainer logs is weighted, that of the results is not.
    preset = replace(THREE, epochs=1, metric_for_best_model="loss")
    assert train(preset, class_weights=[1, 0.5, 2], **options).metrics["class_weights"] == [1, 0.5, 2]
    again = {**options, "resume": True, "class_weights": "1,1,1"}
    refused(lambda: train(preset, **again), "class_weights was '1,0.5,2' and is '1,1,1'")


def test_the_head_of_a_base_is_kept_for_the_same_labels_only(result, reviews, tmp_path):
    base = result.run_directory
    preset = replace(THREE, epochs=1, learning_rate=1e-12, calibrate=False)
    given = {"model_name_or_path": base, "dataset": reviews, **QUIET}
    same = train(preset, labels="bad=bad so-so=so-so good=good", output_dir=tmp_path / "same", **given)
    assert same.metrics["base_model"]["kept"] == ["tokenizer", "encoder", "head"]
    assert same.metrics["base_validation"]["macro_f1"] == same.metrics["validation"]["macro_f1"]
    there, here = (load_file(run / "model.safetensors") for run in (base, same.run_directory))
    assert torch.allclose(there["classifier.weight"], here["classifier.weight"], atol=1e-6)
    other = train(preset, labels="bad=negative so-so= good=positive", output_dir=tmp_path / "two", **given).metrics
    assert other["base_model"]["kept"] == ["tokenizer", "encoder"]
    assert "base_validation" not in other
    assert "labels" not in other
    named = train(preset, labels="bad=ham so-so=ham good=spam", output_dir=tmp_path / "named", **given)
    assert named.metrics["labels"] == ["ham", "spam"]
    assert named.metrics["test"]["roc_auc"] >= 0
    assert "ham, spam" in named.summary()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_weights": "1,2"}, r"class_weights are \[1.0, 2.0\]; allowed: 3 finite numbers"),
        ({"class_weights": 2}, "class_weights are .2.0.; allowed: 3 finite numbers"),
        ({"metric_for_best_model": "roc_auc"}, "'roc_auc', which is not measured of 3 labels; allowed: accuracy"),
    ],
)
def test_what_does_not_go_with_three_labels_is_refused_before_any_work(reviews, tmp_path, options, message):
    refused(lambda: train(THREE, dataset=reviews, output_dir=tmp_path / "run", **options, **QUIET), message)
    assert not list((tmp_path / "run").glob("checkpoints/checkpoint-*"))


def test_teachers_have_two_labels(tmp_path):
    folder = tmp_path / "reviews"
    rows = of_three(60)
    parts = {
        "train": {"text": [t for t, _ in rows], "label": [y for _, y in rows]},
        "unsupervised": {"text": ["word1 word2"], "label": [""]},
    }
    datasets.DatasetDict({name: datasets.Dataset.from_dict(part) for name, part in parts.items()}).save_to_disk(folder)
    refused(lambda: teach(dataset=folder, output_dir=tmp_path / "teachers"), "3 labels, and soft labels are of two")


def test_texts_and_labels_from_python(result, tmp_path):
    texts, labels = zip(*of_three(200, seed=3), strict=True)
    given = {"texts": texts, "labels": labels, "test_fraction": 0.1, "output_dir": tmp_path / "run", **QUIET}
    made = train(model_name_or_path=result.run_directory, num_train_epochs=1, **given)
    # The preset for a model to start from, where none is named.
    assert made.metrics["preset"] == "finetune"
    dataset = made.metrics["dataset"]
    assert dataset["source"] == "200 texts given in Python"
    assert (dataset["test"], dataset["validation"], dataset["train"]) == (20, 36, 144)
    assert made.metrics["labels"] == ["bad", "good", "so-so"]
    assert made.metrics["options"]["test_fraction"] == 0.1
    # The same names in another order are other labels.
    assert made.metrics["base_model"]["kept"] == ["tokenizer", "encoder"]


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
def test_texts_that_do_not_go_with_the_rest_are_refused(tmp_path, options, message):
    given = {"texts": ["word1", "word2"], "labels": [0, 1], **options}
    refused(lambda: train(TINY, output_dir=tmp_path / "run", **given, **QUIET), message)
