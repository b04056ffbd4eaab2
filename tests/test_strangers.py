"""Strangers, who have transformers and torch and not this package, load what was published."""

from __future__ import annotations

import os
import shutil
from importlib.metadata import requires
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from hf_lstm_sentiment import SentimentLSTMForSequenceClassification, predict
from tests.hub_clients import SHORT, TAG, connected, push, run_stranger

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["a wonderful film", "", "boring and dull word1", "word " * 600]


@pytest.fixture(scope="module")
def published(loopback, trained, tmp_path_factory):
    """What there is to know of a repository of two commits with different weights, as arguments of `run_stranger`."""
    folder = tmp_path_factory.mktemp("strangers")
    run = Path(shutil.copytree(trained, folder / "run"))
    ids = torch.randint(1, 60, (4, 9), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(9) < torch.tensor([[9], [4], [0], [1]])).long()
    batch = {"input_ids": ids, "attention_mask": mask}
    save_file(batch, folder / "batch.safetensors")
    scores = [prediction.scores for prediction in predict(TEXTS, model=run, all_scores=True)]
    assert {max(one, key=one.get) for one in scores} == {"NEGATIVE", "POSITIVE"}
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
            logits = model(**batch).logits
            assert len(logits.unique()) > 2
            save_file({"logits": logits}, folder / f"local-{name}.safetensors")
    of_repository = {"repo": "user/model", "tag": TAG, "first": first.commit, "second": second.commit}
    said = {"snippet": first.snippet, "texts": TEXTS, "scores": scores, "max_length": SHORT.max_length}
    return {"hub": loopback, "folder": folder, "facts": {**of_repository, **said}}


def test_a_stranger_uses_it_and_publishes_it_again_and_another_one_takes_that(published):
    steps = ["distrust", "revisions", "classify", "evaluate_it", "fine_tune", "publish_again"]
    run_stranger(*steps, home=published["folder"] / "one", **published)
    run_stranger("load_again", "run_snippets", home=published["folder"] / "two", **published)


@pytest.mark.skipif("OLDEST_TRANSFORMERS" not in os.environ, reason="names no directory; see .ci/run")
def test_the_oldest_transformers_that_the_metadata_allow(published):
    (requirement,) = (r for r in requires("hf_lstm_sentiment") if r.startswith("transformers"))
    facts = {**published["facts"], "transformers": requirement.partition(">=")[2] + "."}
    steps, overlay = ["distrust", "revisions", "classify"], os.environ["OLDEST_TRANSFORMERS"]
    run_stranger(*steps, home=published["folder"] / "oldest", overlay=overlay, **{**published, "facts": facts})
