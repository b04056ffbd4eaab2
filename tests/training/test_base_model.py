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
from transformers import PreTrainedTokenizerFast

from hf_lstm_sentiment import Classifier, train
from hf_lstm_sentiment.utils.files import file_digest
from tests.reviews import BAD, GOOD, NOISE, TINY, make_reviews, refused, write_csv, write_glove

pytestmark = pytest.mark.usefixtures("own_cache")

QUIET = {"disable_tqdm": True}
ONE_EPOCH = replace(TINY, epochs=1, learning_rate=1e-4)
# In the reviews of the base, the vocabulary holds these; "fresh" words are in the new reviews alone.
FRESH = ["excellent", "dreadful", "quirk"]
TABLE = "sentiment_lstm.word_embeddings.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    reviews = write_csv(folder / "old.csv", make_reviews(300))
    return train(TINY, dataset=reviews, output_dir=folder / "base", **QUIET).run_directory


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """Reviews of which every sixth one holds words that the base does not know."""
    rows = [
        (f"{text} {FRESH[i // 6 % 3]}" if i % 6 == 0 else text, y)
        for i, (text, y) in enumerate(make_reviews(240, seed=5))
    ]
    return write_csv(tmp_path_factory.mktemp("new") / "new.csv", rows)


def rows_by_word(run):
    table = load_file(run / "model.safetensors")[TABLE]
    return {word: table[row] for word, row in PreTrainedTokenizerFast.from_pretrained(run).get_vocab().items()}


def test_tokenizer_weights_head_and_length_are_those_of_the_base(base, reviews, tmp_path, caplog):
    preset = replace(ONE_EPOCH, hidden_size=4, max_length=9, scheme="words", learning_rate=1e-12)
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        result = train(preset, dataset=reviews, model_name_or_path=base, output_dir=tmp_path / "run", **QUIET)
    run = result.run_directory
    assert "hidden_size 16" in caplog.text
    assert json.loads((run / "tokenizer.json").read_text()) == json.loads((base / "tokenizer.json").read_text())
    assert (run / "tokenizer_config.json").read_text() == (base / "tokenizer_config.json").read_text()
    there, here = load_file(base / "model.safetensors"), load_file(run / "model.safetensors")
    assert all(torch.allclose(there[name], here[name], atol=1e-6) for name in there)
    digest = file_digest(base / "model.safetensors")
    kept = ["tokenizer", "encoder", "head"]
    expected = {"name": str(base), "digest": digest, "kept": kept, "may_know": ["old.csv"]}
    assert result.metrics["base_model"] == expected
    assert result.metrics["digests"]["base_model"] == digest
    assert result.metrics["base_validation"]["loss"] == pytest.approx(result.metrics["validation"]["loss"], abs=1e-6)
    assert "before training" in result.summary()


def test_with_a_vocabulary_of_its_own_known_words_keep_their_vectors(base, reviews, tmp_path):
    table = rows_by_word(base)
    # Vectors of another dimension, from which those of the base follow by a linear map that is not written anywhere.
    glove = write_glove(tmp_path / "glove.txt", [*GOOD, *BAD, *NOISE, "excellent", "dreadful"], 5)
    preset = replace(ONE_EPOCH, learning_rate=1e-12, vocab_words=53)
    given = {"dataset": reviews, "model_name_or_path": base, "glove": glove, "output_dir": tmp_path / "run", **QUIET}
    result = train(preset, own_vocabulary=True, **given)
    found = rows_by_word(result.run_directory)
    assert set(FRESH) <= set(found)
    for word in set(found) & set(table):
        assert torch.allclose(found[word], table[word], atol=1e-6), word
    assert not found["<pad>"].any()
    copied = len(set(found) & set(table))
    counts = {"copied": copied, "glove": 2, "random": len(found) - copied - 2}
    assert result.metrics["base_model"]["new_words"] == counts
    assert result.metrics["base_model"]["kept"] == ["encoder", "head"]
    lines = [line.split(" ") for line in glove.read_text().splitlines()]
    vectors = {word: np.array([*map(float, values), 1.0]) for word, *values in lines}
    shared = sorted(set(vectors) & set(table))
    fitted, *_ = np.linalg.lstsq(
        np.stack([vectors[w] for w in shared]), np.stack([table[w].numpy() for w in shared]), rcond=None
    )
    np.testing.assert_allclose(found["dreadful"].numpy(), vectors["dreadful"] @ fitted, atol=1e-5)


def test_new_words_are_appended_with_vectors_of_glove_where_there(base, reviews, tmp_path):
    # "quirk" is the word that GloVe does not know; the others come first, as often as it.
    glove = write_glove(tmp_path / "glove.txt", [*GOOD, *BAD, *NOISE, "excellent", "dreadful"], 5)
    given = {"dataset": reviews, "model_name_or_path": base, "glove": glove, **QUIET}
    preset = replace(ONE_EPOCH, learning_rate=1e-12)
    result = train(preset, extend_vocab=3, output_dir=tmp_path / "run", **given)
    table, found = rows_by_word(base), rows_by_word(result.run_directory)
    assert set(found) - set(table) == set(FRESH)
    ids = PreTrainedTokenizerFast.from_pretrained(result.run_directory).get_vocab()
    assert {word: ids[word] for word in table} == PreTrainedTokenizerFast.from_pretrained(base).get_vocab()
    for word, vector in table.items():
        assert torch.allclose(found[word], vector, atol=1e-6), word
    counts = {"copied": len(table), "glove": 2, "random": 1}
    assert result.metrics["base_model"]["new_words"] == counts
    assert result.metrics["base_model"]["kept"] == ["encoder", "head"]
    assert f"{len(table)} copied, 2 glove, 1 random" in result.summary()
    card = (result.run_directory / "README.md").read_text()
    assert "and the 3 most frequent words of the training reviews that it did not know" in card
    assert Classifier.from_pretrained(result.run_directory)(["word1 excellent"])[0].known == 1
    run = tmp_path / "more"
    said = refused(
        lambda: train(preset, extend_vocab=9_999, output_dir=run, **given), "extend_vocab is 9,999, and .* hold"
    )
    # Every training review has a word of its own.
    assert re.search("allowed: 1 to 1[0-9][0-9]$", said)
    both = {**given, "own_vocabulary": True, "extend_vocab": 2}
    refused(lambda: train(preset, output_dir=run, **both), "extend_vocab is 2, and own_vocabulary is True")


def test_a_frozen_encoder_stays_and_the_head_learns(base, reviews, tmp_path):
    preset = replace(ONE_EPOCH, learning_rate=1e-2)
    run = train(
        preset, dataset=reviews, model_name_or_path=base, freeze_encoder=True, output_dir=tmp_path / "run", **QUIET
    ).run_directory
    there, here = load_file(base / "model.safetensors"), load_file(run / "model.safetensors")
    changed = {name for name in there if not torch.equal(there[name], here[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_another_base_under_the_same_name_is_not_resumed(base, reviews, tmp_path):
    copy = shutil.copytree(base, tmp_path / "base", ignore=shutil.ignore_patterns("checkpoints"))
    options = {"dataset": reviews, "model_name_or_path": copy, "output_dir": tmp_path / "run", **QUIET}
    first = train(ONE_EPOCH, **options)
    assert train(ONE_EPOCH, resume=True, **options).metrics == first.metrics
    (tmp_path / "run" / "metrics.json").unlink()
    weights = load_file(copy / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, copy / "model.safetensors")
    refused(lambda: train(ONE_EPOCH, resume=True, **options), "other data: base_model differ")


def test_a_base_that_may_know_the_held_out_reviews_is_said(base, tmp_path, caplog):
    same = write_csv(tmp_path / "old.csv", make_reviews(300))
    others = write_csv(tmp_path / "others.csv", make_reviews(300, seed=6))

    def known(dataset, base, run, **options):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hf_lstm_sentiment"):
            run = train(
                ONE_EPOCH, dataset=dataset, model_name_or_path=base, output_dir=tmp_path / run, **QUIET, **options
            )
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
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["teachers"] = {"short_texts": {"source": "short.csv"}}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    assert known(same, copy, "f") == (["short.csv"], True)
    (copy / "metrics.json").unlink()
    assert known(same, copy, "g") == (["reviews that it does not name"], True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extend_vocab": 0}, "extend_vocab is 0; allowed: a whole number of at least 1"),
        ({"pretrained": "runs/language_model"}, "pass one of them"),
        ({"model_name_or_path": None, "own_vocabulary": True}, "pass model_name_or_path too"),
        ({"model_name_or_path": None, "freeze_encoder": True}, "the encoder starts at random"),
        ({"model_name_or_path": "/no/such/run"}, "no such file or directory"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(base, reviews, tmp_path, options, message):
    preset = replace(ONE_EPOCH, pretrained="runs/another" if "pretrained" in options else None)
    given = {"model_name_or_path": base, **options}
    refused(lambda: train(preset, dataset=reviews, output_dir=tmp_path / "run", **given), message)
    assert not (tmp_path / "run").exists()


def test_a_base_of_a_newer_release_is_refused(base, reviews, tmp_path):
    copy = shutil.copytree(base, tmp_path / "base", ignore=shutil.ignore_patterns("checkpoints"))
    metrics = json.loads((copy / "metrics.json").read_text())
    (copy / "metrics.json").write_text(json.dumps({**metrics, "versions": {"hf_lstm_sentiment": "99.0"}}))
    given = {"dataset": reviews, "model_name_or_path": copy, "output_dir": tmp_path / "run"}
    refused(
        lambda: train(ONE_EPOCH, **given), "trained with hf_lstm_sentiment 99.0, and this is .*pip install --upgrade"
    )
    assert not (tmp_path / "run").exists()


def test_the_shipped_model_is_a_base(reviews, tmp_path):
    given = {"dataset": reviews, "model_name_or_path": "reviews", "output_dir": tmp_path / "run", **QUIET}
    result = train(replace(ONE_EPOCH, max_length=64), **given)
    assert result.metrics["base_model"]["name"] == "reviews"
    lengths = {Classifier.from_pretrained(name).max_length for name in (result.run_directory, "reviews")}
    assert len(lengths) == 1
