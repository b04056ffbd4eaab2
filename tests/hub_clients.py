"""Clients of the loopback Hub, in processes of their own.

huggingface_hub reads its environment when it is imported, and remote code gives way to a package that is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from hf_lstm_sentiment import __version__, train
from hf_lstm_sentiment.hub.publishable import publishable_files
from tests.model.test_remote_code import TRAVELLING
from tests.reviews import TINY, make_reviews, write_csv

ROOT = Path(__file__).parents[1]
WRITE, READ, WRONG = (f"hf_{letter * 34}" for letter in "wrx")
TAG = f"v{__version__}"
PUBLISHED = [
    "README.md",
    "config.json",
    "metrics.json",
    "model.safetensors",
    "plots/confusion_matrix.png",
    "plots/coverage.png",
    "plots/training_curves.png",
    "tokenizer.json",
    "tokenizer_config.json",
    *TRAVELLING,
]
SHORT = replace(TINY, epochs=2)


def write_reviews(folder):
    return write_csv(folder / "reviews.csv", make_reviews(200))


def train_tiny(folder):
    before, datasets.config.HF_DATASETS_CACHE = datasets.config.HF_DATASETS_CACHE, folder / "cache"
    result = train(SHORT, dataset=write_reviews(folder), output_dir=folder / "run", num_threads=1, disable_tqdm=True)
    datasets.config.HF_DATASETS_CACHE = before
    return result.run_directory


def edit_card(run, old, new):
    card = (run / "README.md").read_text()
    assert old in card
    (run / "README.md").write_text(card.replace(old, new, 1))


def edit_config(run, **changes):
    path = run / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def environment(hub, folder, **more):
    """That of a client which knows the loopback Hub and nothing else."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    paths = {"HF_HOME": str(folder / "home"), "HF_MODULES_CACHE": str(folder / "home" / "modules")}
    # The package is the one of this checkout, whatever is installed.
    return {
        **kept,
        **paths,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "OMP_NUM_THREADS": "1",
        **more,
    }


class PushError(Exception):
    def __init__(self, kinds, message):
        super().__init__(message)
        self.kinds = kinds


class Publisher:
    """The process that publishes, with this package and without an access token of its own."""

    def __init__(self, hub, folder):
        self.log = folder / "publisher.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.publisher"],
                cwd=ROOT,
                env=environment(hub, folder, HF_HUB_VERBOSITY="debug"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def call(self, function, **arguments):
        self.process.stdin.write(json.dumps({"function": function, "arguments": arguments}, default=str) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        answer = json.loads(line)
        if "message" in answer:
            raise PushError(answer["kinds"], answer["message"])
        return answer["result"]

    def push(self, run, repo_id, *, token=WRITE, **arguments):
        return self.call("push", run=run, repo_id=repo_id, token=token, **arguments)

    def train(self, run, reviews, *, hub_token=WRITE, **arguments):
        """Train the tiny model, and push it where the arguments say so."""
        arguments |= {"push_to_hub": True, "hub_token": hub_token}
        return self.call("train", output_dir=run, dataset=reviews, **arguments)


def refusal(kind, call, *positional, **arguments):
    """The message of the error of that kind, with which a publisher's call ends."""
    with pytest.raises(PushError) as refused:
        call(*positional, **arguments)
    assert kind.__name__ in refused.value.kinds, refused.value.kinds
    return str(refused.value)


def contents(run):
    return {name: path.read_bytes() for name, path in publishable_files(run).items()}


def received(hub, repo_id, revision="main"):
    return {
        name: content for name, content in hub.repositories[repo_id].files(revision).items() if name != ".gitattributes"
    }


def run_script(name, *arguments, env):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=env,
        check=False,
    )


def run_stranger(*steps, folder, facts, hub, home, overlay=""):
    """The report of tests/stranger.py."""
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
    return json.loads(done.stdout.splitlines()[-1])
