"""Nothing is let in: no pickle is read, no socket opened, no code of a checkpoint run, no markup passed on."""

from __future__ import annotations

import ast
import json
import pickle
import pickletools
import re
import zipfile
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import hf_lstm_sentiment
from tests.reviews import BAD, GOOD, NOISE, make_reviews, write_csv, write_glove

PACKAGE = Path(hf_lstm_sentiment.__file__).parent
SOURCES = [*PACKAGE.rglob("*.py"), *(PACKAGE.parent / "scripts").glob("*.py")]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_csv(folder / "reviews.csv", make_reviews(120))
    write_glove(folder / "glove.txt", [*GOOD, *BAD, *NOISE], 8)
    return folder


def forbid():
    """For the server: unpickling by Python, connecting a socket or looking a name up ends a job."""
    import socket

    def forbidden(*args, **kwargs):
        raise AssertionError("something was unpickled, or a socket was used")

    pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = forbidden
    for name in ("connect", "connect_ex", "sendto", "bind"):
        setattr(socket.socket, name, forbidden)
    socket.getaddrinfo = socket.gethostbyname = socket.create_connection = forbidden


@pytest.mark.slow
def test_training_resuming_and_predicting_do_without_pickles_and_sockets(server, data, tmp_path):
    patched = {"first": forbid}
    run = tmp_path / "run"
    train = {"dataset": data / "reviews.csv", "glove": data / "glove.txt", "output_dir": run, "resume": True}
    preset = {"epochs": 2, "glove": "the caller's"}
    # The training in the second epoch, its continuation, and a file scored by what it left.
    stop = {"target": "transformers.trainer:Trainer.training_step", "calls": [8], "number": 15}
    stopped = server(train=train, preset=preset, signal=stop, **patched)
    assert "step 8 is saved" in stopped["output"]
    done = server(train=train, preset=preset, **patched)
    assert done["code"] == 0, done["output"]
    arguments = [str(data / "reviews.csv"), str(tmp_path / "scored.csv"), "--model", str(run)]
    scored = server(script="scripts/predict.py", arguments=arguments, **patched)
    assert scored["code"] == 0, scored["output"]
    assert len((tmp_path / "scored.csv").read_text().splitlines()) == 121
    # The guard works: the same job, in which something does what is forbidden.
    (tmp_path / "a.pt").write_bytes(pickle.dumps([1]))
    unpickled = server(script="tests/unpickle.py", arguments=[str(tmp_path / "a.pt")], **patched)
    assert "something was unpickled" in unpickled["output"]
    # What torch saves in checkpoints is a zip with a pickle in it, read with weights_only: tensors and arrays alone.
    files, named = sorted(run.rglob("*.pt*")), set()
    assert {path.name for path in files} == {"optimizer.pt", "rng_state.pth", "scheduler.pt"}
    for path in files:
        with zipfile.ZipFile(path) as archive:
            (member,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
            for opcode, argument, _ in pickletools.genops(archive.read(member)):
                if opcode.name == "GLOBAL":
                    named.add(argument.split(" ")[0].split(".")[0])
                assert opcode.name not in ("STACK_GLOBAL", "INST", "EXT1")
    assert named <= {"torch", "collections", "numpy", "_codecs"}
    assert not [path for path in run.iterdir() if path.suffix in (".pt", ".pth", ".bin", ".pkl")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_our_code_trusts_no_remote_code_and_evaluates_no_text(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            assert name not in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"), ast.unparse(node)
            assert not re.match(r"(pickle|dill|joblib|marshal|shelve)\.|torch\.load$", name), ast.unparse(node)
            # An archive is read in place, never unpacked into a folder.
            assert not name.endswith((".extractall", ".extract", "unpack_archive")), ast.unparse(node)
            for keyword in node.keywords:
                # Who runs a repository's handler runs its code already; here it is only copied.
                if path.name == "handler.py" and keyword.arg == "trust_remote_code":
                    continue
                if keyword.arg in ("trust_remote_code", "allow_pickle", "shell"):
                    assert isinstance(keyword.value, ast.Constant), ast.unparse(node)
                    assert keyword.value.value is False, ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "dill", "joblib", "marshal", "shelve"} & {name.split(".")[0] for name in names}


HOSTILE = "<script>alert(1)</script>|`x`\n\n# Trust me\n---\nlicense: evil\n![x](http://127.0.0.1/x.png)"


@pytest.mark.slow
def test_a_hostile_file_name_puts_nothing_into_the_card(server, tmp_path):
    path = tmp_path / "<img src=x onerror=alert(1)>|`[a](javascript:x).csv"
    write_csv(path, [(f"{text} {HOSTILE}", label) for text, label in make_reviews(120)])
    train = {"dataset": path, "output_dir": tmp_path / "run"}
    done = server(train=train, preset={"epochs": 1, "description": "A model of a test."})
    assert done["code"] == 0, done["output"]
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.eval_results[0].dataset_name == path.name
    assert path.name.replace("<", "") not in card.text.replace("<", "")
    assert not re.search(r"<img|<script|\[a\]", card.text)
    assert "&lt;img src=x onerror=alert(1)&gt;&#124;'&#91;a](javascript:x).csv" in card.text
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["dataset"]["source"] == path.name
