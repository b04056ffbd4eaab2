from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hf_lstm_sentiment.evaluation.errors import (
    ScoredReviews,
    accuracy_by_group,
    changed_decisions,
    document_frequency,
    error_words,
    marking_words,
    score_reviews,
)
from hf_lstm_sentiment.evaluation.statistics import proportion_interval


class Words:
    """Knows "good" and "bad"; everything else is unknown."""

    max_length = 3
    unk_token_id = 1
    labels = ("NEGATIVE", "POSITIVE")

    def token_ids(self, texts):
        return [[{"good": 2, "bad": 3}.get(word, 1) for word in text.split()] for text in texts]


TEXTS = ["good film", "bad", "", "good good bad a b", "so bad"]


@pytest.fixture
def scored():
    logits = [0.5, -1.5, -0.5, 0.5, -1.5]
    return score_reviews(Words(), TEXTS, np.array([1, 1, 0, 0, 0]), logits, training_texts=["bad", "other"])


def made_up(logits, labels, texts=None):
    n = len(logits)
    return ScoredReviews(
        texts=texts or [f"review {i}" for i in range(n)],
        labels=np.array(labels),
        logits=np.array(logits, dtype=float),
        tokens=np.full(n, 10),
        unknown=np.zeros(n),
        max_length=256,
        duplicates=np.zeros(n, dtype=bool),
    )


def test_scoring(scored):
    assert scored.correct.tolist() == [True, False, True, False, True]
    assert scored.tokens.tolist() == [2, 1, 0, 5, 2]
    assert scored.truncated.tolist() == [False, False, False, True, False]
    # Of the five words of the fourth review three are read, and all of them are known.
    np.testing.assert_array_equal(scored.unknown, [0.5, 0, np.nan, 0, 0.5])
    assert scored.duplicates.tolist() == [False, True, False, False, False]
    assert scored.kinds == {"false positives": 0, "false negatives": 1}
    assert [scored.errors(label).tolist() for label in (0, 1)] == [[3], [1]]
    assert scored.probabilities[0] == pytest.approx(1 / (1 + math.exp(-0.5)))


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


def test_groups_are_counted_by_hand(scored):
    found = accuracy_by_group(scored)
    assert {name: [(g["name"], g["reviews"], g["correct"]) for g in groups] for name, groups in found.items()} == {
        "words in the review": [("up to 100", 5, 3)],
        "share of unknown words": [("none", 2, 0), ("over 15 %", 2, 2)],
        "truncated or not": [("read to the end", 4, 3), ("cut after 3", 1, 0)],
        "duplicates of training reviews": [("new", 4, 3), ("also in training", 1, 0)],
    }


def test_the_limits_of_groups_belong_to_the_lower_one():
    scored = made_up([1, 1, 1, -1], [1, 1, 1, 1])
    groups = accuracy_by_group(replace(scored, tokens=np.array([100, 101, 600, 601])))["words in the review"]
    assert [(g["name"], g["accuracy"]) for g in groups] == [
        ("up to 100", 1),
        ("101 to 150", 1),
        ("401 to 600", 1),
        ("over 600", 0),
    ]
    assert (groups[0]["low"], groups[0]["high"]) == proportion_interval(1, 1)


def test_words_that_mark_errors_by_hand():
    wrong = document_frequency(["Dull, dull<br />film", "dull"])
    right = document_frequency(["film film", "a film", "film isn't"])
    assert (wrong, right) == ({"dull": 2, "film": 1}, {"film": 3, "a": 1, "isn't": 1})
    # n 3 and 5; alpha_0 3, alpha of dull 2 * 3/8.
    dull = math.log(2.75 / (6 - 2.75)) - math.log(0.75 / (8 - 0.75))
    (found,) = marking_words(wrong, right, min_count=2)
    assert (found["word"], found["in_a"], found["in_b"]) == ("dull", 2, 0)
    assert (found["log_odds"], found["z"]) == pytest.approx((dull, dull / math.sqrt(1 / 2.75 + 1 / 0.75)))
    # The strongest are kept, of those that mark the first group.
    a, b = document_frequency(["x y z"] * 5 + ["x y"] * 3 + ["x"]), document_frequency(["u v w"] * 5)
    assert [word["word"] for word in marking_words(a, b, top=2, min_count=1)] == ["x", "y"]


def test_errors_without_a_word_have_no_words_that_mark_them():
    assert error_words(made_up([1, -1, -1, 1], [0, 0, 1, 1], ["...", "dull", "<br />", "great"])) == {}
