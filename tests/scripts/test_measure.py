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
from tests.reviews import make_rated, make_reviews, write_csv

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
    columns = {
        name: dict(zip(("text", "label"), map(list, zip(*rows, strict=True)), strict=True))
        for name, rows in parts.items()
    }
    DatasetDict({name: Dataset.from_dict(part) for name, part in columns.items()}).save_to_disk(tmp_path / "data")
    for dataset, reviews in (({}, 39), ({"unlabeled": 21}, 38)):
        (run / "metrics.json").write_text(json.dumps({"dataset": dataset}))
        (found,) = measure([run], dataset=tmp_path / "data")["models"]
        assert (found["reviews"], found["without_overlap"]) == (40, {"reviews": reviews, "accuracy": 1.0})


def test_the_overlap_is_with_the_training_reviews_of_the_model(model, tmp_path):
    train = make_reviews(60, seed=60)
    for name, part in {"train": train, "test": [*make_reviews(40, seed=2), *train]}.items():
        write_csv(tmp_path / "data" / f"{name}.csv", part)
    splits = {"half": {"validation_fraction": 0.5}, "tenth": {"validation_fraction": 0.1, "split_seed": 3}}
    half, tenth = (record(model, tmp_path / name, tmp_path / "data", **split) for name, split in splits.items())
    (found,) = measure([half], dataset=tmp_path / "data")["models"]
    assert found["without_overlap"]["reviews"] == 40 + 30
    first, second = measure([tenth, half], dataset=tmp_path / "data")["models"]
    # Reviews are split once; what the second one was trained on stays open.
    assert first["without_overlap"]["reviews"] == 40 + 6
    assert "without_overlap" not in second


@pytest.mark.parametrize(
    "sampling",
    [
        {"validation_fraction": 0.25, "split_seed": 7},
        # The share that presets have; sizes of samples do not tell it.
        {"validation_fraction": 0.2, "split_seed": 7, "max_validation_samples": 10, "label_column": "label"},
    ],
)
def test_validation_reviews_are_those_of_the_run(model, data, tmp_path, monkeypatch, sampling):
    logits, read = Classifier.logits, []
    monkeypatch.setattr(Classifier, "logits", lambda self, texts: (read.append(texts), logits(self, texts))[1])
    run = record(model, tmp_path / "run", data, **sampling)
    found = measure([run], dataset=data, split="validation", against=run)
    expected = load_reviews(data, **sampling)
    assert read[-1] == expected.validation["text"][:]
    assert found["split"] == "validation"
    assert found["dataset"] == expected.summary()
    assert found["models"][0]["reviews"] == len(expected.validation)
    assert found["models"][0]["against"]["equal_decisions"] == 1


def test_models_with_other_validation_reviews_are_not_measured_together(model, data, tmp_path):
    first = record(model, tmp_path / "first", data, split_seed=1)
    second = record(model, tmp_path / "second", data, split_seed=2)
    with pytest.raises(ValueError, match=r"second was validated on other reviews .*split_seed was 1 and is 2"):
        measure([first, second], dataset=data, split="validation")


def test_reviews_that_are_not_those_of_the_run_are_refused(model, data, tmp_path):
    run = record(model, tmp_path / "run", data)
    for name, count, seed in (("train", 120, 1), ("test", 40, 3)):
        write_csv(tmp_path / "as many" / f"{name}.csv", make_reviews(count, seed=seed))
    with pytest.raises(ValueError, match=r"does not hold the reviews of .*test was 'sha256:\w+' and is 'sha256:"):
        measure([run], dataset=tmp_path / "as many", split="validation")
    (run / "metrics.json").write_text('{"dataset": {}}')
    with pytest.raises(ValueError, match="does not say how its reviews were split"):
        measure([run], dataset=data, split="validation")


def test_wrong_splits_are_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="split is 'train'; allowed: test, validation"):
        measure(["nothing"], split="train")
    with pytest.raises(ValueError, match="leave one of them out"):
        measure(["nothing"], split="validation", max_test_samples=5)


def test_agreement_counts_decisions_not_logits():
    found = agreement(np.array([1.0, 2.0, -1.0, 0.0]), np.array([0.5, -2.0, -1.0, 1.0]))
    assert found == {"equal_decisions": 0.5, "different": 2, "largest_difference": 4.0}


def test_the_shipped_model_is_measured_by_default(model, data, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", model.parent)
    assert measure(dataset=data)["models"][0]["model"] == str(model)


def test_what_is_wrong_with_the_models_is_told_before_the_data_are_read(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or directory"):
        measure([tmp_path / "nothing"], dataset=tmp_path / "nothing either")
    with pytest.raises(ValueError, match="named twice"):
        measure([model, model], dataset=tmp_path / "nothing either")


def test_a_model_of_three_labels_is_measured_on_reviews_of_its_labels_only(tmp_path):
    model = save_model(tmp_path / "three", ["negative", "neutral", "positive"])
    (found,) = measure([model], dataset=write_csv(tmp_path / "a.csv", make_rated(120)))["models"]
    assert np.shape(found["confusion_matrix"]) == (3, 3)
    others = write_csv(tmp_path / "others.csv", [(t, y.upper()) for t, y in make_rated(60)])
    with pytest.raises(ValueError, match=r"has the labels .*measure it on reviews of its own labels"):
        measure([model], dataset=others)
