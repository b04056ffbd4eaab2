"""Training in several processes: the same result as in one, and a clean end when one of them dies."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from hf_lstm_sentiment.training.arguments import check_processes
from hf_lstm_sentiment.training.interrupt import StopAtSignal, TrainingStopped
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import make_reviews, same_weights, write_csv

ROOT = Path(__file__).parents[2]
STEP = "transformers.trainer:Trainer.training_step"
PLAIN = {"embedding_dropout": 0.0, "classifier_dropout": 0.0, "epochs": 2}


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """128 reviews to train on; 33 to validate and 41 to test on, which two processes cannot share evenly."""
    folder = tmp_path_factory.mktemp("data") / "reviews"
    for seed, (name, count) in enumerate({"train": 128, "validation": 33, "test": 41}.items()):
        write_csv(folder / f"{name}.csv", make_reviews(count, seed=seed))
    return folder


@pytest.fixture(scope="module")
def run(server, parts):
    """Start or continue a training in two processes, which end with these codes; what they printed."""

    def run(output_dir, *codes, **job):
        train = {"dataset": parts, "output_dir": output_dir, "per_device_train_batch_size": 8, "resume": True}
        done = server(train=train, preset=PLAIN, processes=2, **job)
        assert done["codes"] == [*(codes or (0, 0))], done["output"]
        return done["output"]

    return run


@pytest.fixture(scope="module")
def two(run, tmp_path_factory):
    """A training in two processes, with what they printed."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, run(folder, watch=str(folder))


@pytest.mark.slow
def test_two_processes_have_the_curve_of_one(server, parts, two, tmp_path):
    train = {"dataset": parts, "output_dir": tmp_path / "run", "per_device_train_batch_size": 16}
    done = server(train=train, preset=PLAIN)
    assert done["code"] == 0, done["output"]
    ours, theirs = (read_json(folder / runs.METRICS) for folder in (two[0], tmp_path / "run"))
    assert (ours["processes"], theirs["processes"]) == (2, 1)
    assert ours["training"]["batch_size"] == theirs["training"]["batch_size"] == 16
    rows = [(ours["history"], theirs["history"])]
    for part in ("validation", "test"):
        rows.append((ours[part].pop("coverage"), theirs[part].pop("coverage")))
        assert ours[part].pop("confusion_matrix") == theirs[part].pop("confusion_matrix")
        assert ours[part] == pytest.approx(theirs[part], abs=1e-5)
    for one, other in rows:
        assert one == [pytest.approx(row, abs=1e-5) for row in other]
    ours, theirs = (load_file(folder / runs.WEIGHTS) for folder in (two[0], tmp_path / "run"))
    for name, tensor in ours.items():
        assert torch.allclose(tensor, theirs[name], atol=1e-4), name


@pytest.mark.slow
def test_every_held_out_review_counts_once_and_one_process_writes(two):
    metrics = read_json(two[0] / runs.METRICS)
    for part, count in (("validation", 33), ("test", 41)):
        assert metrics[part]["reviews"] == sum(metrics[part]["confusion_matrix"].values()) == count
    # In the evaluations during the training too: an accuracy is a whole number of reviews.
    for row in metrics["history"]:
        assert row["validation_accuracy"] * 33 == pytest.approx(round(row["validation_accuracy"] * 33), abs=1e-4)
    assert set(re.findall(r"rank (\d) wrote", two[1])) == {"0"}
    states = {path.name for path in two[0].glob("checkpoints/checkpoint-8/rng*")}
    assert states == {"rng_state_0.pth", "rng_state_1.pth"}


@pytest.mark.slow
def test_when_one_dies_the_other_ends_and_both_can_be_resumed(run, two, tmp_path):
    for dies, call, codes in ((0, 11, (-signal.SIGKILL, 1)), (1, 3, (1, -signal.SIGKILL))):
        run(tmp_path / "run", *codes, **{f"rank {dies}": {"kill": {"target": STEP, "call": call, "when": "before"}}})
    run(tmp_path / "run")
    assert same_weights(tmp_path / "run", two[0])


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_one_step(server, run, parts, tmp_path):
    stop = {"signal": {"target": STEP, "calls": [3], "number": signal.SIGTERM}}
    said = run(tmp_path / "run", 1, 1, **{"rank 1": stop})
    assert said.count("TrainingStopped: stopped by SIGTERM; step 3 is saved") == 2
    assert runs.newest_whole_checkpoint(tmp_path / "run").name == "checkpoint-3"
    # One process would make batches of half the size.
    train = {"dataset": parts, "output_dir": tmp_path / "run", "per_device_train_batch_size": 8, "resume": True}
    alone = server(train=train, preset=PLAIN)
    assert "processes was 2 and is None" in alone["output"]


def test_the_first_signal_to_one_is_no_second_where_another_was_told_before(monkeypatch):
    stop = StopAtSignal()
    stop.on_train_begin()
    arguments = SimpleNamespace(world_size=2, device="cpu", eval_strategy="no")
    control = TrainerControl()
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda tensor, op: tensor.fill_(signal.SIGTERM))
    stop.on_step_end(arguments, TrainerState(global_step=3, max_steps=9, epoch=0.5), control)
    assert control.should_save
    with stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(TrainingStopped, match="what came after the last checkpoint is lost"):
            os.kill(os.getpid(), signal.SIGTERM)


# scripts/train.py, whose first process tells the launcher to stop in the third step and waits until it is told so.
LAUNCHED = f"""
import os, runpy, signal, sys, time
from hf_lstm_sentiment.training.interrupt import StopAtSignal
from tests.fork_server import at_call

def stop(function, args, kwargs):
    (callback,) = (c for c in args[0].callback_handler.callbacks if isinstance(c, StopAtSignal))
    os.kill(os.getppid(), signal.SIGTERM)
    while not callback._told:
        time.sleep(0.02)

if os.environ["RANK"] == "0":
    at_call({STEP!r}, 3, stop)
sys.argv[0] = {str(ROOT / "scripts" / "train.py")!r}
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_signal_to_the_launcher_saves_and_stops(parts, tmp_path):
    run, program = tmp_path / "run", tmp_path / "launched.py"
    program.write_text(LAUNCHED)
    configuration = ROOT / "scripts" / "two_cpu_processes.yaml"
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(configuration), str(program)]
    train = ["--preset", "v1", "--dataset", str(parts), "--output_dir", str(run)]
    environment = {name: value for name, value in os.environ.items() if name not in ("MASTER_ADDR", "WORLD_SIZE")}
    # Half a minute is what it waits before it kills; a busy machine may take longer.
    environment |= {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *train], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert "stopped by SIGTERM; step 3 is saved. Continue with:" in done.stderr
    assert re.search(r"^  torchrun --nproc_per_node 2 .*train\.py --preset v1 .* --resume$", done.stderr, re.MULTILINE)
    assert runs.newest_whole_checkpoint(run).name == "checkpoint-3"


# What accelerate 1.15 gives the one process that it starts for --cpu --num_processes 2.
ALONE = {"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"}


@pytest.mark.parametrize(
    ("environment", "refused"),
    [
        (ALONE, r"asked for several processes and started one.*two_cpu_processes\.yaml"),
        ({"WORLD_SIZE": "2"}, r"one of 2 processes and does not hear of the others"),
        ({**ALONE, "WORLD_SIZE": "1"}, None),
        ({"ACCELERATE_USE_CPU": "True", "ACCELERATE_MIXED_PRECISION": "no"}, None),
        ({"MASTER_ADDR": "127.0.0.1"}, None),
    ],
)
def test_one_process_in_the_place_of_several_is_refused(monkeypatch, tmp_path, environment, refused):
    for name in (*ALONE, "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    arguments = TrainingArguments(output_dir=str(tmp_path))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=refused) if refused else nullcontext():
        check_processes(arguments)
