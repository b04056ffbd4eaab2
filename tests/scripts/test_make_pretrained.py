import json
import shutil
import subprocess
import sys
from pathlib import Path

import make_pretrained
import numpy as np
import pytest
import torch
from bias import measure_bias
from make_pretrained import make_release
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, pipeline

from hf_lstm_sentiment import Classifier, SentimentLSTMForSequenceClassification, load_reviews, predict, pretrained
from hf_lstm_sentiment.hub.push import publishable_files
from hf_lstm_sentiment.model import pretrained_models as shipped
from tests.hub_clients import PUBLISHED, push, received
from tests.reviews import make_reviews, refused, write_csv

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "hf_lstm_sentiment"
TEXTS = [text for text, _ in make_reviews(80, seed=3)]


@pytest.fixture(scope="module")
def released(trained, own_cache, tmp_path_factory):
    return make_release(trained, output_dir=tmp_path_factory.mktemp("released"))


@pytest.fixture
def made(released, tmp_path):
    """A copy of a release, to be changed."""
    return shutil.copytree(released, tmp_path / "pretrained" / "reviews")


def change(run, **tensors):
    weights = load_file(run / "model.safetensors")
    save_file({**weights, **tensors}, run / "model.safetensors", metadata={"format": "pt"})


def test_a_release_is_what_a_push_would_publish(run, made, hub):
    files = sorted(path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file())
    assert files == [name for name in publishable_files(run) if not name.endswith(".py")]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (made, *made.iterdir())), "only its owner reads it"
    # A push adds the code of the package.
    push(made, "user/shipped")
    assert set(received(hub, "user/shipped")) == set(PUBLISHED)


def test_weights_are_halved_and_what_that_changes_is_measured_and_told(run, made):
    assert {tensor.dtype for tensor in load_file(made / "model.safetensors").values()} == {torch.float16}
    classify = pipeline("text-classification", model=str(made))
    assert {parameter.dtype for parameter in classify.model.parameters()} == {torch.float32}
    ours = predict(TEXTS, model=made)
    assert [answer["label"] for answer in classify(TEXTS, truncation=True)] == [one.label for one in ours]
    reviews = load_reviews(json.loads((run / "checkpoints" / "recipe.json").read_text())["dataset"])
    texts, labels = reviews.test["text"][:], np.array(reviews.test["label"][:])
    before, after = (Classifier.from_pretrained(path).logits(texts) for path in (run, made))
    metrics = json.loads((made / "metrics.json").read_text())
    assert metrics.pop("float16") == {
        "reviews": len(texts),
        "accuracy": ((after > 0) == (labels == 1)).mean(),
        "equal_decisions": 1.0,
        "different": 0,
        "largest_difference": pytest.approx(float(np.abs(before - after).max()), abs=1e-5),
    }
    assert metrics.pop("bias") == measure_bias(Classifier.from_pretrained(made))
    assert metrics == json.loads((run / "metrics.json").read_text())
    card = " ".join((made / "README.md").read_text().split())
    assert f"Rounded and not, 100.000% of {len(texts)} test reviews get the same label" in card


def test_no_code_ships_and_none_is_missed():
    assert not list((PACKAGE / "pretrained").rglob("*.py"))
    # auto_map names what a push adds; the classes that are registered win, also over the code of a repository.
    for trusted in (None, False, True):
        model = AutoModelForSequenceClassification.from_pretrained(pretrained(), trust_remote_code=trusted)
        assert type(model) is SentimentLSTMForSequenceClassification
        classify = pipeline("text-classification", model=pretrained(), trust_remote_code=trusted)
        assert classify("A wonderful film.", truncation=True)[0]["label"] == "POSITIVE"


def test_a_release_replaces_an_older_one_but_nothing_else(run, made):
    (made / "left over").touch()
    assert make_release(run, output_dir=made.parent) == made
    assert not (made / "left over").exists()
    (made / "metrics.json").unlink()
    with pytest.raises(FileExistsError, match="is no checkpoint"):
        make_release(run, output_dir=made.parent)
    with pytest.raises(FileExistsError, match="the run itself"):
        make_release(run, name="run", output_dir=run.parent)


def test_what_cannot_ship_is_refused_and_leaves_nothing(run, tmp_path, monkeypatch):
    def refuse(message, **options):
        refused(lambda: make_release(run, output_dir=tmp_path / "pretrained", **options), message)
        assert not (tmp_path / "pretrained").exists() or not any((tmp_path / "pretrained").iterdir())

    weights = load_file(run / "model.safetensors")
    refuse("lower-case letters", name="../reviews")
    with monkeypatch.context() as patch:
        patch.setattr(make_pretrained, "MAX_BYTES", 1_000)
        refuse("at most 1,000")
    for value, said in ((70_000.0, "7e\\+04|70000"), (float("inf"), "not finite")):
        change(run, **{"classifier.bias": torch.tensor([value])})
        refuse(said)
    # Below the smallest number of float16: every review is POSITIVE before, and none after.
    change(run, **{"classifier.weight": 0 * weights["classifier.weight"], "classifier.bias": torch.tensor([1e-9])})
    refuse(r"float16 changes 40 of 40 decisions of .*; allowed: 0\.05% of them")
    write_csv(tmp_path / "other.csv", make_reviews(100))
    refuse("does not hold the reviews of", dataset=tmp_path / "other.csv")


def test_the_shipped_model_is_the_default(made, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", made.parent)
    assert pretrained() == pretrained("reviews") == str(made)
    assert predict(TEXTS) == Classifier.from_pretrained()(TEXTS) == predict(TEXTS, model=made)
    with pytest.raises(ValueError, match="'other' is not in the package; it holds reviews"):
        pretrained("other")
    # One that is being written is not offered; without any, one must be named.
    made.rename(made.with_name(".reviews.x"))
    assert shipped.held() == []
    for call in (pretrained, lambda: predict(["good"]), Classifier.from_pretrained):
        with pytest.raises(ValueError, match="holds none; name another model: a run directory"):
            call()


@pytest.mark.slow
def test_the_function_is_found_after_every_import(tmp_path):
    # Where the folder is there, Python would take it for a package.
    (tmp_path / "pretrained").mkdir()
    lines = (
        "import contextlib, hf_lstm_sentiment",
        f"hf_lstm_sentiment.__path__.append({str(tmp_path)!r})",
        "import hf_lstm_sentiment.model.pretrained_models",
        "with contextlib.suppress(ImportError): import hf_lstm_sentiment.pretrained",
        "assert callable(hf_lstm_sentiment.pretrained)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, cwd=ROOT)
