"""What a training that pushes keeps to itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.hub_clients import ROOT, TAG, WRITE, environment, write_reviews

STOPPED = """
import os, runpy, signal, sys
from transformers import Trainer

step = Trainer.training_step

def stop(self, *args, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
    return step(self, *args, **kwargs)

Trainer.training_step = stop
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_nothing_that_a_run_says_or_writes_holds_the_token(hub, tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    train = [str(ROOT / "scripts" / "train.py"), "--preset", "v1", "--dataset", str(write_reviews(tmp_path))]
    train += ["--output_dir", str(work / "run"), "--num_train_epochs", "1", "--use_cpu", "--push_to_hub"]
    train += ["--hub_model_id", "user/secret", "--log_level", "debug", "--logging_steps", "1"]
    secret = [*train, "--hub_token", WRITE]

    def run(*command, **more):
        environ = environment(hub, work, HF_HUB_VERBOSITY="debug", **more)
        return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=work, check=False)

    killed = run(sys.executable, "-c", STOPPED, *secret)
    assert "Continue with:" in killed.stderr, killed.stderr
    hub.drop_after(0, times=9, path="/commit/")
    refused = run(sys.executable, *secret, "--resume")
    hub.drop_after(0, times=0)
    assert "the run is finished, but not published" in refused.stderr, refused.stderr
    # As it was told to: the token is in the environment.
    (command,) = [line.strip() for line in killed.stderr.splitlines() if line.endswith("--resume")]
    done = run(sys.executable, *command.split()[1:], HF_TOKEN=WRITE)
    assert done.returncode == 0, done.stderr
    assert hub.repositories["user/secret"].tags.keys() == {TAG}
    assert not [text for one in (killed, refused, done) for text in (one.stdout, one.stderr) if WRITE in text]
    assert not [path for path in work.rglob("*") if path.is_file() and WRITE.encode() in path.read_bytes()]
