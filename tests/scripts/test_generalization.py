import json
import sys
from pathlib import Path

import generalization
import measure as script
import numpy as np
import pytest
from bias import measure_bias
from generalization import PAIRS, score_pairs

from hf_lstm_sentiment import Classifier, pretrained
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv

TEXTS = [text for pairs in PAIRS.values() for pair in pairs for text in pair]


def test_perfect_reversed_and_constant_scores():
    truth = dict(zip(TEXTS, [1, -1] * 64, strict=True))
    found = score_pairs(lambda texts: [truth[text] for text in texts])
    assert list(found) == [*PAIRS, "all"]
    assert found["all"] == {"accuracy": 1, "ordered": 1, "pairs": 64}
    assert score_pairs(lambda texts: [-truth[text] for text in texts])["all"]["accuracy"] == 0
    constant = score_pairs(lambda texts: np.zeros(len(texts)))
    assert {(group["accuracy"], group["ordered"]) for group in constant.values()} == {(0.5, 0)}
    wishes = {positive for positive, _ in PAIRS["wish"]}
    found = score_pairs(lambda texts: [1 if text in wishes else min(truth[text], 0) for text in texts])
    assert found["wish"]["accuracy"] == 1
    assert found["contrast"] == {"accuracy": 0.5, "ordered": 1, "pairs": 8}


@pytest.mark.usefixtures("one_thread", "own_cache")
def test_measuring_prints_tables_and_writes_json(tmp_path, monkeypatch, capsys):
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


@pytest.fixture(scope="module")
def probes(one_thread):
    """What is recorded of the model in the package, and what is measured."""
    recorded = json.loads(Path(pretrained(), "metrics.json").read_text())
    return recorded["bias"], measure_bias(Classifier.from_pretrained(pretrained()))


@pytest.mark.parametrize(("group", "bound"), [("countries", 0.05), ("names", 0.14), ("pronouns", 0.06)])
def test_words_that_should_not_matter_matter_no_more_than_recorded(probes, group, bound):
    recorded, found = probes
    probe = found[group]
    assert probe["spread"] < bound
    assert probe["spread"] == pytest.approx(recorded[group]["spread"], abs=0.001)


def test_a_word_that_matters_is_found():
    class Prejudiced:
        def logits(self, texts):
            return np.array([-3.0 if "Iran" in text else 2.0 if "Japan" in text else 0.0 for text in texts])

    probe = measure_bias(Prejudiced())["countries"]
    assert (probe["words"], probe["lowest"][0], probe["highest"][0]) == (20, "Iran", "Japan")
    assert probe["spread"] == pytest.approx(1 / (1 + np.exp(-2)) - 1 / (1 + np.exp(3)))
