"""Arguments that make no sense: a readable error, and nothing left in the way of the corrected call."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import pytest
from huggingface_hub.errors import StrictDataclassError

from hf_lstm_sentiment import SentimentLSTMConfig, load_reviews, predict, predict_file, predict_files, train
from hf_lstm_sentiment.evaluation.report import write_report
from hf_lstm_sentiment.hub.push import push_run
from tests.reviews import TINY, make_reviews, refused, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

EARLY, LATE = "expected_calibration_error", "the training relies on"
# What is wrong with `train`, and what is said of it; a field of a preset of one's own is given as {"field": value}.
TRAINING = [
    ({"preset": "v9"}, "preset 'v9' is not known; allowed"),
    ({"preset": ["v1"]}, "preset ..v1.. is not known; allowed"),
    ({"seed": -1}, "seed is -1; allowed"),
    ({"seed": "x"}, "seed is 'x'; allowed"),
    ({"num_threads": 0}, "num_threads is 0"),
    ({"num_train_epochs": 0}, "num_train_epochs is 0; allowed"),
    ({"per_device_train_batch_size": 0}, "per_device_train_batch_size is 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ({"eval_strategy": "steps", "eval_steps": 3}, "strategy"),
    ({"eval_strategy": "no"}, "strategy"),
    ({"push_to_hub": True}, "an access token is needed"),
    ({"output_dir": ""}, "the output is named ''"),
    ({"max_train_samples": 1}, "max_train_samples is 1"),
    *(
        ({name: value}, f"{name} is .*{value}.*; {LATE}")
        for name, value in (
            *(("bf16_full_eval", True), ("fp16_full_eval", True), ("prediction_loss_only", True)),
            *(("batch_eval_metrics", True), ("eval_do_concat_batches", False), ("dataloader_drop_last", True)),
            *(("label_names", ["label"]), ("load_best_model_at_end", False), ("label_smoothing_factor", 0.1)),
            *(("resume_from_checkpoint", "x"), ("hub_strategy", "every_save"), ("hub_always_push", True)),
        )
    ),
    ({"metric_for_best_model": "bleu"}, f"'bleu'; allowed: accuracy, .*{EARLY}"),
    ({"field": {"metric_for_best_model": "bleu"}}, "'bleu'; allowed: accuracy"),
    ({"metric_for_best_model": EARLY, "greater_is_better": True}, f"greater_is_better is True; {LATE} False"),
    ({"evaluation_strategy": "epoch"}, "evaluation_strategy is no option; .* use eval_strategy"),
    ({"no_cuda": True}, "no_cuda is no option; .* use use_cpu"),
    ({"learning_speed": 1}, "learning_speed is no option; train --help_all lists all"),
    ({"report_to": "wandbb"}, "wandbb is not supported, only .*wandb"),
    ({"report_to": "clearml"}, "report_to is .'clearml'.: .*pip install clearml"),
    ({"hub_model_id": "user/name"}, "hub_model_id is given, but push_to_hub is not"),
    ({"hub_token": "hf_secret", "push_to_hub": False}, "hub_token is given, but push_to_hub is not"),
    ({"field": {"embedding_size": 0}}, "embedding_size is 0"),
    ({"field": {"classifier_dropout": 2}}, "classifier_dropout is 2"),
    ({"field": {"vocab_words": 0}}, "vocab_size is 0"),
    ({"field": {"max_length": 0}}, "max_length is 0"),
    ({"field": {"scheme": "bpe"}}, "scheme is 'bpe'"),
    ({"field": {"glove": ""}}, "--glove '' is not known; allowed"),
    # Every source that is missing is named at once.
    ({"dataset": "none.csv"}, "no such file"),
    ({"preset": "v2_glove", "dataset": "none.csv", "glove": "none.txt"}, r"none\.csv.*none\.txt"),
    ({"preset": "imdb", "dataset": "none.csv"}, r"none\.csv.*language_model.*soft_labels"),
    ({"preset": "v2_glove", "dataset": None}, "stanfordnlp/imdb.*glove.*--preset quickstart"),
    ({"dataset": None}, "stanfordnlp/imdb.*pip install.*--preset quickstart"),
]
OTHERS = [
    (lambda p: predict(["a"], model=3), "model"),
    (lambda p: predict(["a"], model=""), "model is named ''"),
    (lambda p: load_reviews(None), "dataset"),
    (lambda p: load_reviews("http://127.0.0.1:9/a.csv"), "no such file or directory"),
    (lambda p: load_reviews(""), "--dataset is named ''"),
    (lambda p: load_reviews("~no-such-user/a.csv"), "no such home directory"),
    (lambda p: load_reviews("a\0b.csv"), "."),
    (lambda p: predict_file("", "a.csv"), "is named ''"),
    (lambda p: predict_file(p, ""), "the output is named ''"),
    (lambda p: predict_files([p], ""), "the output is named ''"),
    (lambda p: write_report(""), "the run is named ''"),
    (lambda p: push_run("", "me/model"), "the run is named ''"),
    (lambda p: SentimentLSTMConfig(vocab_size=[1]), "vocab_size"),
]


def trained(given, path):
    """Train a tiny preset, or what is given."""
    preset = replace(TINY, epochs=1, **given.get("field", {}))
    train(**{"preset": preset, "dataset": path, **{name: value for name, value in given.items() if name != "field"}})


CALLS = [*((partial(trained, given), message) for given, message in TRAINING), *OTHERS]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message for _, message in CALLS])
def test_arguments(call, message, tmp_path, monkeypatch):
    path = write_csv(tmp_path / "reviews.csv", make_reviews(40))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    try:
        assert "hf_secret" not in refused(lambda: call(path), message)
    except StrictDataclassError as error:
        assert re.search(message, str(error))  # noqa: PT017
    # Nothing that stands in the way of the corrected call.
    assert not any(tmp_path.glob("runs/*/checkpoints/checkpoint-*"))


def test_a_single_problem_keeps_its_kind():
    with pytest.raises(FileNotFoundError):
        train("v1", dataset="none.csv")
    with pytest.raises(ConnectionError):
        train("v1")
