from __future__ import annotations

import json
import pickle
import re
import shutil

import pytest

from hf_lstm_sentiment.hub.publishable import publishable_files
from tests.hub_clients import PUBLISHED, WRITE
from tests.reviews import refused

pytestmark = pytest.mark.usefixtures("one_thread")


def test_exactly_these_files_are_published(run):
    junk = [
        *("training_args.bin", "optimizer.pt", "pytorch_model.bin", "scheduler.pth", "notes.pkl", "notes.txt"),
        *(".env", ".cache/huggingface/x.json", "report/index.html", "report/errors.png", "runs/events.tfevents"),
        *("scratch.py", "sub/modeling_sentiment_lstm.py", "plots/.hidden.png", "plots/old/a.png", "plots/data.csv"),
    ]
    for name in junk:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("private")
    assert list(publishable_files(run)) == sorted(PUBLISHED)
    shutil.rmtree(run / "plots")
    assert list(publishable_files(str(run))) == sorted(name for name in PUBLISHED if not name.startswith("plots/"))


def config(**changes):
    return lambda text: json.dumps({**json.loads(text), **changes})


def test_what_cannot_be_published_is_refused(run):
    refused(lambda: publishable_files("nowhere"), "nowhere is no directory; pass a run directory")
    for name, change, message in [
        ("metrics.json", None, "no finished run, metrics.json is missing; hf-lstm-sentiment train --resume"),
        ("model.safetensors", None, "lacks model.safetensors; restore"),
        ("README.md", None, "lacks README.md; restore"),
        ("model.safetensors", lambda _: pickle.dumps({"a": 1}), "safetensors is damaged or no safetensors file"),
        ("README.md", lambda _: "---\nlicense: [mit\n---\n", "the metadata of .*README.md cannot be read"),
        ("README.md", lambda _: "---\nmodel-index: nonsense\n---\n", "the metadata of .*README.md cannot be read"),
        ("README.md", lambda _: "# Model\n", "README.md has no metadata"),
        ("config.json", config(model_type="bert"), "of a model of type 'bert' .*allowed: a 'sentiment_lstm'"),
        ("config.json", config(auto_map={}), "with the code {}; allowed"),
        (
            "config.json",
            config(auto_map={"AutoConfig": "a/b--x.C"}),
            "with the code .*a/b--x.C.*as its save_pretrained",
        ),
        *(
            (n, lambda text: text.replace("tiny", WRITE, 1), f"{n} holds .*access token")
            for n in ("metrics.json", "README.md")
        ),
    ]:
        whole = (run / name).read_bytes()
        changed = None if change is None else change(whole.decode(errors="replace"))
        (run / name).unlink()
        if changed is not None:
            (run / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())
        assert WRITE not in refused(lambda: publishable_files(run), message)
        (run / name).write_bytes(whole)
    assert publishable_files(run)


@pytest.mark.parametrize("name", ["model.safetensors", "plots"])
def test_a_link_out_of_the_run_is_refused(run, tmp_path, name):
    (run / name).rename(tmp_path / "outside")
    (run / name).symlink_to(tmp_path / "outside")
    refused(lambda: publishable_files(run), rf"{re.escape(name)}.* is a link that leads out of the run")
    (tmp_path / "outside").rename(run / "inside")
    (run / name).unlink()
    (run / name).symlink_to("inside")
    assert list(publishable_files(run)) == sorted(PUBLISHED)
