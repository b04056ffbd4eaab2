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
from hf_lstm_sentiment.hub.publishable import publishable_files
from tests.hub_clients import ROOT
from tests.hub_store import check_card

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def text(trained):
    return (trained / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def card(text):
    return ModelCard(text)


@pytest.fixture(scope="module")
def metrics(trained):
    return json.loads((trained / "metrics.json").read_text())


def test_the_metadata_are_exactly_these(card, text, metrics):
    assert check_card(text) == ([], [])
    data = card.data.to_dict()
    index, widget = data.pop("model-index"), data.pop("widget")
    assert data == {
        "language": "en",
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
    for result in results:
        assert (result.task_type, result.dataset_type) == ("text-classification", "custom")
        assert result.dataset_name == metrics["dataset"]["source"]
        assert result.dataset_split == "held out of train"
        assert re.search(r"\w", result.metric_name)
    assert len({example["example_title"] for example in widget}) == len(widget) >= 2


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


def test_known_flaws_of_imdb_are_told_of_imdb_only(text, metrics):
    imdb = {**metrics, "dataset": {**metrics["dataset"], "source": "stanfordnlp/imdb"}}
    flaw = "\n- IMDB's labels are star ratings"
    assert flaw in make_model_card(asdict(PRESETS["v1"]), imdb).text
    assert flaw not in text


def test_recorded_cards_are_what_the_template_says_today():
    recorded = {path.parent: None for path in ROOT.glob("model_cards/*/seed-*/metrics.json")}
    for folder, shipped_as in {**recorded, Path(pretrained("imdb")): "imdb"}.items():
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


def test_what_it_shows_is_published_with_it(card, trained):
    shown = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", card.text)
    assert shown
    assert set(shown) <= set(publishable_files(trained))
    code = {name for name in publishable_files(trained) if name.endswith(".py")}
    assert code == set(re.findall(r"`(\w+\.py)`", card.text))


@pytest.mark.parametrize(
    ("accuracy", "found", "said"),
    [
        (1.0, {}, "none: the validation reviews determine none, because the model classifies all of them correctly |"),
        (0.5, {}, "because the model classifies them no better than by chance |"),
        (0.9, {"temperature": 1.25}, "1.250, fitted on the validation reviews and folded into the head |"),
        (0.9, None, None),
    ],
)
def test_the_temperature_or_why_there_is_none(metrics, accuracy, found, said):
    preset = {**asdict(PRESETS["imdb"]), "calibrate": found is not None}
    other = {name: value for name, value in metrics.items() if name not in ("temperature", "calibration")}
    other["validation"] = {**metrics["validation"], "accuracy": accuracy}
    text = make_model_card(preset, {**other, **(found or {})}).text
    assert (said in text) if said else ("Temperature" not in text)


def test_of_teachers_the_cross_validated_accuracy_is_given(metrics):
    teachers = {"teachers": {"one": {"validation_accuracy": 0.8}}, "validation_accuracy": 0.95}
    dataset = {**metrics["dataset"], "unlabeled": 7}
    for more, said in (
        ({"cross_validated_accuracy": 0.9}, "together 90.00% (cross-validated: their weights were fitted on the"),
        ({}, "together 95.00% (flattered: their weights were fitted on the same reviews)"),
    ):
        other = {**metrics, "dataset": dataset, "teachers": {**teachers, **more}}
        text = make_model_card(asdict(PRESETS["imdb"]), other).text
        assert said in text
        assert ("95.00%" in text) is not bool(more)
