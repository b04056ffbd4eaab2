from __future__ import annotations

import json
import pickle
import shutil

import pytest

from hf_lstm_sentiment.hub.publishable import publishable_files
from tests.hub_clients import PUBLISHED, WRITE

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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("metrics.json", r"no finished run, metrics.json is missing; hf-lstm-sentiment train --resume"),
        ("model.safetensors", r"lacks model.safetensors; restore"),
        ("tokenizer.json", r"lacks tokenizer.json; restore"),
        ("README.md", r"lacks README.md; restore"),
        ("modeling_sentiment_lstm.py", r"modeling_sentiment_lstm.py is missing, which auto_map of config.json needs"),
        ("packed_lstm.py", r"packed_lstm.py is missing, which auto_map of config.json needs"),
    ],
)
def test_what_is_not_whole_is_not_published(run, name, message):
    (run / name).unlink()
    with pytest.raises(ValueError, match=message):
        publishable_files(run)


def test_no_directory():
    with pytest.raises(FileNotFoundError, match="nowhere is no directory; pass a run directory"):
        publishable_files("nowhere")


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "plots", "packed_lstm.py"])
def test_a_link_out_of_the_run_is_refused(run, tmp_path, name):
    (run / name).rename(tmp_path / "outside")
    (run / name).symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match=rf"{name}.* is a link that leads out of the run"):
        publishable_files(run)
    (tmp_path / "outside").rename(run / "inside")
    (run / name).unlink()
    (run / name).symlink_to("inside")
    assert list(publishable_files(run)) == sorted(PUBLISHED)


def test_a_pickle_called_safetensors_is_refused(run):
    (run / "model.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or no safetensors file"):
        publishable_files(run)


UNREADABLE = "the metadata of .*README.md cannot be read"


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("---\nlicense: [mit\n---\n# Model\n", UNREADABLE),
        ("---\nlicense: mit\nmodel-index: nonsense\n---\n", UNREADABLE),
        ("# Model\n", "README.md has no metadata"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(run, card, message):
    (run / "README.md").write_text(card)
    with pytest.raises(ValueError, match=message):
        publishable_files(run)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "bert"}, "is of a model of type 'bert'; only a 'sentiment_lstm' can be pushed"),
        ({"auto_map": {}}, "auto_map of .*config.json names no code; save the model"),
        ({"auto_map": {"AutoConfig": "a/b--configuration_x.C"}}, "code of another repository, a/b--configuration_x.C"),
    ],
)
def test_a_configuration_that_strangers_cannot_load_is_refused(run, changes, message):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ValueError, match=message):
        publishable_files(run)


@pytest.mark.parametrize("name", ["metrics.json", "README.md"])
def test_an_access_token_is_not_published(run, name):
    path = run / name
    path.write_text(path.read_text().replace("tiny", WRITE, 1))
    with pytest.raises(ValueError, match=f"{name} holds something like an access token") as refusal:
        publishable_files(run)
    assert WRITE not in str(refusal.value)
