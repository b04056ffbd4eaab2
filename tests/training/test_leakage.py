"""What must not be seen is poisoned, with other labels and words of its own: nothing that is learned may change."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hf_lstm_sentiment import load_reviews, pretrain, teach, train
from hf_lstm_sentiment.training.distill import ngrams_and_vectors
from hf_lstm_sentiment.training.presets import LANGUAGE_MODEL
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import TINY, make_reviews, same_weights, save_parts

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = {"vocab_words": 300, "embedding_size": 8, "hidden_size": 16, "max_length": 64, "batch_size": 16}
MODEL = replace(LANGUAGE_MODEL, glove=None, learning_rate=2e-2, warmup_steps=0, epochs=1, **SIZES)
CLASSIFIER = replace(TINY, calibrate=True, epochs=5, **SIZES)
COUNTS = {"train": 160, "validation": 60, "test": 60, "unsupervised": 80}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A clean data set, and for each of two parts one in which that part is poisoned and the rest is the same."""
    parts = {name: make_reviews(count, seed=seed) for seed, (name, count) in enumerate(COUNTS.items())}
    # Some labels are wrong, or no temperature would be the best.
    parts = {name: [(t, 1 - y if i % 7 == 0 else y) for i, (t, y) in enumerate(rows)] for name, rows in parts.items()}
    parts["unsupervised"] = [(text, -1) for text, _ in parts["unsupervised"]]
    root = tmp_path_factory.mktemp("sources")
    found = {"clean": save_parts(root / "clean", **parts)}
    for name in ("validation", "test"):
        poison = [(" ".join(f"poison {word}x" for word in text.split()), 1 - label) for text, label in parts[name]]
        found[name] = save_parts(root / name, **{**parts, name: poison})
    return found


@pytest.fixture
def learned(sources, tmp_path):
    """Learns from each source; the run, the tokenizer and the metrics that come of it."""

    def learn(how, *names):
        for name in ("clean", *names):
            run = how(dataset=sources[name], output_dir=tmp_path / name, disable_tqdm=True).run_directory
            tokenizer = (run / "tokenizer.json").read_text()
            assert "poison" not in tokenizer
            yield run, tokenizer, read_json(run / "metrics.json")

    return learn


def test_a_classifier_and_its_temperature_do_not_see_the_test_reviews(learned):
    (run, tokenizer, metrics), (other, other_tokenizer, other_metrics) = learned(partial(train, CLASSIFIER), "test")
    assert same_weights(run, other)
    assert tokenizer == other_tokenizer
    assert metrics["temperature"] == other_metrics["temperature"] != 1
    for key in ("best_epoch", "validation", "history"):
        assert metrics[key] == other_metrics[key]
    # The poison works: of what it changes, something was measured.
    assert metrics["test"]["accuracy"] > 0.6 > other_metrics["test"]["accuracy"]


def test_a_classifier_learns_nothing_from_the_validation_reviews(learned):
    # With one epoch there is nothing to choose, and without calibration nothing is fitted on them.
    recipe = replace(CLASSIFIER, epochs=1, calibrate=False)
    (run, tokenizer, _), (other, other_tokenizer, _) = learned(partial(train, recipe), "validation")
    assert same_weights(run, other)
    assert tokenizer == other_tokenizer


def test_a_language_model_reads_neither_validation_nor_test_reviews(learned):
    clean, validation, test = learned(partial(pretrain, recipe=MODEL), "validation", "test")
    for run, tokenizer, _ in (validation, test):
        assert same_weights(clean[0], run)
        assert clean[1] == tokenizer
    assert clean[2]["perplexity"] == test[2]["perplexity"] != validation[2]["perplexity"]


def test_teachers_do_not_see_the_test_reviews(sources, tmp_path):
    clean, other = (teach(dataset=sources[name], output_dir=tmp_path / name) for name in ("clean", "test"))
    for name in ("document_vectors", "ngrams_and_vectors", "soft_labels"):
        one, two = (load_file(taught.directory / f"{name}.safetensors") for taught in (clean, other))
        for key in one:
            assert torch.equal(one[key], two[key])
    assert clean.metrics["validation_accuracy"] == other.metrics["validation_accuracy"]


def test_teachers_are_not_fitted_on_the_validation_reviews(sources):
    # The document vectors are made of all texts but those of the test: only the regression is looked at.
    vectors = np.random.default_rng(0).normal(size=(COUNTS["train"] + COUNTS["validation"] + COUNTS["unsupervised"], 4))
    clean, other = (
        ngrams_and_vectors(load_reviews(sources[name], unlabeled=True), vectors.astype(np.float32))
        for name in ("clean", "validation")
    )
    assert np.array_equal(clean["unlabeled"], other["unlabeled"])
    assert not np.array_equal(clean["validation"], other["validation"])
