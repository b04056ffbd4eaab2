from __future__ import annotations

import json
import logging
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_lstm_sentiment import Classifier, train
from hf_lstm_sentiment.utils.files import file_digest, read_json
from tests.reviews import (
    BAD,
    GOOD,
    NOISE,
    TINY,
    make_reviews,
    refused,
    same_weights,
    word_vectors,
    write_csv,
    write_glove,
)

# One in which nothing but words that are new can change.
STILL = replace(TINY, epochs=1, learning_rate=1e-12)
# In the reviews of the base, the vocabulary holds these; "fresh" words are in the new reviews alone.
FRESH = ["excellent", "dreadful", "quirk"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    reviews = write_csv(folder / "old.csv", make_reviews(300))
    return train(TINY, dataset=reviews, output_dir=folder / "base", disable_tqdm=True).run_directory


@pytest.fixture(scope="module")
def new(tmp_path_factory):
    """Reviews of which every sixth one holds words that the base does not know."""
    rows = [
        (f"{text} {FRESH[i // 6 % 3]}" if i % 6 == 0 else text, y)
        for i, (text, y) in enumerate(make_reviews(240, seed=5))
    ]
    return write_csv(tmp_path_factory.mktemp("new") / "new.csv", rows)


@pytest.fixture(scope="module")
def glove(tmp_path_factory):
    """Vectors of another dimension, from which those of the base follow by a linear map; "quirk" has none."""
    return write_glove(tmp_path_factory.mktemp("glove") / "glove.txt", [*GOOD, *BAD, *NOISE, *FRESH[:2]], 5)


@pytest.fixture
def copy(base, tmp_path):
    return shutil.copytree(base, tmp_path / "base", ignore=shutil.ignore_patterns("checkpoints"))


def test_tokenizer_weights_head_and_length_are_those_of_the_base(fit, base, new, caplog):
    preset = replace(STILL, hidden_size=4, max_length=9, scheme="words")
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        result = fit(preset, dataset=new, model_name_or_path=base)
    run, metrics = result.run_directory, result.metrics
    assert "hidden_size 16" in caplog.text
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert read_json(run / name) == read_json(base / name)
    there, here = load_file(base / "model.safetensors"), load_file(run / "model.safetensors")
    assert all(torch.allclose(there[name], here[name], atol=1e-6) for name in there)
    digest = file_digest(base / "model.safetensors")
    kept = ["tokenizer", "encoder", "head"]
    expected = {"name": str(base), "digest": digest, "kept": kept, "may_know": ["old.csv"]}
    assert metrics["base_model"] == expected
    assert metrics["digests"]["base_model"] == digest
    assert metrics["base_validation"]["loss"] == pytest.approx(metrics["validation"]["loss"], abs=1e-6)
    assert "before training" in result.summary()


def assert_known_words_keep_their_vectors(result, base):
    """And what the metrics count of the others; the vectors of both, by word."""
    table, found = word_vectors(base), word_vectors(result.run_directory)
    known = set(found) & set(table)
    for word in known:
        assert torch.allclose(found[word], table[word], atol=1e-6), word
    counts = {"copied": len(known), "glove": 2, "random": len(found) - len(known) - 2}
    assert result.metrics["base_model"]["new_words"] == counts
    assert result.metrics["base_model"]["kept"] == ["encoder", "head"]
    return table, found


def test_with_a_vocabulary_of_its_own_known_words_keep_their_vectors(fit, base, new, glove):
    preset = replace(STILL, vocab_words=53, own_vocabulary=True)
    result = fit(preset, dataset=new, model_name_or_path=base, glove=glove)
    table, found = assert_known_words_keep_their_vectors(result, base)
    assert set(FRESH) <= set(found)
    assert not found["<pad>"].any()
    lines = [line.split(" ") for line in glove.read_text().splitlines()]
    vectors = {word: np.array([*map(float, values), 1.0]) for word, *values in lines}
    shared = sorted(set(vectors) & set(table))
    fitted, *_ = np.linalg.lstsq([vectors[w] for w in shared], [table[w].numpy() for w in shared], rcond=None)
    np.testing.assert_allclose(found["dreadful"].numpy(), vectors["dreadful"] @ fitted, atol=1e-5)


def test_new_words_are_appended_with_vectors_of_glove_where_there(fit, base, new, glove, tmp_path, caplog):
    caplog.set_level(logging.INFO, "hf_lstm_sentiment")
    given = {"dataset": new, "model_name_or_path": base, "glove": glove}
    result = fit(STILL, extend_vocab=3, **given)
    table, found = assert_known_words_keep_their_vectors(result, base)
    assert set(found) - set(table) == set(FRESH)
    there, here = (read_json(run / "tokenizer.json")["model"]["vocab"] for run in (base, result.run_directory))
    assert there.items() <= here.items()
    assert f"{len(table)} of its word vectors, 2 new ones from GloVe, 1 at random" in caplog.text
    card = (result.run_directory / "README.md").read_text()
    assert "and the 3 most frequent words of the training reviews that it did not know" in card
    assert Classifier.from_pretrained(result.run_directory)(["word1 excellent"])[0].known == 1
    given["output_dir"] = tmp_path / "more"
    said = refused(lambda: fit(STILL, extend_vocab=9_999, **given), "extend_vocab is 9,999, and .* hold")
    # Every training review has a word of its own.
    assert re.search("allowed: 1 to 1[0-9][0-9]$", said)


@pytest.mark.parametrize(("rate", "kept"), [(10, True), (1e-2, False)])
def test_a_base_that_no_epoch_improves_is_kept_and_said_to_be(fit, copy, rate, kept, new):
    # One that is less sure than it could be.
    weights = load_file(copy / "model.safetensors")
    save_file({**weights, "classifier.weight": weights["classifier.weight"] / 2}, copy / "model.safetensors")
    preset = replace(STILL, learning_rate=rate, epochs=2, metric_for_best_model="loss")
    result = fit(preset, dataset=new, model_name_or_path=copy)
    metrics, card = result.metrics, (result.run_directory / "README.md").read_text()
    assert same_weights(result.run_directory, copy) == kept == (metrics["best_epoch"] == 0)
    assert [row["epoch"] for row in metrics["history"]] == [0, 1, 2]
    assert metrics["history"][0]["validation_loss"] == pytest.approx(metrics["base_validation"]["loss"], abs=1e-6)
    assert (metrics["validation"]["loss"] < metrics["base_validation"]["loss"] - 1e-4) != kept
    for said in (result.summary(), card):
        assert ("no epoch was better than" in said) == kept
    assert ("the best was 0, which is the base model" in card) == kept


def test_a_frozen_encoder_stays_and_the_head_learns(fit, base, new, tmp_path, caplog):
    preset = replace(STILL, learning_rate=1e-2, glove="stanfordnlp/glove", metric_for_best_model="loss")
    fit(preset, dataset=new, model_name_or_path=base, freeze_encoder=True, glove="none.txt")
    assert "glove=none.txt is not used" in caplog.text
    there, here = (load_file(run / "model.safetensors") for run in (base, tmp_path / "run"))
    assert {name for name in there if not torch.equal(there[name], here[name])} == {
        "classifier.weight",
        "classifier.bias",
    }


def test_another_base_under_the_same_name_is_not_resumed(fit, copy, new, tmp_path):
    options = {"dataset": new, "model_name_or_path": copy}
    first = fit(STILL, **options)
    assert fit(STILL, resume=True, **options).metrics == first.metrics
    weights = load_file(copy / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, copy / "model.safetensors")
    refused(lambda: fit(STILL, resume=True, **options), "other data: base_model differ")
    # Nor where it is not finished.
    (tmp_path / "run" / "metrics.json").unlink()
    refused(lambda: fit(STILL, resume=True, **options), "other data: base_model differ")


def test_what_a_base_may_know_of_the_held_out_reviews_is_said(fit, base, tmp_path, caplog):
    same = write_csv(tmp_path / "old.csv", make_reviews(300))
    others = write_csv(tmp_path / "others.csv", make_reviews(300, seed=6))

    def known(dataset, base, run, **options):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hf_lstm_sentiment"):
            run = fit(STILL, dataset=dataset, model_name_or_path=base, output_dir=tmp_path / run, **options)
        said = "where reviews that are held out here are among them" in caplog.text
        # The card says it wherever the log does.
        assert said == ("flatter" in (run.run_directory / "README.md").read_text().split("## Training")[0])
        return run.metrics["base_model"].get("may_know"), said

    assert known(same, base, "a") == (None, False)
    assert known(same, base, "b", split_seed=7) == (["old.csv"], True)
    # That is not forgotten with the split that it knows, nor with other reviews.
    assert known(same, tmp_path / "b", "c", split_seed=7) == (["old.csv"], True)
    assert known(others, tmp_path / "c", "d") == (["old.csv"], True)
    # Nor are the short texts of its teachers.
    copy = shutil.copytree(tmp_path / "a", tmp_path / "e")
    metrics = {**read_json(copy / "metrics.json"), "teachers": {"short_texts": {"source": "short.csv"}}}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    assert known(same, copy, "f") == (["short.csv"], True)
    (copy / "metrics.json").unlink()
    assert known(same, copy, "g") == (["reviews that it does not name"], True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extend_vocab": 0}, "extend_vocab is 0; allowed: a whole number of at least 1"),
        ({"preset": replace(STILL, extend_vocab=-1)}, "extend_vocab is -1; allowed: a whole number of at least 1"),
        (
            {"preset": replace(STILL, own_vocabulary=True), "extend_vocab": 2},
            "extend_vocab is 2, and own_vocabulary is True",
        ),
        ({"preset": replace(STILL, pretrained="a"), "pretrained": "runs/language_model"}, "pass one of them"),
        ({"model_name_or_path": None, "extend_vocab": 2}, "pass model_name_or_path too"),
        ({"model_name_or_path": None, "freeze_encoder": True}, "the encoder starts at random"),
        ({"model_name_or_path": "/no/such/run"}, "no such file or directory"),
        ({}, "trained with hf_lstm_sentiment 99.0, and this is .*pip install --upgrade"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(fit, copy, new, tmp_path, options, message):
    metrics = {**read_json(copy / "metrics.json"), "versions": {"hf_lstm_sentiment": "99.0"}}
    (copy / "metrics.json").write_text(json.dumps(metrics if not options else {}))
    refused(lambda: fit(**{"preset": STILL, "dataset": new, "model_name_or_path": copy, **options}), message)
    assert not (tmp_path / "run").exists()
