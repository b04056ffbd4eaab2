"""Trainings that are killed, stopped or run out of disk, and what continues them."""

from __future__ import annotations

import json
import re
import signal

import pytest

from hf_lstm_sentiment.utils import run_directory as runs
from tests.reviews import make_reviews, same_weights, write_csv

pytestmark = pytest.mark.slow

# 128 reviews to train on, in batches of 16: steps 8, 16 and 24 end an epoch. 32 to validate on, 40 to test on.
STEP = "transformers.trainer:Trainer.training_step"
EVALUATION_STEP = "transformers.trainer:Trainer.prediction_step"
TORCH_SAVE = "torch:save"
SAVE_WEIGHTS = "transformers.modeling_utils:safe_save_file"
SAVE_STATE = "transformers.trainer_callback:TrainerState.save_to_json"
# Where the training is killed: the function, in which call of it in that session, and how; each session continues what
# the one before left. A number: after so many seconds of processor time.
IN_TRAINING = [
    0.25,
    0.5,
    # Before the first checkpoint is whole.
    ("os:replace", 1, "before"),
    ("datasets.arrow_dataset:Dataset.map", 1, "half"),
    (EVALUATION_STEP, 1, "before"),
    (SAVE_WEIGHTS, 1, "half"),
    (TORCH_SAVE, 1, "half"),
    (TORCH_SAVE, 3, "half"),
    (SAVE_STATE, 1, "half"),
    # Later.
    (STEP, 11, "before"),
    (EVALUATION_STEP, 2, "before"),
    (TORCH_SAVE, 2, "half"),
    (SAVE_STATE, 1, "before"),
    ("shutil:rmtree", 1, "half"),
]
WHILE_RESULTS_ARE_WRITTEN = [
    (SAVE_WEIGHTS, 1, "half"),
    ("hf_lstm_sentiment.training.train:plot_training_curves", 1, "half"),
    ("hf_lstm_sentiment.training.train:make_model_card", 1, "before"),
    ("os:replace", 2, "before"),
]


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", make_reviews(200))


@pytest.fixture(scope="module")
def whole(server, reviews, tmp_path_factory):
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = server(train={"dataset": reviews, "output_dir": run})
    assert done["code"] == 0, done["output"]
    return run


def metrics(run):
    return json.loads((run / runs.METRICS).read_text())


def assert_same(run, whole):
    assert same_weights(run, whole)
    for key in ("validation", "test", "best_epoch", "epochs"):
        assert metrics(run)[key] == metrics(whole)[key]
    assert metrics(run)["history"] == [pytest.approx(row) for row in metrics(whole)["history"]]
    published = {str(path.relative_to(run)) for path in run.rglob("*") if "checkpoints" not in path.parts}
    assert published == {str(path.relative_to(whole)) for path in whole.rglob("*") if "checkpoints" not in path.parts}


def test_the_same_seed_gives_the_same_weights_in_another_process(server, reviews, whole, tmp_path):
    done = server(train={"dataset": reviews, "output_dir": tmp_path / "run", "dataloader_num_workers": 2})
    assert done["code"] == 0, done["output"]
    assert_same(tmp_path / "run", whole)


def test_a_killed_training_resumes_to_the_same_weights(server, reviews, whole, tmp_path):
    train = {"dataset": reviews, "output_dir": tmp_path / "run", "resume": True}
    torn = False
    for place, moment in enumerate([*IN_TRAINING, *WHILE_RESULTS_ARE_WRITTEN]):
        if isinstance(moment, float):
            killed = server(train=train, seconds=moment)
        else:
            killed = server(train=train, kill=dict(zip(("target", "call", "when"), moment, strict=True)))
        assert killed["code"] == -signal.SIGKILL, (moment, killed["output"])
        assert not runs.is_finished(tmp_path / "run")
        assert "is not whole and is passed over" in killed["output"] or not torn, moment
        # It leaves a checkpoint half written.
        torn = place in range(2, len(IN_TRAINING)) and moment[0] in (SAVE_WEIGHTS, TORCH_SAVE, SAVE_STATE)
    done = server(train=train)
    assert done["code"] == 0, done["output"]
    assert_same(tmp_path / "run", whole)


def test_a_signal_saves_and_the_run_resumes_to_the_same_weights(server, reviews, whole, tmp_path):
    train = {"dataset": reviews, "output_dir": tmp_path / "run", "resume": True}
    # In the middle of an epoch, in the last step of one, in an evaluation; the number is that of the session's calls.
    stops = [
        (STEP, 3, "SIGTERM", 3),
        (STEP, 5, "SIGINT", 8),
        (EVALUATION_STEP, 1, "SIGTERM", 17),
        (STEP, 7, "SIGINT", 24),
    ]
    for target, call, name, saved in stops:
        stopped = server(train=train, signal={"target": target, "calls": [call], "number": getattr(signal, name)})
        assert stopped["code"] == 1
        assert f"TrainingStopped: stopped by {name}; step {saved} is saved" in stopped["output"]
        assert runs.newest_whole_checkpoint(tmp_path / "run").name == f"checkpoint-{saved}"
    done = server(train=train)
    assert done["code"] == 0, done["output"]
    assert_same(tmp_path / "run", whole)


def test_batches_of_similar_length_resume_in_the_middle_of_an_epoch(server, reviews, tmp_path):
    train, preset = {"dataset": reviews, "resume": True}, {"group_by_length": True, "epochs": 2}
    stop = {"target": STEP, "calls": [11], "number": signal.SIGTERM}
    stopped = server(train={**train, "output_dir": tmp_path / "run"}, preset=preset, signal=stop)
    assert "step 11 is saved" in stopped["output"]
    for name in ("run", "whole"):
        done = server(train={**train, "output_dir": tmp_path / name}, preset=preset)
        assert done["code"] == 0, done["output"]
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_second_signal_does_not_wait(server, reviews, tmp_path):
    twice = {"target": STEP, "calls": [3, 3], "number": signal.SIGINT}
    stopped = server(train={"dataset": reviews, "output_dir": tmp_path / "run"}, signal=twice)
    assert "stopped by SIGINT; what came after the last checkpoint is lost" in stopped["output"]
    assert runs.newest_whole_checkpoint(tmp_path / "run") is None


@pytest.mark.parametrize(("target", "call"), [(STEP, 3), ("datasets.arrow_dataset:Dataset.map", 1)])
def test_the_script_says_how_to_continue(server, reviews, tmp_path, target, call):
    arguments = ["--preset", "v1", "--dataset", str(reviews), "--output_dir", str(tmp_path / "a run"), "--resume"]
    arguments += ["--disable_tqdm", "True"]
    stop = {"target": target, "calls": [call], "number": signal.SIGTERM}
    stopped = server(script="scripts/train.py", arguments=arguments, signal=stop)
    assert stopped["code"] == 128 + signal.SIGTERM, stopped["output"]
    assert "Traceback" not in stopped["output"]
    assert stopped["output"].splitlines()[-1] == (
        f"  python scripts/train.py --preset v1 --dataset {reviews} --output_dir '{tmp_path}/a run' "
        "--disable_tqdm True --resume"
    )


@pytest.mark.parametrize("target", [SAVE_WEIGHTS, TORCH_SAVE, SAVE_STATE])
def test_a_full_disk_is_told_and_the_checkpoint_before_stays_whole(server, reviews, whole, tmp_path, target):
    arguments = {"dataset": reviews, "output_dir": tmp_path / "run"}
    full = server(train=arguments, full={"target": target, "call": 4 if target == TORCH_SAVE else 2, "bytes": 512})
    assert full["code"] == 1
    message = full["output"].strip().splitlines()[-1]
    assert re.fullmatch(
        r"OSError: .*checkpoint-16 could not be written \(.+\); [\d,.]+ MB are free there; the checkpoint before it is "
        r"whole\. Make room, then run the same command with --resume",
        message,
    )
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("checkpoint-*")] == ["checkpoint-8"]
    if target == SAVE_STATE:
        done = server(train={**arguments, "resume": True})
        assert done["code"] == 0, done["output"]
        assert_same(tmp_path / "run", whole)


def test_a_disk_that_fills_up_at_the_very_end_is_told(server, reviews, whole, tmp_path):
    arguments = {"dataset": reviews, "output_dir": tmp_path / "run", "resume": True}
    full = server(train=arguments, full={"target": SAVE_WEIGHTS, "call": 4, "bytes": 512})
    assert "could not be written" in full["output"].strip().splitlines()[-1]
    assert "the training itself is done" in full["output"]
    assert server(train=arguments)["code"] == 0
    assert_same(tmp_path / "run", whole)


def test_no_arguments_are_pickled(whole):
    assert not list(whole.rglob("training_args.bin"))
    assert sorted(path.name for path in whole.glob("checkpoints/*/*.p*t*")) == sorted(
        ["optimizer.pt", "scheduler.pt", "rng_state.pth"] * 2
    )
