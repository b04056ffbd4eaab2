from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from hf_lstm_sentiment import Classifier, SentimentLSTMForSequenceClassification, load_reviews, train
from hf_lstm_sentiment.evaluation.metrics import evaluate_logits
from hf_lstm_sentiment.model.packed_lstm import autocast_computes_lstm
from hf_lstm_sentiment.training import train as training
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import only_writer, read_json
from hf_lstm_sentiment.utils.threads import use_cpu_threads
from tests.hub_clients import PUBLISHED
from tests.reviews import BAD, GOOD, NOISE, TINY, make_reviews, same_weights, word_vectors, write_csv, write_glove

ROOT = Path(__file__).parents[2]
ONE = replace(TINY, epochs=1)


@pytest.fixture(scope="module")
def glove(tmp_path_factory):
    return write_glove(tmp_path_factory.mktemp("glove") / "glove.txt", [*GOOD, *BAD, *NOISE[:20], "other"], 8)


@pytest.fixture(scope="module")
def again(reviews, glove):
    """What `result` was trained by."""
    return functools.partial(train, replace(TINY, glove=str(glove)), dataset=reviews, disable_tqdm=True)


@pytest.fixture(scope="module")
def result(again, tmp_path_factory):
    return again(output_dir=tmp_path_factory.mktemp("runs") / "run")


def test_the_run_directory_is_a_hub_repository_whose_metrics_are_those_of_the_best_epoch(result):
    run = result.run_directory
    found = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert {name for name in found if not name.startswith("checkpoints/")} == set(PUBLISHED)
    assert read_json(run / "tokenizer.json")["truncation"] is None
    metrics = read_json(run / "metrics.json")
    assert metrics == result.metrics
    assert {"preset", "seed", "dataset", "best_epoch", "epochs", "train_seconds", "versions", "device"} < set(metrics)
    figures = {"accuracy", "precision", "recall", "f1", "roc_auc", "loss", "expected_calibration_error", "reviews"}
    assert set(metrics["validation"]) == set(metrics["test"]) == {*figures, "confusion_matrix", "coverage"}
    assert metrics["dataset"]["test"] == metrics["test"]["reviews"] == sum(metrics["test"]["confusion_matrix"].values())
    assert set(metrics["dataset"]["digests"]) == {"train", "validation", "test"}
    assert set(metrics["digests"]) == {"tokenizer", "glove"}
    # 5 + 5 + 20 of the made-up vectors stand for tokens of the reviews.
    assert metrics["glove"] == {"source": "glove.txt", "matched": 30, "vocabulary": 62, "coverage": 30 / 62}
    assert metrics["parameters"] == 62 * 8 + 4 * 16 * (8 + 16) + 2 * 4 * 16 + 17
    assert metrics["train_tokens_per_second"] > 0
    assert len(metrics["history"]) == metrics["epochs"]
    keys = {"epoch", "train_loss", "validation_loss", "validation_accuracy"}
    assert all(set(row) == keys for row in metrics["history"])
    accuracies = [row["validation_accuracy"] for row in metrics["history"]]
    assert metrics["validation"]["accuracy"] == max(accuracies) > 0.9
    assert metrics["best_epoch"] == accuracies.index(max(accuracies)) + 1


def test_the_summary_says_what_matters_and_the_card_spells_a_recipe_of_ones_own_out(result):
    summary, card = result.summary(), (result.run_directory / "README.md").read_text()
    assert f"test accuracy        {result.metrics['test']['accuracy']:.2%}" in summary
    assert "no test split" in summary
    assert "30 of 62 tokens" in summary
    assert [label for _, label, _ in result.examples][:2] == ["POSITIVE", "NEGATIVE"]
    assert result.metrics["recipe"]["hidden_size"] == 16
    assert ", hidden_size 16, " in card
    assert "--preset" not in card


def test_the_same_seed_gives_the_same_weights_and_another_does_not(fit, reviews, tmp_path):
    preset = replace(ONE, embedding_dropout=0.2, classifier_dropout=0.2)
    # The last two learn nothing: what they end with is what they began with.
    for name, seed, rate in (("a", 1, 2e-2), ("b", 1, 2e-2), ("c", 1, 1e-12), ("d", 2, 1e-12)):
        fit(replace(preset, learning_rate=rate), dataset=reviews, output_dir=tmp_path / name, seed=seed)
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")
    assert not torch.allclose(*(word_vectors(tmp_path / name)["great"] for name in "cd"), atol=1e-3)


def test_the_test_reviews_are_read_once_at_the_end(fit, reviews, monkeypatch):
    sizes, loop, exact = [], Trainer.evaluation_loop, training._exact_logits

    def watch(self, dataloader, *args, **kwargs):
        sizes.append(len(dataloader.dataset))
        return loop(self, dataloader, *args, **kwargs)

    def watch_exact(trainer, reviews):
        sizes.append(len(reviews))
        return exact(trainer, reviews)

    monkeypatch.setattr(Trainer, "evaluation_loop", watch)
    monkeypatch.setattr(training, "_exact_logits", watch_exact)
    fit(replace(TINY, epochs=2), dataset=reviews)
    # 60 test and 48 validation reviews: one look per epoch, two at the reloaded best, then the test.
    assert sizes == [48, 48, 48, 48, 60]


def test_a_frozen_table_keeps_its_vectors(fit, reviews, glove, tmp_path):
    fit(replace(ONE, glove=str(glove), freeze_embeddings=True), dataset=reviews)
    model = SentimentLSTMForSequenceClassification.from_pretrained(tmp_path / "run")
    assert not model.get_input_embeddings().weight.requires_grad
    vectors, table = dict(line.split(" ", 1) for line in glove.read_text().splitlines()), word_vectors(tmp_path / "run")
    for word in (*GOOD, *BAD):
        assert table[word].tolist() == pytest.approx([float(x) for x in vectors[word].split()])
    assert not table["<pad>"].any()


def test_a_preset_without_vectors_says_that_it_uses_none(fit, reviews, glove, tmp_path, caplog):
    assert "glove" not in fit(ONE, dataset=reviews, glove=glove).metrics
    assert "preset tiny does not start from word vectors; glove=" in caplog.text
    assert "learned from scratch" in (tmp_path / "run" / "README.md").read_text()


class KilledError(RuntimeError):
    pass


def raise_killed(*args, **kwargs):
    raise KilledError


@pytest.fixture
def at_step(monkeypatch):
    """Call a function in the training step of some number; without one, only list the steps."""

    def watch(number=0, act=None):
        done, run_step = [], Trainer.training_step

        def training_step(self, *args, **kwargs):
            done.append(float(torch.tensor(1e-30) * 1e-10))
            if len(done) == number:
                act()
            return run_step(self, *args, **kwargs)

        monkeypatch.setattr(Trainer, "training_step", training_step)
        return done

    return watch


def test_a_training_and_nothing_after_it_takes_denormal_numbers_for_zero(fit, reviews, at_step):
    found = at_step()
    fit(ONE, dataset=reviews)
    assert set(found) == {0.0}
    assert float(torch.tensor(1e-30) * 1e-10) > 0


@pytest.mark.parametrize(
    ("lengths", "widths"),
    [
        ({"naive_padding": True, "pooling": "last", "max_length": 40}, {(True, 40), (False, 40)}),
        ({"max_length": 5, "train_max_length": 3}, {(True, 3), (False, 5)}),
    ],
)
def test_batches_have_the_length_that_the_recipe_says(fit, reviews, monkeypatch, lengths, widths):
    found = set()
    forward = SentimentLSTMForSequenceClassification.forward

    @functools.wraps(forward)  # the Trainer reads the signature
    def watch(self, input_ids=None, **kwargs):
        found.add((self.training, input_ids.shape[1]))
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(SentimentLSTMForSequenceClassification, "forward", watch)
    fit(replace(ONE, **lengths), dataset=reviews)
    assert found == widths


def test_a_stopped_run_resumes_to_the_same_weights(fit, reviews, tmp_path, at_step):
    preset = replace(TINY, epochs=3, embedding_dropout=0.2)
    whole = fit(preset, dataset=reviews, output_dir=tmp_path / "whole")
    at_step(30, raise_killed)
    with pytest.raises(KilledError):
        fit(preset, dataset=reviews)
    assert not (tmp_path / "run" / "metrics.json").exists()
    with pytest.raises(FileExistsError, match=r"holds a run that was stopped; pass --resume"):
        fit(preset, dataset=reviews)
    steps = at_step()
    resumed = fit(preset, dataset=reviews, resume=True)
    # 12 steps an epoch; the checkpoint of the second one was there.
    assert len(steps) == 12
    assert same_weights(whole.run_directory, resumed.run_directory)
    for key in ("history", "validation", "test"):
        assert resumed.metrics[key] == whole.metrics[key]


def test_a_run_killed_after_early_stopping_does_not_train_on(fit, reviews, monkeypatch, at_step):
    preset = replace(TINY, epochs=9, patience=2, learning_rate=1e-12)
    with monkeypatch.context() as patch:
        patch.setattr(training, "plot_training_curves", raise_killed)
        with pytest.raises(KilledError):
            fit(preset, dataset=reviews)
    steps = at_step()
    metrics = fit(preset, dataset=reviews, resume=True).metrics
    assert steps == []
    assert (metrics["best_epoch"], metrics["epochs"]) == (1, 3)
    assert min(metrics["train_seconds"], metrics["train_cpu_seconds"]) > 0


def test_a_finished_run_is_not_trained_again(result, again, at_step):
    steps, run = at_step(), result.run_directory
    before = (run / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="holds a finished run"):
        again(output_dir=run)
    assert again(output_dir=run, resume=True).metrics == result.metrics
    with pytest.raises(ValueError, match=r"seed was 42 and is 7.*another --output_dir"):
        again(output_dir=run, resume=True, seed=7)
    assert steps == []
    assert (run / "model.safetensors").read_bytes() == before


def reorder(rows):
    return [*rows[150:], *rows[:150]]


def relabel(rows):
    return [(text, 1 - label if i == 0 else label) for i, (text, label) in enumerate(rows)]


@pytest.mark.parametrize(("change", "finished"), [(reorder, True), (relabel, False)])
def test_resuming_on_other_reviews_under_the_same_name_is_refused(fit, tmp_path, change, finished):
    path = write_csv(tmp_path / "a.csv", make_reviews(300))
    fit(ONE, dataset=path)
    if not finished:
        (tmp_path / "run" / "metrics.json").unlink()
    # With the size and the time of the file before, as an archive or a copy may have kept them.
    then = path.stat().st_mtime_ns
    write_csv(path, change(make_reviews(300)))
    os.utime(path, ns=(then, then))
    with pytest.raises(ValueError, match=r"trained on other data: train, .* differ in content or order"):
        fit(ONE, dataset=path, resume=True)


def test_a_directory_that_is_in_use_or_holds_something_else_is_not_touched(fit, reviews, tmp_path):
    with only_writer(tmp_path / "run"), pytest.raises(BlockingIOError, match="being written by another run"):
        fit(TINY, dataset=reviews)
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="is not empty and holds no run"):
        fit(TINY, dataset=reviews, output_dir=tmp_path)
    with pytest.raises(FileExistsError, match="is not empty and holds no run"):
        fit(TINY, dataset=reviews, output_dir=tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_failed_before_its_first_checkpoint_can_be_started_anew(fit, tmp_path):
    path = write_csv(tmp_path / "a.csv", [(text, "maybe") for text, _ in make_reviews(60)])
    with pytest.raises(ValueError, match="label 'maybe'"):
        fit(TINY, dataset=path)
    write_csv(path, make_reviews(60))
    assert fit(ONE, dataset=path).metrics["epochs"] == 1


TORN = [*product([runs.STATE, runs.WEIGHTS, "optimizer.pt", "rng_state.pth", "scheduler.pt"], ["missing", "cut"])]


@pytest.mark.parametrize(("torn", "how"), [*TORN, (runs.WEIGHTS, "changed"), (runs.STATE, "no best one")])
def test_a_torn_checkpoint_is_passed_over(result, tmp_path, caplog, torn, how):
    run = tmp_path / "run"
    shutil.copytree(result.run_directory / "checkpoints", run / "checkpoints")
    newest, older = sorted((run / "checkpoints").glob("checkpoint-*"), key=lambda p: -int(p.name.split("-")[1]))
    assert runs.newest_whole_checkpoint(run) == newest
    path = newest / torn
    content = bytearray(path.read_bytes())
    content[-1] ^= how == "changed"
    path.write_bytes(content[: len(content) // 2] if how == "cut" else content)
    if how == "missing":
        path.unlink()
    if how == "no best one":
        path.write_text(json.dumps({**read_json(path), "best_global_step": 1_000}))
    assert runs.newest_whole_checkpoint(run) == older
    assert f"{newest.name} is not whole" in caplog.text


def test_a_run_that_was_moved_is_continued(result, again, tmp_path):
    run = shutil.copytree(result.run_directory, tmp_path / "moved")
    (run / "metrics.json").unlink()
    shutil.rmtree(runs.newest_whole_checkpoint(run))
    path = runs.newest_whole_checkpoint(run) / runs.STATE
    # The old place is still there and still valid.
    assert read_json(path)["best_model_checkpoint"].startswith(str(result.run_directory))
    path.write_text(json.dumps({**read_json(path), "best_model_checkpoint": "/gone/checkpoint-1"}))
    continued = again(output_dir=run, resume=True)
    assert same_weights(continued.run_directory, result.run_directory)
    assert continued.metrics["test"] == result.metrics["test"]


def test_a_score_may_be_that_of_another_processor_and_not_of_other_weights(result, again, tmp_path):
    for reviews_off in (12, -2):
        run = shutil.copytree(result.run_directory, tmp_path / f"run{reviews_off}")
        (run / "metrics.json").unlink()
        for path in run.glob("checkpoints/*/trainer_state.json"):
            state = read_json(path)
            path.write_text(json.dumps({**state, "best_metric": state["best_metric"] + reviews_off / 48}))
        if reviews_off == 12:
            with pytest.raises(RuntimeError, match=r"was chosen for a validation accuracy of .* cannot be trusted"):
                again(output_dir=run, resume=True)
            assert not (run / "metrics.json").exists()
    assert again(output_dir=run, resume=True).metrics["test"] == result.metrics["test"]


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_a_run_in_half_precision_is_measured_as_it_will_be_used_and_claims_what_the_processor_has(fit, reviews, half):
    given = {"use_cpu": True, half: True, "train_sampling_strategy": "sequential"}
    run = fit(replace(TINY, epochs=2), dataset=reviews, **given)
    # Nor are batches called random that are not.
    assert run.metrics["training"]["batches"] == "sequential"
    lstm = "" if autocast_computes_lstm(torch.bfloat16) else ", LSTM in float32"
    assert run.metrics["training"]["precision"] == ("float32" if half == "fp16" else f"bfloat16{lstm}")
    test = load_reviews(reviews).test
    measured = evaluate_logits(Classifier.from_pretrained(run.run_directory).logits(test["text"][:]), test["label"][:])
    assert measured["loss"] == pytest.approx(run.metrics["test"]["loss"], rel=1e-5)


@pytest.mark.parametrize("metric", ["expected_calibration_error", "eval_loss"])
def test_the_epoch_is_the_best_by_the_metric_that_chooses(fit, reviews, metric):
    # One that is calibrated at first, and then too sure.
    run = fit(replace(TINY, epochs=4, learning_rate=0.1), dataset=reviews, metric_for_best_model=metric)
    log = read_json(runs.newest_whole_checkpoint(run.run_directory) / "trainer_state.json")["log_history"]
    name = f"eval_{metric.removeprefix('eval_')}"
    measured = {entry["epoch"]: entry[name] for entry in log if name in entry}
    assert measured[run.metrics["best_epoch"]] == min(measured.values()) < max(measured.values())


def test_trackers_are_off_until_asked_for(fit, result, reviews, tmp_path):
    pytest.importorskip("tensorboard", reason='needs pip install "hf_lstm_sentiment[tensorboard]"')
    assert not list(result.run_directory.rglob("events.out.tfevents*"))
    fit(ONE, dataset=reviews, report_to="tensorboard")
    found = list((tmp_path / "run").rglob("events.out.tfevents*"))
    assert found
    assert all("checkpoints" in path.parts for path in found)


LAUNCHED = {"OMP_NUM_THREADS": "1", "ACCELERATE_MIXED_PRECISION": "no"}


@pytest.mark.parametrize(
    ("environment", "wanted", "threads"),
    [
        (LAUNCHED, None, 6),
        ({**LAUNCHED, "LOCAL_WORLD_SIZE": "2"}, None, 3),
        (LAUNCHED, 2, 2),
        ({"OMP_NUM_THREADS": "1"}, None, 1),
        ({**LAUNCHED, "OMP_NUM_THREADS": "3"}, None, 1),
    ],
)
def test_accelerates_single_thread_is_overruled_and_nothing_else(monkeypatch, one_thread, environment, wanted, threads):
    for name in (*LAUNCHED, "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(8))
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 6)
    torch.set_num_threads(1)
    assert use_cpu_threads(wanted, 1) == torch.get_num_threads() == threads


def test_the_script_trains_with_overrides_and_says_where_the_result_is(reviews, tmp_path):
    options = (
        f"--dataset {reviews} --num_train_epochs 1 --max_steps 3 --seed 5 --preset v1 --eval_strategy steps "
        "--save_strategy steps --eval_steps 3 --save_steps 3 --per_device_train_batch_size 8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", ROOT / "scripts" / "train.py", *options.split()],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    assert "runs/v1-seed5" in done.stdout
    assert "test accuracy" in done.stdout
    assert "training v1 on cpu" in done.stderr
    run = tmp_path / "runs" / "v1-seed5"
    assert [path.read_bytes()[:4] for path in run.glob("plots/*")] == [b"\x89PNG"] * 3
    metrics = read_json(run / "metrics.json")
    assert (metrics["training"]["batch_size"], metrics["training"]["learning_rate"], metrics["seed"]) == (8, 1e-3, 5)


def test_accuracy_without_the_overlap_is_that_of_the_other_reviews(fit, tmp_path):
    texts = make_reviews(120)
    # Those of the test whose labels contradict what was learned are not the ones that are trained on.
    test = [*texts[:10], *((text, 1 - label) for text, label in make_reviews(10, seed=1))]
    write_csv(tmp_path / "data" / "train.csv", texts)
    write_csv(tmp_path / "data" / "test.csv", test)
    result = fit(replace(TINY, validation_fraction=0.1), dataset=tmp_path / "data")
    overlap, apart = result.metrics["dataset"]["in_train_too"]["test"], result.metrics["test"]["without_overlap"]
    trained_on = set(load_reviews(tmp_path / "data", validation_fraction=0.1).train["text"])
    others = [(text, label) for text, label in test if text not in trained_on]
    assert overlap == 20 - len(others) > 5
    predicted = Classifier.from_pretrained(tmp_path / "run").logits([text for text, _ in others]) > 0
    right = [bool(logit) == bool(label) for logit, (_, label) in zip(predicted, others, strict=True)]
    assert apart == {"reviews": len(others), "accuracy": sum(right) / len(right)}
    assert apart["accuracy"] < result.metrics["test"]["accuracy"]
    said = f"{overlap} test reviews are trained on, too; test accuracy without them {apart['accuracy']:.2%}"
    assert said in result.summary()
    card = (tmp_path / "run" / "README.md").read_text()
    assert f"Without them, the accuracy on {len(others)} test reviews is {apart['accuracy']:.2%}." in card
