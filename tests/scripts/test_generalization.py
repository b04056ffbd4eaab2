import json
import sys
from collections import Counter

import generalization
import measure as script
import numpy as np
import pytest
from benchmark_peers import linear, naive_bayes_svm, vader_score
from generalization import PAIRS, score_pairs

from hf_lstm_sentiment.model.tokenization import split_words
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv

TEXTS = [text for pairs in PAIRS.values() for pair in pairs for text in pair]


def test_groups_are_of_one_size_and_texts_are_different():
    assert {len(pairs) for pairs in PAIRS.values()} == {8}
    assert len(set(TEXTS)) == len(TEXTS) == 128
    assert all(text == text.strip() and text.isascii() and text[-1] == "." for text in TEXTS)


def test_a_pair_differs_in_few_words():
    for pair in (pair for pairs in PAIRS.values() for pair in pairs):
        first, second = (Counter(words) for words in split_words(pair, scheme="words"))
        shared = (first & second).total()
        assert shared >= 2, pair
        assert max(first.total(), second.total()) - shared <= 5, pair


def test_perfect_reversed_and_constant_scores():
    truth = dict(zip(TEXTS, [1, -1] * 64, strict=True))
    found = score_pairs(lambda texts: [truth[text] for text in texts])
    assert list(found) == [*PAIRS, "all"]
    assert found["all"] == {"accuracy": 1, "ordered": 1, "pairs": 64}
    assert score_pairs(lambda texts: [-truth[text] for text in texts])["all"]["accuracy"] == 0
    constant = score_pairs(lambda texts: np.zeros(len(texts)))
    assert {(group["accuracy"], group["ordered"]) for group in constant.values()} == {(0.5, 0)}


def test_only_the_group_that_is_right_counts():
    wishes = {positive for positive, _ in PAIRS["wish"]}
    negative = {text for pairs in PAIRS.values() for _, text in pairs}
    found = score_pairs(lambda texts: [1 if text in wishes else -1 if text in negative else 0 for text in texts])
    assert found["wish"]["accuracy"] == 1
    assert found["contrast"] == {"accuracy": 0.5, "ordered": 1, "pairs": 8}


def test_vader_knows_good_words_from_bad_ones():
    good, bad, nothing = vader_score()(["A wonderful, funny film.", "A terrible, boring film.", "A film."])
    assert bad < 0 < good
    assert nothing == 0


def test_linear_peers_learn_an_easy_task():
    (texts, labels), (unseen, truth) = (map(list, zip(*make_reviews(n, seed=n), strict=True)) for n in (200, 60))
    texts, labels = list(texts), list(labels)
    assert np.mean((naive_bayes_svm(texts, labels)(unseen) > 0) == np.array(truth)) > 0.9
    for peer in linear(texts, labels, unseen, truth):
        assert peer.accuracy > 0.9
        assert peer.rate > 0


@pytest.mark.usefixtures("one_thread")
def test_measuring_prints_tables_and_writes_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    sentences = [list(column) for column in zip(*make_reviews(30, seed=5), strict=True)]
    monkeypatch.setattr(generalization, "held_out_sentences", lambda: sentences)
    model, file = save_model(tmp_path / "imdb"), tmp_path / "found.json"
    write_csv(tmp_path / "data" / "train.csv", make_reviews(120, seed=1))
    write_csv(tmp_path / "data" / "test.csv", make_reviews(40, seed=2))
    options = ["--dataset", str(tmp_path / "data"), "--against", str(model), "--generalise", "--json", str(file)]
    monkeypatch.setattr(sys, "argv", ["measure.py", str(model), *options])
    script.main()
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert {"accuracy 100.00%", "equal decisions 100.000%", "different 0", "true NEGATIVE 20"} <= set(printed)
    assert any(line.startswith("negation (8)") for line in printed)
    found = json.loads(file.read_text())
    assert found["models"][0]["accuracy"] == 1.0
    assert found["generalisation"]["sentences"] == 30
    by_name = {result["model"]: result for result in found["generalisation"]["models"]}
    assert list(by_name) == [str(model), "VADER", "NBSVM 1-2-grams"]
    assert by_name[str(model)]["accuracy"] == 1.0
    assert by_name["NBSVM 1-2-grams"]["accuracy"] > 0.9
    assert 0.5 < by_name["VADER"]["accuracy"] < 1
    monkeypatch.setattr(sys, "argv", ["measure.py", str(model), "--json", str(tmp_path / "no" / "file.json")])
    with pytest.raises(SystemExit, match="its directory is not there"):
        script.main()
