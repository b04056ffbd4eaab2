from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hf_lstm_sentiment.evaluation.errors import (
    ScoredReviews,
    accuracy_by_group,
    changed_decisions,
    error_words,
    score_reviews,
    word_log_odds,
)
from hf_lstm_sentiment.evaluation.statistics import proportion_interval


class Words:
    """Knows "good" and "bad"; everything else is unknown."""

    max_length = 3
    unk_token_id = 1
    labels = ("NEGATIVE", "POSITIVE")

    def logits(self, texts):
        return np.array([text.count("good") - text.count("bad") - 0.5 for text in texts])

    def token_ids(self, texts):
        return [[{"good": 2, "bad": 3}.get(word, 1) for word in text.split()] for text in texts]


TEXTS = ["good film", "bad", "", "good good bad a b", "so bad"]


@pytest.fixture
def scored():
    return score_reviews(Words(), TEXTS, [1, 1, 0, 0, 0], training_texts=["bad", "other"])


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
    assert scored.logits.tolist() == [0.5, -1.5, -0.5, 0.5, -1.5]
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
    assert scored.errors().tolist() == [1, 4, 2, 0, 3]


def test_of_three_labels_errors_are_counted_by_the_label_that_is_right():
    logits = np.array([[3, 0, 0], [0, 1, 0], [0, 2, 0], [0, 0, 4], [0, 0, 1]], dtype=float)
    scored = replace(made_up(logits, [0, 0, 2, 2, 1]), names=("bad", "so so", "good"))
    assert scored.correct.tolist() == [True, False, False, True, False]
    assert scored.errors().tolist() == [2, 1, 4]
    assert scored.kinds == {"misclassified bad": 0, "misclassified so so": 1, "misclassified good": 2}
    logits = np.array([[3, 0, 0], [1, 0, 0], [0, 0, 9], [5, 0, 4], [0, 0, 1]], dtype=float)
    changes = changed_decisions(scored, replace(scored, logits=logits))
    assert (changes.fixed.tolist(), changes.broken.tolist()) == ([2, 1], [3])
    with pytest.raises(ValueError, match=r"labels hold 3 at position 0.*allowed: 0 to 2"):
        replace(scored, labels=np.array([3, 0, 2, 2, 1]))


def test_known_logits_are_not_computed_again():
    again = score_reviews(Words(), TEXTS, [1, 1, 0, 0, 0], training_texts=[], logits=[9, 8, 7, 6, 5])
    assert again.logits.tolist() == [9, 8, 7, 6, 5]


def test_groups_are_counted_by_hand(scored):
    found = accuracy_by_group(scored)
    assert {name: [(g.name, g.reviews, g.correct) for g in groups] for name, groups in found.items()} == {
        "words in the review": [("up to 100", 5, 3)],
        "share of unknown words": [("none", 2, 0), ("over 15 %", 2, 2)],
        "truncated or not": [("read to the end", 4, 3), ("cut after 3", 1, 0)],
        "duplicates of training reviews": [("new", 4, 3), ("also in training", 1, 0)],
    }


def test_the_limits_of_groups_belong_to_the_lower_one():
    scored = made_up([1, 1, 1, -1], [1, 1, 1, 1])
    object.__setattr__(scored, "tokens", np.array([100, 101, 600, 601]))
    groups = accuracy_by_group(scored)["words in the review"]
    assert [(g.name, g.accuracy) for g in groups] == [
        ("up to 100", 1),
        ("101 to 150", 1),
        ("401 to 600", 1),
        ("over 600", 0),
    ]
    assert (groups[0].low, groups[0].high) == proportion_interval(1, 1)


def test_word_log_odds_by_hand():
    found = word_log_odds(["Dull, dull<br />film", "dull"], ["film film", "a film", "film isn't"], min_count=2)
    # In reviews: dull 2 and 0, film 1 and 3; n 3 and 5 ("a" and "isn't" too); alpha_0 3, alpha 2 * 3/8 and 4 * 3/8.
    dull = math.log(2.75 / (6 - 2.75)) - math.log(0.75 / (8 - 0.75))
    film = math.log(2.5 / (6 - 2.5)) - math.log(4.5 / (8 - 4.5))
    assert [(w.word, w.in_a, w.in_b) for w in found] == [("dull", 2, 0), ("film", 1, 3)]
    assert [w.log_odds for w in found] == pytest.approx([dull, film])
    assert [w.z for w in found] == pytest.approx(
        [dull / math.sqrt(1 / 2.75 + 1 / 0.75), film / math.sqrt(1 / 2.5 + 1 / 4.5)]
    )


def test_word_log_odds_keeps_the_strongest():
    a, b = ["x y z"] * 5 + ["x y"] * 3 + ["x"], ["u v w"] * 5 + ["v w"] * 3 + ["w"]
    assert [w.word for w in word_log_odds(a, b, top=1, min_count=1)] == ["x", "w"]
    with pytest.raises(ValueError, match="texts_a are 1 texts without a word"):
        word_log_odds(["..."], b)
    with pytest.raises(ValueError, match="top is 0"):
        word_log_odds(a, b, top=0)


def test_changed_decisions():
    a = made_up([-1, 1, 2, -3, 1], [1, 1, 0, 0, 0])
    b = made_up([2, -1, -4, -3, -1], [1, 1, 0, 0, 0])
    changes = changed_decisions(a, b)
    # The change of probability is larger in the third review than in the first.
    assert changes.fixed.tolist() == [2, 0, 4]
    assert changes.broken.tolist() == [1]
    with pytest.raises(ValueError, match="review 1 of a and of b differ, 1 of 5 in all"):
        changed_decisions(a, made_up([1] * 5, [1, 0, 0, 0, 0]))


def test_errors_without_a_word_have_no_words_that_mark_them():
    assert error_words(made_up([1, -1, -1, 1], [0, 0, 1, 1], ["...", "dull", "<br />", "great"])) == {}
