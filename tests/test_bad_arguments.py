"""Arguments that make no sense: a readable error, and nothing left in the way of the corrected call."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from huggingface_hub.errors import StrictDataclassError

from hf_lstm_sentiment import (
    PRESETS,
    SentimentLSTMConfig,
    load_reviews,
    predict,
    predict_file,
    predict_files,
    train,
    train_tokenizer,
)
from hf_lstm_sentiment.evaluation.report import write_report
from hf_lstm_sentiment.hub.push import push_run
from tests.reviews import make_reviews, refused, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = replace(PRESETS["v1"], name="tiny", embedding_size=4, hidden_size=4, vocab_words=20, epochs=1)
ARGUMENTS = {
    "preset unknown": (lambda p: train("v9"), "preset 'v9' is not known; allowed"),
    "preset a list": (lambda p: train(["v1"]), "preset ..v1.. is not known; allowed"),
    "seed below 0": (lambda p: train(TINY, dataset=p, seed=-1), "seed is -1; allowed"),
    "seed a text": (lambda p: train(TINY, dataset=p, seed="x"), "seed is 'x'; allowed"),
    "an unknown argument": (lambda p: train(TINY, dataset=p, learn_rate=1), "learn_rate"),
    "epochs 0": (lambda p: train(TINY, dataset=p, num_train_epochs=0), "num_train_epochs is 0; allowed"),
    "batch 0": (lambda p: train(TINY, dataset=p, per_device_train_batch_size=0), "per_device_train_batch_size is 0"),
    "rate NaN": (lambda p: train(TINY, dataset=p, learning_rate=float("nan")), "learning_rate is nan"),
    "threads 0": (lambda p: train(TINY, dataset=p, num_threads=0), "num_threads is 0"),
    "strategies apart": (lambda p: train(TINY, dataset=p, eval_strategy="steps", eval_steps=3), "strategy"),
    "no evaluation": (lambda p: train(TINY, dataset=p, eval_strategy="no"), "strategy"),
    "a metric unknown": (lambda p: train(TINY, dataset=p, metric_for_best_model="x"), "metric_for_best_model"),
    "label smoothing": (lambda p: train(TINY, dataset=p, label_smoothing_factor=0.1), "relies on 0.0"),
    "push": (lambda p: train(TINY, dataset=p, push_to_hub=True), "an access token is needed"),
    "resume from": (lambda p: train(TINY, dataset=p, resume_from_checkpoint="x"), "relies on None"),
    "embedding of 0": (lambda p: train(replace(TINY, embedding_size=0), dataset=p), "embedding_size is 0"),
    "dropout of 2": (lambda p: train(replace(TINY, classifier_dropout=2), dataset=p), "classifier_dropout is 2"),
    "vocabulary of 0": (lambda p: train(replace(TINY, vocab_words=0), dataset=p), "vocab_size is 0"),
    "length of 0": (lambda p: train(replace(TINY, max_length=0), dataset=p), "max_length is 0"),
    "scheme unknown": (lambda p: train(replace(TINY, scheme="bpe"), dataset=p), "scheme is 'bpe'"),
    "sample of 1": (lambda p: train(TINY, dataset=p, max_train_samples=1), "max_train_samples is 1"),
    "texts None": (lambda p: predict(None, model=p), "texts"),
    "model a number": (lambda p: predict(["a"], model=3), "model"),
    "model an empty name": (lambda p: predict(["a"], model=""), "model is named ''"),
    "model with spaces": (lambda p: predict(["a"], model="no such model"), "model"),
    "data None": (lambda p: load_reviews(None), "dataset"),
    "data an address": (lambda p: load_reviews("http://127.0.0.1:9/a.csv"), "no such file or directory"),
    "data an empty name": (lambda p: load_reviews(""), "--dataset is named ''"),
    "data of nobody's home": (lambda p: load_reviews("~no-such-user/a.csv"), "no such home directory"),
    "data a NUL": (lambda p: load_reviews("a\0b.csv"), "."),
    "rows of an empty name": (lambda p: predict_file("", "a.csv"), "is named ''"),
    "an output of an empty name": (lambda p: predict_file(p, ""), "the output is named ''"),
    "a directory of outputs of an empty name": (lambda p: predict_files([p], ""), "the output is named ''"),
    "a run directory of an empty name": (lambda p: train(TINY, dataset=p, output_dir=""), "the output is named ''"),
    "vectors of no name": (lambda p: train(replace(TINY, glove=""), dataset=p), "--glove '' is not known; allowed"),
    "a report of an empty name": (lambda p: write_report(""), "the run is named ''"),
    "a run to push of an empty name": (lambda p: push_run("", "me/model"), "the run is named ''"),
    "a file onto itself": (lambda p: predict_file(p, p, model="x"), "is both what is read"),
    "batch_size 0 of predict_file": (lambda p: predict_file(p, p, model="x", batch_size=0), "batch_size is 0"),
    "tokenizer of nothing": (lambda p: train_tokenizer([]), "no word found"),
    "config of a list": (lambda p: SentimentLSTMConfig(vocab_size=[1]), "vocab_size"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name, tmp_path, monkeypatch):
    call, message = ARGUMENTS[name]
    path = write_csv(tmp_path / "reviews.csv", make_reviews(40))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    try:
        refused(lambda: call(path), message)
    except StrictDataclassError as error:
        assert re.search(message, str(error))  # noqa: PT017
    # Nothing that stands in the way of the corrected call.
    if (tmp_path / "runs").exists():
        assert not any(tmp_path.glob("runs/*/checkpoints/checkpoint-*"))
