"""Strangers, who have transformers and torch and not this package, load what was published."""

from __future__ import annotations

import json
import os
import shutil
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from hf_lstm_sentiment import SentimentLSTMForSequenceClassification
from tests.hub_clients import PUBLISHED, SHORT, TAG, connected, push, run_stranger
from tests.hub_server import check_card

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def published(loopback, trained, tmp_path_factory):
    """A folder with a batch, and what there is to know of a repository of two commits with different weights."""
    folder = tmp_path_factory.mktemp("strangers")
    run = Path(shutil.copytree(trained, folder / "run"))
    ids = torch.randint(1, 60, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [0], [1]])).long()
    batch = {"input_ids": ids, "attention_mask": mask}
    save_file(batch, folder / "batch.safetensors")
    with connected(loopback, folder / "huggingface"), torch.no_grad():
        first = push(run, "user/model")
        weights = load_file(run / "model.safetensors")
        weights["classifier.bias"] += 1
        save_file(weights, run / "model.safetensors", metadata={"format": "pt"})
        second = push(run, "user/model", tag="shifted")
        for name, revision in (("first", TAG), ("second", "main")):
            # With the package, and so without remote code.
            model = AutoModelForSequenceClassification.from_pretrained("user/model", revision=revision)
            assert type(model) is SentimentLSTMForSequenceClassification
            save_file({"logits": model(**batch).logits}, folder / f"local-{name}.safetensors")
    facts = {"repo": "user/model", "tag": TAG, "snippet": first.snippet}
    return folder, {**facts, "first": first.commit, "second": second.commit}


@pytest.fixture(scope="module")
def report(loopback, published):
    """What two strangers made of it, one after the other."""
    folder, facts = published
    steps = ["distrust", "revisions", "classify", "publish_again", "evaluate_it", "fine_tune"]
    report = run_stranger(*steps, folder=folder, facts=facts, hub=loopback, home=folder / "one")
    steps = ["load_again", "run_snippets", "read_card"]
    return report | run_stranger(*steps, folder=folder, facts=facts, hub=loopback, home=folder / "two")


def assert_nothing_ran(report):
    assert len(report["refusals"]) == 12
    assert all("trust_remote_code=True" in refusal for refusal in report["refusals"])
    assert report["code before trust"] == report["modules before trust"] == []


def assert_revisions(report, folder, facts):
    got = load_file(folder / f"stranger-{report['transformers']}.safetensors")
    assert torch.equal(got["tag"], got["first"])
    assert torch.equal(got["main"], got["second"])
    assert torch.equal(got["main"], got["code of the first"])
    assert not torch.equal(got["main"], got["tag"])
    of = {name: module.split(".")[-2:] for name, module in report["modules"].items()}
    first, second = facts["first"], facts["second"]
    assert of["tag"] == of["first"] == of["code of the first"] == [first, "modeling_sentiment_lstm"]
    assert of["main"] == of["second"] == [second, "modeling_sentiment_lstm"]
    assert all(module.startswith("transformers_modules.user.model.") for module in report["modules"].values())
    assert set(map(tuple, report["base"].values())) == {("SentimentLSTMModel", "SentimentLSTMConfig", "max")}
    return got


def assert_answers(report):
    expected = [dict(zip(("NEGATIVE", "POSITIVE"), row, strict=True)) for row in report["expected"]]
    best = [max(row, key=row.__getitem__) for row in expected]
    assert set(best) == {"NEGATIVE", "POSITIVE"}
    for got in report["answers"][:2]:
        assert [answer["label"] for answer in got] == best
        assert [answer["score"] for answer in got] == pytest.approx(
            [row[label] for row, label in zip(expected, best, strict=True)], abs=1e-6
        )
    assert report["answers"][2] == report["answers"][0][:1]
    for got in report["all labels"][:2]:
        assert [{a["label"]: a["score"] for a in row} for row in got] == [
            pytest.approx(row, abs=1e-6) for row in expected
        ]


def test_who_does_not_trust_runs_nothing_and_who_does_what_was_asked_for(report, published):
    assert_nothing_ran(report)
    assert_revisions(report, *published)


def test_with_and_without_the_package_the_answers_are_bit_equal(report, published):
    folder, facts = published
    remote = assert_revisions(report, folder, facts)
    for name in ("first", "second"):
        local = load_file(folder / f"local-{name}.safetensors")["logits"]
        assert len(local.unique()) > 2
        assert torch.equal(remote[name], local)
    again = load_file(folder / "again.safetensors")
    assert torch.equal(again["hub"], remote["tag"])
    assert torch.equal(again["directory"], remote["tag"])


def test_the_stock_pipeline_answers(report):
    assert_answers(report)
    assert report["again"] == report["answers"]
    assert report["again module"].startswith("transformers_modules.user.pulled.")


def test_the_tokenizer_needs_no_remote_code(report):
    module, max_length, mask = report["tokenizer"]
    assert module.startswith("transformers.")
    assert max_length == SHORT.max_length
    assert mask == [[1], [0]]


def test_evaluator_and_a_plain_trainer(report):
    predicted = [row.index(max(row)) for row in report["expected"]]
    assert report["evaluated"] == sum(p == label for p, label in zip(predicted, [1, 0, 0, 1], strict=True)) / 4
    loss, steps, unchanged = report["tuned"]
    assert steps == 2
    assert 0 < loss < 5
    assert unchanged == []
    assert report["padding stays zero"]
    assert report["tuned loads"]


def test_the_snippets_of_the_command_and_of_the_card_run(report, published):
    assert report["script printed"] == report["script answers"]
    assert "'label'" in report["script printed"]
    assert f".{published[1]['first']}." in report["script module"]
    assert "'label'" in report["card answers"]
    assert f".{published[1]['second']}." in report["card module"]


def test_the_card_is_read_from_the_hub(report, published, trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    name, results = report["card"]
    assert name == "Sentiment LSTM: tiny"
    assert results == {key: metrics["test"][key] for key in results}
    assert results.keys() >= {"accuracy", "f1", "precision", "recall", "roc_auc", "loss"}
    sha, library, task, siblings = report["info"]
    assert (sha, library, task) == (published[1]["second"], "transformers", "text-classification")
    assert siblings == sorted([".gitattributes", *PUBLISHED])
    assert all(isinstance(example["text"], str) and example["example_title"] for example in report["widget"])


@pytest.mark.skipif("OLDEST_TRANSFORMERS" not in os.environ, reason="names no directory; see .ci/run")
def test_the_oldest_transformers_that_the_metadata_allow(loopback, published, report):
    folder, facts = published
    steps = ["distrust", "revisions", "classify"]
    overlay = os.environ["OLDEST_TRANSFORMERS"]
    oldest = run_stranger(*steps, folder=folder, facts=facts, hub=loopback, home=folder / "oldest", overlay=overlay)
    (requirement,) = (r for r in requires("hf_lstm_sentiment") if r.startswith("transformers"))
    assert oldest["transformers"].startswith(requirement.partition(">=")[2] + ".")
    assert_nothing_ran(oldest)
    assert_answers(oldest)
    assert oldest["tokenizer"][1:] == report["tokenizer"][1:]
    new = assert_revisions(report, folder, facts)
    for name, tensor in assert_revisions(oldest, folder, facts).items():
        assert torch.equal(tensor, new[name]), name


def test_the_loopback_hub_refuses_a_bad_card(trained):
    card = (trained / "README.md").read_text()
    assert check_card(card) == []
    for old, new, error in (
        ("license: mit", "license: nonsense", '"license" must be'),
        ("type: text-classification", "kind: text-classification", '"model-index" must be'),
        ("tags:", "tags: sentiment\nothers:", '"tags" must be'),
        ("  text: ", "  words: ", '"widget" must be'),
        ("license: mit", "license: [", "cannot be parsed"),
        ("---", "", "no metadata"),
    ):
        assert error in " ".join(check_card(card.replace(old, new, 1)))
