from collections import Counter

import numpy as np
import pytest

from hf_lstm_sentiment.minimal_pairs import PAIRS, score_pairs
from hf_lstm_sentiment.model.tokenization import split_words

GROUPS = Counter(pair.group for pair in PAIRS)


def test_groups_are_of_one_size_and_texts_are_different():
    assert len(PAIRS) >= 60
    assert len(set(GROUPS.values())) == 1
    texts = [text for pair in PAIRS for text in pair[1:]]
    assert len(set(texts)) == len(texts)
    assert all(text == text.strip() and text.isascii() and text[-1] == "." for text in texts)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.positive)
def test_a_pair_differs_in_few_words(pair):
    first, second = (Counter(words) for words in split_words(pair[1:], scheme="words"))
    shared = (first & second).total()
    assert shared >= 2
    assert max(first.total(), second.total()) - shared <= 5


def test_perfect_and_reversed_scores():
    truth = {text: sign for pair in PAIRS for text, sign in ((pair.positive, 1), (pair.negative, -1))}
    found = score_pairs(lambda texts: [truth[text] for text in texts])
    assert list(found) == [*GROUPS, "all"]
    assert found["all"] == {"accuracy": 1, "ordered": 1, "pairs": len(PAIRS)}
    assert found["negation"] == {"accuracy": 1, "ordered": 1, "pairs": GROUPS["negation"]}
    assert score_pairs(lambda texts: [-truth[text] for text in texts])["all"]["accuracy"] == 0


def test_a_constant_is_right_half_of_the_time_and_orders_nothing():
    for constant in (-1.0, 0.0, 1.0):
        found = score_pairs(lambda texts, constant=constant: np.full(len(texts), constant))
        assert {(group["accuracy"], group["ordered"]) for group in found.values()} == {(0.5, 0)}


def test_only_the_group_that_is_right_counts():
    pairs = {text: pair for pair in PAIRS for text in pair[1:]}

    def score(texts):
        return [
            1
            if text == pairs[text].positive and pairs[text].group == "wish"
            else -1
            if text == pairs[text].negative
            else 0
            for text in texts
        ]

    found = score_pairs(score)
    assert found["wish"]["accuracy"] == 1
    assert found["contrast"] == {"accuracy": 0.5, "ordered": 1, "pairs": GROUPS["contrast"]}
