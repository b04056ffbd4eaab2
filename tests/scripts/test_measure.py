import json
import shutil

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from measure import agreement, measure

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.data.reviews import load_reviews
from hf_lstm_sentiment.evaluation.metrics import evaluate_logits
from hf_lstm_sentiment.model import pretrained_models as shipped
from tests.demo_model import save_model
from tests.reviews import make_rated, make_reviews, refused, write_csv

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / shipped.DEFAULT)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with splits."""
    folder = tmp_path_factory.mktemp("data")
    write_csv(folder / "train.csv", make_reviews(120, seed=1))
    write_csv(folder / "test.csv", make_reviews(40, seed=2))
    return folder


def test_a_model_is_measured_on_the_test_split(model, data):
    found = measure([model], dataset=data)
    (result,) = found["models"]
    texts, labels = zip(*make_reviews(40, seed=2), strict=True)
    classifier = Classifier.from_pretrained(model)
    expected = evaluate_logits(classifier.logits(texts), labels)
    assert result["loss"] == pytest.approx(expected["loss"])
    assert result["accuracy"] == 1.0
    assert result["model"] == str(model)
    assert result["weights_bytes"] == (model / "model.safetensors").stat().st_size
    assert result["parameters"] == classifier.config.vocab_size * 2 + 4 * 2 * (2 + 2 + 2) + 3
    assert result["reviews_per_second"] > 0
    assert found["dataset"]["test"] == 40
    json.dumps(found, allow_nan=False)


def record(model, path, data, **sampling):
    """A copy of a model with what a training on the data would say of them."""
    summary = load_reviews(data, **sampling).summary()
    options = {name: value for name, value in sampling.items() if name != "validation_fraction"}
    shutil.copytree(model, path)
    (path / "metrics.json").write_text(json.dumps({"preset": "v1", "dataset": summary, "options": options}))
    return path


def test_accuracy_is_told_without_what_was_trained_on(model, tmp_path):
    train, test, unlabeled = (make_reviews(n, seed=n) for n in (60, 40, 20))
    run = shutil.copytree(model, tmp_path / "run")
    parts = {"train": [*train, test[0]], "test": test, "unsupervised": [(t, -1) for t, _ in [*unlabeled, test[1]]]}
    made = {name: Dataset.from_list([{"text": t, "label": y} for t, y in rows]) for name, rows in parts.items()}
    DatasetDict(made).save_to_disk(tmp_path / "data")
    for dataset, reviews in (({}, 39), ({"unlabeled": 21}, 38)):
        (run / "metrics.json").write_text(json.dumps({"dataset": dataset}))
        (found,) = measure([run], dataset=tmp_path / "data")["models"]
        assert (found["reviews"], found["without_overlap"]) == (40, {"reviews": reviews, "accuracy": 1.0})


def test_the_overlap_is_with_the_training_reviews_of_the_model(model, tmp_path):
    train = make_reviews(60, seed=60)
    for name, part in {"train": train, "test": [*make_reviews(40, seed=2), *train]}.items():
        write_csv(tmp_path / "data" / f"{name}.csv", part)
    half = record(model, tmp_path / "half", tmp_path / "data", validation_fraction=0.5)
    tenth = record(model, tmp_path / "tenth", tmp_path / "data", validation_fraction=0.1, split_seed=3)
    first, second = measure([tenth, half], dataset=tmp_path / "data")["models"]
    # Reviews are split once; what the second one was trained on stays open.
    assert first["without_overlap"]["reviews"] == 40 + 6
    assert "without_overlap" not in second


def test_validation_reviews_are_those_of_the_run(model, data, tmp_path, monkeypatch):
    logits, read = Classifier.logits, []
    monkeypatch.setattr(Classifier, "logits", lambda self, texts: (read.append(texts), logits(self, texts))[1])
    # The share that presets have, too; sizes of samples do not tell it.
    for place, more in enumerate(
        ({"validation_fraction": 0.25}, {"max_validation_samples": 10, "label_column": "label"})
    ):
        sampling = {"validation_fraction": 0.2, "split_seed": 7, **more}
        run = record(model, tmp_path / str(place), data, **sampling)
        found, expected = measure([run], dataset=data, split="validation", against=run), load_reviews(data, **sampling)
        assert read[-1] == expected.validation["text"][:]
        assert (found["split"], found["dataset"]) == ("validation", expected.summary())
        assert found["models"][0]["reviews"] == len(expected.validation)
        assert found["models"][0]["against"]["equal_decisions"] == 1


def test_what_cannot_be_measured_is_refused(model, data, tmp_path):
    first, second = (record(model, tmp_path / name, data, split_seed=i) for i, name in enumerate(("first", "second")))
    unknown = shutil.copytree(model, tmp_path / "unknown")
    (unknown / "metrics.json").write_text('{"dataset": {}}')
    for name, count, seed in (("train", 120, 1), ("test", 40, 3)):
        write_csv(tmp_path / "as many" / f"{name}.csv", make_reviews(count, seed=seed))
    others = write_csv(tmp_path / "others.csv", [(t, y.upper()) for t, y in make_rated(60)])
    three = save_model(tmp_path / "three", ["negative", "neutral", "positive"])
    for models, arguments, message in (
        ([first, second], {}, "second was validated on other reviews .*split_seed was 0 and is 1"),
        (
            [first],
            {"dataset": tmp_path / "as many"},
            "does not hold the reviews of .*test was 'sha256:\\w+' and is 'sha256:",
        ),
        ([unknown], {}, "does not say how its reviews were split"),
        (["nothing"], {"split": "train"}, "split is 'train'; allowed: test, validation"),
        (["nothing"], {"max_test_samples": 5}, "leave one of them out"),
        # Before any review is read.
        ([tmp_path / "nothing"], {"dataset": tmp_path / "nothing either"}, "no such file or directory"),
        ([model, model], {"dataset": tmp_path / "nothing either"}, "named twice"),
        ([three], {"dataset": others, "split": "test"}, "has the labels .*measure it on reviews of its own labels"),
    ):
        refused(lambda m=models, a=arguments: measure(m, **{"dataset": data, "split": "validation", **a}), message)


def test_agreement_counts_decisions_not_logits():
    found = agreement(np.array([1.0, 2.0, -1.0, 0.0]), np.array([0.5, -2.0, -1.0, 1.0]))
    assert found == {"equal_decisions": 0.5, "different": 2, "largest_difference": 4.0}


def test_the_shipped_model_and_one_of_three_labels(model, data, tmp_path, monkeypatch):
    three = save_model(tmp_path / "three", ["negative", "neutral", "positive"])
    (found,) = measure([three], dataset=write_csv(tmp_path / "a.csv", make_rated(120)))["models"]
    assert np.shape(found["confusion_matrix"]) == (3, 3)
    monkeypatch.setattr(shipped, "FOLDER", model.parent)
    assert measure(dataset=data)["models"][0]["model"] == str(model)
