"""Clients of the loopback Hub: this process, which publishes, and strangers, which cannot import the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from huggingface_hub import constants

from hf_lstm_sentiment import __version__, train
from hf_lstm_sentiment.hub.push import publishable_files, push_run
from tests.model.test_remote_code import TRAVELLING
from tests.reviews import TINY, make_reviews, write_csv

ROOT = Path(__file__).parents[1]
WRITE, READ, WRONG = (f"hf_{letter * 34}" for letter in "wrx")
TAG = f"v{__version__}"
PUBLISHED = [
    *("README.md", "config.json", "metrics.json", "model.safetensors", "plots/confusion_matrix.png"),
    *("plots/coverage.png", "plots/training_curves.png", "tokenizer.json", "tokenizer_config.json", *TRAVELLING),
]
SHORT = replace(TINY, epochs=2)


def write_reviews(folder):
    return write_csv(folder / "reviews.csv", make_reviews(200))


def train_tiny(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        options = {"output_dir": folder / "run", "num_threads": 1, "disable_tqdm": True}
        return train(SHORT, dataset=write_reviews(folder), **options).run_directory


@contextmanager
def connected(hub, folder):
    """For a while, this process knows the loopback Hub alone, and no access token."""
    settings = {
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "ENDPOINT": hub.endpoint,
        # It was made of the endpoint at the import.
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_TOKEN_PATH": str(folder / "token"),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setattr(constants, name, value)
        patch.delenv("HF_TOKEN", raising=False)
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(time, "sleep", lambda seconds: None)  # between the client's own retries
        yield hub


def push(run, repo_id, *, token=WRITE, **arguments):
    return push_run(run, repo_id, token=token, **arguments)


def refusal(kind, call, *positional, **arguments):
    """The message of the error of that kind with which a call ends."""
    with pytest.raises(kind) as refused:
        call(*positional, **arguments)
    return str(refused.value)


def environment(hub, folder, **more):
    """That of a process which knows the loopback Hub and nothing else, and the package of this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    paths = {"HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "home" / "modules")}
    ours = {"PYTHONPATH": str(ROOT), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "OMP_NUM_THREADS": "1"}
    return {**kept, **paths, **ours, **more}


def contents(run):
    return {name: path.read_bytes() for name, path in publishable_files(run).items()}


def received(hub, repo_id, revision="main"):
    files = hub.repositories[repo_id].files(revision)
    return {name: content for name, content in files.items() if name != ".gitattributes"}


def run_stranger(*steps, folder, facts, hub, home, overlay=""):
    """Run steps of tests/stranger.py, which must find everything as it should be."""
    done = subprocess.run(
        [sys.executable, "-I", str(ROOT / "tests" / "stranger.py"), str(folder), json.dumps(facts), overlay, *steps],
        cwd=folder,
        env=environment(hub, home, HF_TOKEN=WRITE),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
