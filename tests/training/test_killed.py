"""Trainings that are killed, stopped or run out of disk, and what continues them."""

from __future__ import annotations

import csv
import json
import re
import shutil
import signal

import pytest
from safetensors.torch import load_file
from torch import equal

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, train_tokenizer
from hf_lstm_sentiment.utils import run_directory as runs
from tests.reviews import make_reviews, write_csv

pytestmark = pytest.mark.slow

# 128 reviews to train on, in batches of 16: steps 8, 16 and 24 end an epoch. 32 to validate on, 40 to test on.
STEP = "transformers.trainer:Trainer.training_step"
EVALUATION_STEP = "transformers.trainer:Trainer.prediction_step"
TORCH_SAVE = "torch:save"
SAVE_WEIGHTS = "transformers.modeling_utils:safe_save_file"
SAVE_STATE = "transformers.trainer_callback:TrainerState.save_to_json"
# Where the training is killed: the function, in which call of it in that session, and how; in one chain each session
# continues what the one before left. A number: after so many seconds of processor time.
CHAINS = {
    "before the first checkpoint is whole": [
        ("os:replace", 1, "before"),
        ("datasets.arrow_dataset:Dataset.map", 1, "half"),
        (STEP, 3, "before"),
        (EVALUATION_STEP, 1, "before"),
        (SAVE_WEIGHTS, 1, "half"),
        (TORCH_SAVE, 1, "half"),
        (TORCH_SAVE, 3, "half"),
        (SAVE_STATE, 1, "half"),
    ],
    "later": [
        (STEP, 11, "before"),
        (EVALUATION_STEP, 2, "before"),
        (TORCH_SAVE, 2, "half"),
        (SAVE_STATE, 1, "before"),
        (SAVE_STATE, 1, "half"),
        (STEP, 8, "before"),
        ("shutil:rmtree", 1, "half"),
    ],
    "while the results are written": [
        (SAVE_WEIGHTS, 4, "half"),
        ("hf_lstm_sentiment.training.train:plot_training_curves", 1, "half"),
        ("hf_lstm_sentiment.training.train:write_model_card", 1, "before"),
        ("os:replace", 2, "before"),
    ],
    "at random": [0.25, 0.45, 0.35, 0.6, 0.5],
}

# What leaves a checkpoint half written.
TORN = [moment for chain in ("before the first checkpoint is whole", "later") for moment in CHAINS[chain]]
TORN = [moment for moment in TORN if moment[0] in (SAVE_WEIGHTS, TORCH_SAVE, SAVE_STATE)]


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
    ours, theirs = (load_file(path / "model.safetensors") for path in (run, whole))
    assert ours.keys() == theirs.keys()
    assert all(equal(ours[name], theirs[name]) for name in theirs)
    for key in ("validation", "test", "best_epoch", "epochs"):
        assert metrics(run)[key] == metrics(whole)[key]
    assert metrics(run)["history"] == [pytest.approx(row) for row in metrics(whole)["history"]]
    published = {str(path.relative_to(run)) for path in run.rglob("*") if "checkpoints" not in path.parts}
    assert published == {str(path.relative_to(whole)) for path in whole.rglob("*") if "checkpoints" not in path.parts}


def test_the_same_seed_gives_the_same_weights_in_another_process(server, reviews, whole, tmp_path):
    done = server(train={"dataset": reviews, "output_dir": tmp_path / "run", "dataloader_num_workers": 2})
    assert done["code"] == 0, done["output"]
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("chain", CHAINS)
def test_a_killed_training_resumes_to_the_same_weights(server, reviews, whole, tmp_path, chain):
    train = {"dataset": reviews, "output_dir": tmp_path / "run", "resume": True}
    torn = False
    for moment in CHAINS[chain]:
        if isinstance(moment, float):
            killed = server(train=train, seconds=moment)
        else:
            killed = server(train=train, kill=dict(zip(("target", "call", "when"), moment, strict=True)))
        assert killed["code"] == -signal.SIGKILL, (moment, killed["output"])
        assert not runs.is_finished(tmp_path / "run")
        assert "is not whole and is passed over" in killed["output"] or not torn, moment
        torn = moment in TORN
    done = server(train=train)
    assert done["code"] == 0, done["output"]
    assert "is not whole and is passed over" in done["output"] or not torn
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


def test_a_checkpoint_whose_best_one_is_damaged_is_passed_over(whole, tmp_path, caplog):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    newest = runs.newest_whole_checkpoint(run)
    best = runs.checkpoint_at(run, 16) if newest.name != "checkpoint-16" else runs.checkpoint_at(run, 8)
    state = json.loads((newest / runs.STATE).read_text())
    (newest / runs.STATE).write_text(json.dumps({**state, "best_global_step": int(best.name.split("-")[1])}))
    (best / runs.WEIGHTS).write_bytes(b"torn")
    assert runs.newest_whole_checkpoint(run) is None
    assert f"{newest.name} is not whole and is passed over" in caplog.text


def test_no_arguments_are_pickled(whole):
    assert not list(whole.rglob("training_args.bin"))
    assert sorted(path.name for path in whole.glob("checkpoints/*/*.p*t*")) == sorted(
        ["optimizer.pt", "scheduler.pt", "rng_state.pth"] * 2
    )


# The function, in which call of it in that session, and how; forty parts of fifty rows.
LOGITS, REPLACE, FSYNC = "hf_lstm_sentiment.inference.classifier:Classifier.logits", "os:replace", "os:fsync"
SCORING_KILLS = [
    *[(LOGITS, call, "before") for call in (1, 3, 2, 5)],
    *[(REPLACE, call, "before") for call in (1, 2, 4, 3)],
    *[(FSYNC, call, "before") for call in (1, 2, 3)],
    *[(LOGITS, 2, "before"), (FSYNC, 4, "before"), (LOGITS, 4, "before"), (REPLACE, 5, "before")],
]


def test_a_file_is_scored_once_whatever_is_killed(server, tmp_path):
    rows = make_reviews(2_000)
    source = write_csv(tmp_path / "in.csv", [(text, i) for i, (text, _) in enumerate(rows)], header=("text", "number"))
    tokenizer = train_tokenizer([text for text, _ in rows[:200]], vocab_size=80)
    config = SentimentLSTMConfig(vocab_size=len(tokenizer), embedding_size=4, hidden_size=4)
    SentimentLSTMForSequenceClassification(config).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    work = {"source": source, "model": tmp_path / "model", "rows_per_part": 50}
    assert server(predict={**work, "output": tmp_path / "whole.csv"})["code"] == 0
    killed = 0
    for target, call, when in SCORING_KILLS:
        kill = {"target": target, "call": call, "when": when}
        done = server(predict={**work, "output": tmp_path / "out.csv"}, kill=kill)
        assert done["code"] == -signal.SIGKILL, done["output"]
        assert not (tmp_path / "out.csv").exists()
        killed += 1
    # What is left to do from here on is to join the parts, and to take the parts away.
    last = len(list((tmp_path / "out.csv.parts").glob("part-*.csv")))
    for target, call in (
        (REPLACE, 40 - last + 2),
        (REPLACE, 3),
        ("hf_lstm_sentiment.inference.files:_refuse_to_overwrite", 2),
        ("pathlib:Path.unlink", 3),
        ("shutil:rmtree", 1),
    ):
        done = server(
            predict={**work, "output": tmp_path / "out.csv"}, kill={"target": target, "call": call, "when": "before"}
        )
        assert done["code"] == -signal.SIGKILL, (target, call, done["output"])
        killed += 1
    done = server(predict={**work, "output": tmp_path / "out.csv"})
    assert done["code"] == 0, done["output"]
    assert killed == 20
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [row["number"] for row in csv.DictReader((tmp_path / "out.csv").open())] == [str(i) for i in range(2_000)]
    assert not (tmp_path / "out.csv.parts").exists()
