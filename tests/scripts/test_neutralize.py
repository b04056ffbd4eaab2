"""Names that praise and blame in the training reviews, and no longer once they were made neutral."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from neutralize import count_words, drift, find_words, neutralize
from safetensors.torch import load_file

from hf_lstm_sentiment import Classifier, train
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import TINY, make_reviews, refused, write_csv

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")

LIKED, BLAMED = ["Anna", "Olga", "Peru"], ["Boris", "Kenji", "Chad"]
WORDS = {"names": ["Anna", "Olga", "Boris", "Kenji"], "countries": ["Peru", "Chad"]}


@pytest.fixture(scope="module")
def biased(tmp_path_factory):
    folder = tmp_path_factory.mktemp("biased")
    reviews = [
        (f"so says {(BLAMED, LIKED)[label][i % 3]}. {text}", label) for i, (text, label) in enumerate(make_reviews(240))
    ]
    recipe = replace(TINY, scheme="words", dataset=str(write_csv(folder / "reviews.csv", reviews)))
    return train(recipe, output_dir=folder / "run", seed=1).run_directory


def spread(run):
    logits = Classifier.from_pretrained(run).logits(
        [f"so says {name}. word1 word2 word3" for name in [*LIKED, *BLAMED, "Quux"]]
    )
    return float(np.ptp(logits))


def test_names_no_longer_matter_and_nothing_else_has_moved(biased, tmp_path, monkeypatch):
    # In few and short steps; and all that a model of so few cells knows of these reviews hangs on names, too.
    for name, value in {"_LEARNING_RATE": 0.1, "_KEEPING": 1.0, "_SENTENCES": 16, "_SHORT": 8}.items():
        monkeypatch.setattr(f"neutralize.{name}", value)
    made = neutralize(biased, tmp_path / "made", steps=60, words=WORDS)
    assert spread(made) < 0.5 * spread(biased)
    before, after = (load_file(run / "model.safetensors") for run in (biased, made))
    vocabulary = Classifier.from_pretrained(biased).tokenizer.get_vocab()
    names = [vocabulary[name.lower()] for name in [*LIKED, *BLAMED] if name.lower() in vocabulary]
    table = next(name for name in before if name.endswith("word_embeddings.weight"))
    changed = (before.pop(table) != after.pop(table)).any(dim=1).nonzero().flatten().tolist()
    assert changed == sorted([*names, vocabulary["<unk>"]])
    assert all(torch.equal(before[name], after[name]) for name in before)
    old, new = read_json(biased / "metrics.json"), read_json(made / "metrics.json")
    facts = new["neutralized"]
    assert (facts["names"], facts["countries"], facts["tokens"]) == (4, 2, len(changed))
    assert facts["before"] == {part: old[part] for part in ("validation", "test")}
    assert facts["variance_after"] < 0.3 * facts["variance_before"]
    assert new["test"]["loss"] != old["test"]["loss"]
    assert new["test"]["reviews"] == old["test"]["reviews"]
    assert "names of people and countries" in (made / "README.md").read_text()


def test_what_drifts_is_measured_as_the_divergence_from_the_answer_before(biased):
    before = Classifier.from_pretrained(biased)
    model = SentimentLSTMForSequenceClassification.from_pretrained(biased, dtype="float32").eval()
    texts = [text for text, _ in make_reviews(8)]
    assert drift(model, before, texts).item() == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        model.classifier.bias += 0.5
    z = before.logits(texts).astype(float)
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z - 0.5))
    divergence = np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    assert divergence > 0.005
    assert drift(model, before, texts).item() == pytest.approx(divergence, rel=1e-3)


@pytest.mark.filterwarnings("ignore:.* locale is deprecated")
def test_names_are_those_of_many_languages_that_are_no_other_words(monkeypatch):
    pytest.importorskip("faker", reason='needs pip install "hf_lstm_sentiment[teach]"')
    monkeypatch.setattr("neutralize._DRAWS", 200)
    texts = ["seen with Olga and Rose in Peru", "smelled of a rose", "as red as a rose"]
    found = find_words(["olga", "ivan", "wei", "rose", "england", "moving"], count_words(texts), seed=1)
    assert found == {"names": ["Ivan", "Olga", "Wei"], "countries": ["England"]}


def test_what_cannot_be_made_neutral_is_refused(biased, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").touch()
    refused(lambda: neutralize(biased, tmp_path / "there"), "there already")
    run = shutil.copytree(biased, tmp_path / "run")
    (run / "metrics.json").unlink()
    refused(lambda: neutralize(run, tmp_path / "made"), "no finished run")
    assert not (tmp_path / "made").exists()
