"""A run that version 0.1.0 started: its checkpoint answers as before, and the run is continued or refused."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hf_lstm_sentiment import Classifier, train
from tests.reviews import TINY, make_reviews, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

OLD = Path(__file__).parent / "version_0_1_0"
PRESET = replace(TINY, epochs=3, embedding_dropout=0.2)


@pytest.fixture
def old(tmp_path, monkeypatch):
    """Arguments that continue it, after one of three epochs over reviews that were named by a relative path."""
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "reviews.csv", make_reviews(200))
    shutil.copytree(OLD, tmp_path / "run")
    return {"dataset": "reviews.csv", "output_dir": "run", "resume": True, "disable_tqdm": True}


def test_its_checkpoint_predicts_the_same_digits():
    classifier = Classifier.from_pretrained(OLD / "checkpoints" / "checkpoint-8")
    logits = classifier.logits(["a wonderful film", "word1 boring word2"])
    assert logits == pytest.approx([0.20975607633590698, -0.1867131143808365], abs=1e-6)


def test_it_resumes_to_the_results_of_version_0_1_0(old, caplog):
    metrics = train(PRESET, **old).metrics
    assert "does not record which reviews it was trained on" in caplog.text
    assert [row["validation_accuracy"] for row in metrics["history"]] == [0.78125, 0.84375, 0.8125]
    assert metrics["test"]["accuracy"] == 0.625
    assert metrics["test"]["loss"] == pytest.approx(0.6287982378922138, abs=1e-5)


def test_it_is_refused_where_the_vocabulary_is_another(old, tmp_path):
    write_csv(tmp_path / "reviews.csv", make_reviews(200)[::-1])
    with pytest.raises(ValueError, match=r"run cannot be resumed, it was trained on other data: tokenizer differ"):
        train(PRESET, **old)
