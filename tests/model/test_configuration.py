import json
import re

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, SentimentLSTMModel
from hf_lstm_sentiment.model.configuration_sentiment_lstm import AUTO_MAP

SIZES = {"vocab_size": 31, "embedding_size": 7, "hidden_size": 5, "num_hidden_layers": 3, "bidirectional": True}
DROPOUTS = {"embedding_dropout": 0.25, "word_dropout": 0.1, "classifier_dropout": 0.5, "class_weights": [1, 2.5]}
OTHERS = {"pooling": "mean", "freeze_embeddings": True, "initializer_range": 0.5, "pad_token_id": 3}
EVERYTHING = {**SIZES, **DROPOUTS, **OTHERS, "id2label": {0: "bad", 1: "good"}}

WRONG_TYPES = [
    ("vocab_size", "20"),
    ("vocab_size", True),
    ("hidden_size", None),
    ("bidirectional", 1),
    ("pooling", "average"),
    ("embedding_dropout", "0.1"),
    ("pad_token_id", "0"),
]

INF, NAN = float("inf"), float("nan")
REFUSED = [
    ({"vocab_size": 0}, "vocab_size is 0; allowed: a whole number of at least 1"),
    ({"embedding_dropout": 1.0}, "embedding_dropout is 1.0; allowed: 0 <= embedding_dropout < 1"),
    ({"word_dropout": NAN}, "word_dropout is nan; allowed: 0 <= word_dropout < 1"),
    ({"classifier_dropout": -0.1}, "classifier_dropout is -0.1; allowed: 0 <= classifier_dropout < 1"),
    ({"initializer_range": 0}, "initializer_range is 0; allowed: a finite number above 0"),
    ({"initializer_range": INF}, "initializer_range is inf; allowed: a finite number above 0"),
    ({"pad_token_id": 20}, "pad_token_id is 20; allowed: 0 to 19"),
    ({"pad_token_id": -1}, "pad_token_id is -1; allowed: 0 to 19"),
    ({"naive_padding": True, "pooling": "max"}, "naive_padding with pooling 'max'"),
    ({"naive_padding": True, "bidirectional": True}, "bidirectional True"),
    ({"num_labels": 1}, "has 1 label(s); allowed: at least 2; leave num_labels and id2label out"),
    ({"problem_type": "regression"}, "this model does 'single_label_classification' only; name the values"),
    ({"problem_type": "multi_label_classification"}, "only; train one model of two labels, yes and no"),
    ({"class_weights": [1]}, "[1]; allowed: 2 finite numbers of at least 0, two or more of them above 0, in the order"),
    ({"class_weights": [1, -1]}, "of the labels (NEGATIVE, POSITIVE)"),
    ({"class_weights": [0, 2.5]}, "two or more of them above 0"),
    ({"class_weights": [1, NAN]}, "finite numbers"),
]


def without_origin(config):
    return {**config.to_dict(), "_name_or_path": None}


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_wrong_type_is_refused_on_construction_and_assignment(name, value):
    with pytest.raises(StrictDataclassError, match=f"'{name}'"):
        SentimentLSTMConfig(**{name: value})
    with pytest.raises(StrictDataclassError, match=f"'{name}'"):
        setattr(SentimentLSTMConfig(), name, value)


@pytest.mark.parametrize(("wrong", "message"), REFUSED)
def test_what_cannot_be_is_refused_however_it_is_asked_for(tmp_path, wrong, message):
    def refused():
        return pytest.raises(StrictDataclassError, match=re.escape(message))

    sizes = {"vocab_size": 20, "embedding_size": 4, "hidden_size": 3}
    with refused():
        SentimentLSTMConfig(**{**sizes, **wrong})
    config = SentimentLSTMConfig(**sizes)
    model = SentimentLSTMForSequenceClassification(config)
    model.save_pretrained(tmp_path / "right")
    with refused():
        SentimentLSTMForSequenceClassification.from_pretrained(tmp_path / "right", **wrong)
    for name, value in wrong.items():
        setattr(config, name, value)
    with refused():
        config.save_pretrained(tmp_path / "wrong")
    assert not (tmp_path / "wrong" / "config.json").exists()
    for cls in (SentimentLSTMModel, SentimentLSTMForSequenceClassification):
        with refused():
            cls(config)
    if wrong.keys() & {"num_labels", "problem_type", "class_weights"}:
        with pytest.raises(ValueError, match=re.escape(message)):
            model(model.dummy_inputs["input_ids"])


SMALLEST = {**dict.fromkeys(SIZES, 1), "bidirectional": False, "pad_token_id": 0, "embedding_dropout": 0.999}


@pytest.mark.parametrize("settings", [{}, EVERYTHING, SMALLEST, {"pad_token_id": None}, {"naive_padding": True}])
def test_save_and_load(tmp_path, settings):
    config = SentimentLSTMConfig(**settings)
    config.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    for loaded in (SentimentLSTMConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(loaded, SentimentLSTMConfig)
        for name, value in settings.items():
            assert getattr(loaded, name) == value
        assert without_origin(loaded) == without_origin(config)
    assert SentimentLSTMConfig.from_pretrained(tmp_path, hidden_size=9).hidden_size == 9
    for name in SentimentLSTMConfig.__annotations__.keys() - {"model_type", "keys_to_ignore_at_inference"}:
        assert name in saved, "a checkpoint must not depend on the defaults of the version that reads it"


@pytest.mark.parametrize(
    ("settings", "id2label"),
    [
        ({}, {0: "NEGATIVE", 1: "POSITIVE"}),
        ({"num_labels": 2}, {0: "NEGATIVE", 1: "POSITIVE"}),
        ({"id2label": {0: "bad", 1: "good"}}, {0: "bad", 1: "good"}),
        ({"id2label": {"0": "bad", "1": "good"}}, {0: "bad", 1: "good"}),
        ({"label2id": {"bad": 0, "good": 1}}, {0: "bad", 1: "good"}),
        ({"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}}, {0: "bad", 1: "good"}),
        ({"id2label": {0: "bad", 1: "good"}, "label2id": {"NEGATIVE": 0, "POSITIVE": 1}}, {0: "bad", 1: "good"}),
        ({"num_labels": 3}, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
    ],
)
def test_both_label_tables_are_filled_and_agree(tmp_path, settings, id2label):
    config = SentimentLSTMConfig(**settings)
    config.save_pretrained(tmp_path)
    for each in (config, SentimentLSTMConfig.from_pretrained(tmp_path)):
        assert each.id2label == id2label
        assert each.label2id == {name: index for index, name in id2label.items()}
        assert each.num_labels == len(id2label)
    config.id2label = dict(enumerate("ab"))
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).label2id == {"a": 0, "b": 1}
    assert AutoConfig.from_pretrained(tmp_path, id2label={0: "c", 1: "a"}).label2id == {"c": 0, "a": 1}


def test_labels_that_are_numbered_in_two_ways_are_refused():
    with pytest.raises(ValueError, match=r"label2id is .* and id2label is .*; leave out the wrong one"):
        SentimentLSTMConfig(id2label={0: "bad", 1: "good"}, label2id={"good": 0, "bad": 1})


def test_saved_auto_map_does_not_point_at_the_repository_it_was_pulled_from(tmp_path):
    pulled = {name: f"somebody/a-model--{target}" for name, target in AUTO_MAP.items()}
    config = SentimentLSTMConfig(auto_map=pulled)
    assert config.auto_map == pulled
    config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == AUTO_MAP
