from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import pytest
from ablate import ABLATED, ablate, tabulate
from recorded import read_ablations

from hf_lstm_sentiment import PRESETS, teach
from tests.reviews import BAD, GOOD, refused, save_with_unlabeled, write_glove


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return save_with_unlabeled(tmp_path_factory.mktemp("data") / "reviews")


@pytest.fixture(scope="module")
def teachers(source, tmp_path_factory):
    directory = tmp_path_factory.mktemp("taught") / "teachers"
    return teach(dataset=source, output_dir=directory, validation_fraction=0.1).directory


@pytest.fixture(scope="module")
def ablated(source, teachers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    vectors = write_glove(folder / "vectors.txt", [*GOOD, *BAD], 100)
    sources = {"dataset": source, "glove": vectors, "soft_labels": teachers}
    return ablate("from_glove", output_dir=folder / "imdb_from_glove-seed1", seed=1, disable_tqdm=True, **sources)


def add(runs, name, metrics, **changes):
    (runs / name).mkdir()
    (runs / name / "metrics.json").write_text(json.dumps({**metrics, **changes}))


def test_each_leaves_out_one_thing():
    differs = {"labels_alone": {"soft_labels"}, "ngram_teacher": {"soft_labels"}, "last_state": {"pooling"}}
    differs |= {"from_glove": {"pretrained", "glove"}, "more_dropout": {"embedding_dropout", "classifier_dropout"}}
    whole = asdict(PRESETS["imdb"])
    for name, preset in ABLATED.items():
        recipe = asdict(preset)
        assert {key for key in whole if recipe[key] != whole[key]} == {"name", "description"} | differs[name]


def test_it_trains_and_is_told_in_the_table(ablated):
    assert ablated.metrics["preset"] == "imdb_from_glove"
    assert {"glove", "teachers"} <= ablated.metrics.keys()
    assert "pretraining" not in ablated.metrics
    (row,) = json.loads((ablated.run_directory.parent / "ablations.json").read_text())["rows"]
    assert row == {
        "change": "word vectors from GloVe and a random LSTM instead of the language model",
        "seeds": [1],
        "validation_accuracy": [ablated.metrics["validation"]["accuracy"]],
        "test_accuracy": [ablated.metrics["test"]["accuracy"]],
    }


def test_the_table_begins_with_the_whole_recipe(ablated, tmp_path):
    metrics = dict(ablated.metrics)
    for preset, seed, validation, test in [
        ("imdb_last_state", 7, 0.5, 0.25),
        ("imdb", 43, 0.75, 0.875),
        ("imdb", 42, 0.625, 0.125),
        ("v1", 42, 1.0, 1.0),
    ]:
        scores = {"validation": {"accuracy": validation}, "test": {"accuracy": test}}
        add(tmp_path, f"{preset}-{seed}", metrics, preset=preset, seed=seed, **scores)
    (tmp_path / "ablations.json").write_text(json.dumps(tabulate(tmp_path)))
    whole, other = read_ablations(tmp_path)["rows"]
    scores = {"validation_accuracy": [0.625, 0.75], "test_accuracy": [0.125, 0.875]}
    assert whole == {"change": "none: the whole recipe", "seeds": [42, 43], **scores}
    assert (other["change"][:14], other["seeds"]) == ("the last state", [7])


def test_runs_under_other_conditions_are_not_compared(ablated, tmp_path):
    add(tmp_path, "a", ablated.metrics)
    add(tmp_path, "b", ablated.metrics, preset="imdb", dataset={**ablated.metrics["dataset"], "split_seed": 1})
    refused(lambda: tabulate(tmp_path), "b.metrics.json cannot be compared .*split_seed was")


def test_an_lstm_among_the_teachers_is_refused(teachers, tmp_path):
    both = shutil.copytree(teachers, tmp_path / "teachers")
    metrics = json.loads((both / "teachers.json").read_text())
    metrics["teachers"]["imdb_teacher"] = {"validation_accuracy": 0.9}
    (both / "teachers.json").write_text(json.dumps(metrics))
    message = "ngrams_and_vectors, imdb_teacher.* without --students"
    refused(lambda: ablate("ngram_teacher", soft_labels=both), message)
