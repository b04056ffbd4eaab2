from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from hf_lstm_sentiment.evaluation import errors
from hf_lstm_sentiment.evaluation.errors import (
    ScoredReviews,
    accuracy_by_group,
    changed_decisions,
    error_words,
    marking_words,
    score_run,
)
from hf_lstm_sentiment.evaluation.statistics import proportion_interval


class Words:
    """Knows "good" and "bad"; everything else is unknown."""

    max_length = 3
    unk_token_id = 1
    labels = ("NEGATIVE", "POSITIVE")

    def token_ids(self, texts):
        return [[{"good": 2, "bad": 3}.get(word, 1) for word in text.split()] for text in texts]

    def logits_of_ids(self, ids):
        return np.array([0.5, -1.5, -0.5, 0.5, -1.5], dtype=np.float32)


@pytest.fixture
def scored(monkeypatch):
    monkeypatch.setattr(errors.Classifier, "from_pretrained", lambda run: Words())
    texts = ["good film", "bad", "", "good good bad a b", "so bad"]
    test = {"text": texts, "label": [1, 1, 0, 0, 0], "row": [5, 6, 7, 8, 9]}
    reviews = SimpleNamespace(test=test, overlap={"test": np.array([6])})
    with pytest.raises(
        ValueError, match=r"run gets 60\.0000% .* says 5\.0000%; the reviews or the weights were changed"
    ):
        score_run(Path("run"), {"test": {"accuracy": 0.05}}, reviews)
    return score_run(Path("run"), {"test": {"accuracy": 0.6}}, reviews)


def made_up(logits, labels, texts=None):
    n = len(logits)
    texts = texts or [f"review {i}" for i in range(n)]
    facts = {"tokens": np.full(n, 10), "unknown": np.zeros(n), "max_length": 256, "duplicates": np.zeros(n, dtype=bool)}
    return ScoredReviews(texts, np.array(labels), np.array(logits, dtype=float), **facts)


def test_scoring(scored):
    assert scored.correct.tolist() == [True, False, True, False, True]
    assert scored.tokens.tolist() == [2, 1, 0, 5, 2]
    # Of the five words of the fourth review three are read, and all of them are known.
    np.testing.assert_array_equal(scored.unknown, [0.5, 0, np.nan, 0, 0.5])
    assert scored.kinds == {"false positives": 0, "false negatives": 1}
    assert [scored.errors(label).tolist() for label in (0, 1)] == [[3], [1]]
    assert scored.probabilities[0] == pytest.approx(1 / (1 + math.exp(-0.5)))
    found = accuracy_by_group(scored)
    assert {name: [(g["name"], g["reviews"], g["correct"]) for g in groups] for name, groups in found.items()} == {
        "all": [("test reviews", 5, 3)],
        "words in the review": [("up to 100", 5, 3)],
        "share of unknown words": [("none", 2, 0), ("over 15 %", 2, 2)],
        "truncated or not": [("read to the end", 4, 3), ("cut after 3", 1, 0)],
        "duplicates of training reviews": [("new", 4, 3), ("also in training", 1, 0)],
        "label": [("NEGATIVE", 3, 2), ("POSITIVE", 2, 1)],
    }


def test_the_surest_errors_come_first_even_where_probabilities_are_equal():
    scored = made_up([50, 900, 60, -50, -900], [0, 0, 0, 1, 1])
    assert scored.errors(0).tolist() == [1, 2, 0]
    assert scored.errors(1).tolist() == [4, 3]
    fixed, broken = changed_decisions(scored, made_up([-2, -1, -9, -1, 3], [0, 0, 0, 1, 1]))
    assert (sorted(fixed), broken.tolist()) == ([0, 1, 2, 4], [])


def test_of_three_labels_errors_are_counted_by_the_label_that_is_right():
    logits = np.array([[3, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 4], [0, 0, 1]], dtype=float)
    scored = replace(made_up(logits, [0, 0, 2, 2, 1]), names=("bad", "so so", "good"))
    assert scored.correct.tolist() == [True, False, False, True, False]
    assert [scored.errors(label).tolist() for label in (0, 1, 2)] == [[1], [4], [2]]
    assert scored.kinds == {"misclassified bad": 0, "misclassified so so": 1, "misclassified good": 2}
    logits = np.array([[3, 0, 0], [1, 0, 0], [0, 0, 9], [5, 0, 4], [0, 0, 1]], dtype=float)
    # The change of probability is larger in the third review than in the second.
    fixed, broken = changed_decisions(scored, replace(scored, logits=logits))
    assert (fixed.tolist(), broken.tolist()) == ([2, 1], [3])


def test_the_limits_of_groups_belong_to_the_lower_one():
    scored = made_up([1, 1, 1, -1], [1, 1, 1, 1])
    groups = accuracy_by_group(replace(scored, tokens=np.array([100, 101, 600, 601])))["words in the review"]
    names = [("up to 100", 1), ("101 to 150", 1), ("401 to 600", 1), ("over 600", 0)]
    assert [(g["name"], g["accuracy"]) for g in groups] == names
    assert (groups[0]["low"], groups[0]["high"]) == proportion_interval(1, 1)


def test_words_that_mark_errors_by_hand(monkeypatch):
    # "film" and "a" are in too few reviews to be listed, and count.
    wrong, right = np.array([20, 10, 0]), np.array([0, 5, 9])
    (found,) = marking_words(["dull", "film", "a"], wrong, right)
    # n 30 and 14; alpha_0 14, alpha of dull 20 * 14/44.
    alpha = 20 * 14 / 44
    dull = math.log((20 + alpha) / (44 - 20 - alpha)) - math.log(alpha / (28 - alpha))
    assert (found["word"], found["in_a"], found["in_b"]) == ("dull", 20, 0)
    z = dull / math.sqrt(1 / (20 + alpha) + 1 / alpha)
    assert (found["log_odds"], found["z"]) == pytest.approx((dull, z))
    # The strongest are kept, of those that mark the first group.
    monkeypatch.setattr(errors, "_MARKING", 2)
    found = marking_words(list("uvxyz"), np.array([0, 0, 90, 80, 50]), np.array([50, 50, 0, 0, 0]))
    assert [row["word"] for row in found] == ["x", "y"]


def test_words_of_errors_are_read_as_the_model_reads_the_review():
    texts = ["Dull, dull<br />film isn't", "x " * 255 + "y late", "great film"]
    scored = made_up([1] * 40 + [-1] * 20, [0] * 60, [texts[0]] * 20 + [texts[1]] * 20 + [texts[2]] * 20)
    (words,) = error_words(scored).values()
    assert {row["word"]: (row["in_a"], row["in_b"]) for row in words} == dict.fromkeys(
        ("dull", "isn't", "x", "y"), (20, 0)
    )
    assert error_words(made_up([1, -1, -1, 1], [0, 0, 1, 1], ["...", "dull", "<br />", "great"])) == {}
