"""Trainings that are killed, stopped or run out of disk, and what continues them."""

from __future__ import annotations

import re
import signal

import pytest

from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import read_json
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
def few(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", make_reviews(200))


@pytest.fixture(scope="module")
def whole(server, few, tmp_path_factory):
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = server(train={"dataset": few, "output_dir": run})
    assert done["code"] == 0, done["output"]
    return run


@pytest.fixture
def run(server, few, tmp_path):
    """Start or continue a training, which ends with that code; what it printed."""

    def run(code=0, name="run", arguments=(), **job):
        done = server(train={"dataset": few, "output_dir": tmp_path / name, "resume": True, **dict(arguments)}, **job)
        assert done["code"] == code, (job, done["output"])
        return done["output"]

    return run


def assert_same(run, whole):
    assert same_weights(run, whole)
    ours, theirs = (read_json(folder / runs.METRICS) for folder in (run, whole))
    for key in ("validation", "test", "best_epoch", "epochs"):
        assert ours[key] == theirs[key]
    assert ours["history"] == [pytest.approx(row) for row in theirs["history"]]
    ours, theirs = (
        {str(path.relative_to(folder)) for path in folder.rglob("*") if "checkpoints" not in path.parts}
        for folder in (run, whole)
    )
    assert ours == theirs


def test_the_same_seed_gives_the_same_weights_in_another_process_and_pickles_no_arguments(run, whole, tmp_path):
    run(arguments={"dataloader_num_workers": 2})
    assert_same(tmp_path / "run", whole)
    pickles = [path.name for path in whole.rglob("*") if path.suffix in (".pt", ".pth", ".bin")]
    assert sorted(pickles) == sorted(["optimizer.pt", "scheduler.pt", "rng_state.pth"] * 2)


def test_a_killed_training_resumes_to_the_same_weights(run, whole, tmp_path):
    torn = False
    for place, moment in enumerate([*IN_TRAINING, *WHILE_RESULTS_ARE_WRITTEN]):
        if isinstance(moment, float):
            said = run(-signal.SIGPROF, seconds=moment)
        else:
            said = run(-signal.SIGKILL, kill=dict(zip(("target", "call", "when"), moment, strict=True)))
        assert not runs.is_finished(tmp_path / "run")
        assert "is not whole and is passed over" in said or not torn, moment
        # It leaves a checkpoint half written.
        torn = place in range(2, len(IN_TRAINING)) and moment[0] in (SAVE_WEIGHTS, TORCH_SAVE, SAVE_STATE)
    run()
    assert_same(tmp_path / "run", whole)


# In the middle of an epoch, in the last step of one, in an evaluation, after the last step; the number is that of the
# session's calls.
STOPS = [(STEP, 3, "SIGTERM", 3), (STEP, 5, "SIGINT", 8), (EVALUATION_STEP, 1, "SIGTERM", 17), (STEP, 7, "SIGINT", 24)]


def test_a_signal_saves_and_the_run_resumes_to_the_same_weights(run, whole, tmp_path):
    for target, call, name, saved in STOPS:
        said = run(1, signal={"target": target, "calls": [call], "number": getattr(signal, name)})
        assert f"TrainingStopped: stopped by {name}; step {saved} is saved" in said
        assert runs.newest_whole_checkpoint(tmp_path / "run").name == f"checkpoint-{saved}"
    run()
    assert_same(tmp_path / "run", whole)


def test_batches_of_similar_length_resume_in_the_middle_of_an_epoch(run, tmp_path):
    preset = {"group_by_length": True, "epochs": 2}
    said = run(1, preset=preset, signal={"target": STEP, "calls": [11], "number": signal.SIGTERM})
    assert "step 11 is saved" in said
    for name in ("run", "whole"):
        run(name=name, preset=preset)
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_a_second_signal_does_not_wait(run, tmp_path):
    said = run(1, signal={"target": STEP, "calls": [3, 3], "number": signal.SIGINT})
    assert "stopped by SIGINT; what came after the last checkpoint is lost" in said
    assert runs.newest_whole_checkpoint(tmp_path / "run") is None


@pytest.mark.parametrize(("target", "call"), [(STEP, 3), ("datasets.arrow_dataset:Dataset.map", 1)])
def test_the_script_says_how_to_continue(server, few, tmp_path, target, call):
    arguments = ["--preset", "v1", "--dataset", str(few), "--output_dir", str(tmp_path / "a run"), "--resume"]
    arguments += ["--disable_tqdm", "True"]
    stop = {"target": target, "calls": [call], "number": signal.SIGTERM}
    stopped = server(script="scripts/train.py", arguments=arguments, signal=stop)
    assert stopped["code"] == 128 + signal.SIGTERM, stopped["output"]
    assert "Traceback" not in stopped["output"]
    assert stopped["output"].splitlines()[-1] == (
        f"  python scripts/train.py --preset v1 --dataset {few} --output_dir '{tmp_path}/a run' "
        "--disable_tqdm True --resume"
    )


@pytest.mark.parametrize(
    ("target", "call", "written"),
    [(SAVE_WEIGHTS, 2, False), (TORCH_SAVE, 4, False), (SAVE_STATE, 2, False), (SAVE_WEIGHTS, 4, True)],
)
def test_a_full_disk_is_told_and_what_is_whole_stays_so(run, whole, tmp_path, target, call, written):
    said = run(1, full={"target": target, "call": call, "bytes": 512})
    state = "the training itself is done" if written else "the checkpoint before it is whole"
    what = "run" if written else "checkpoint-16"
    assert re.fullmatch(
        rf"OSError: .*{what} could not be written \(.+\); [\d,.]+ MB are free there; {state}\. Make room, then run the "
        "same command with --resume",
        said.strip().splitlines()[-1],
    )
    if not written:
        assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("checkpoint-*")] == ["checkpoint-8"]
    if written or target == SAVE_STATE:
        run()
        assert_same(tmp_path / "run", whole)
