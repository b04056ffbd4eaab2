from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hf_lstm_sentiment import Classifier, load_reviews
from hf_lstm_sentiment.evaluation.compare import markdown
from hf_lstm_sentiment.training.study import study
from tests.reviews import BAD, GOOD, NOISE, TINY, make_reviews, refused, write_csv, write_glove

ROOT = Path(__file__).parents[2]
ARGUMENTS = ["--presets", "v0_naive", "v1", "v2_glove", "--seeds", "1", "--num_train_epochs", "1", "--num_threads", "1"]
SHORT = replace(TINY, epochs=2)
OTHER = replace(SHORT, name="other", embedding_dropout=0.2)


@pytest.fixture(scope="module")
def killed_and_resumed(server, tmp_path_factory):
    """A comparison of 200 reviews, killed in its second run and started again; what the second command printed."""
    folder = tmp_path_factory.mktemp("comparison")
    write_csv(folder / "reviews.csv", make_reviews(200))
    write_glove(folder / "glove.txt", [*GOOD, *BAD, *NOISE], 100)
    places = {"--runs_dir": "runs", "--dataset": "reviews.csv", "--glove": "glove.txt"}
    words = [word for option, name in places.items() for word in (option, str(folder / name))]
    job = {"script": "scripts/compare.py", "arguments": [*ARGUMENTS, *words]}
    step = {"target": "transformers.trainer:Trainer.training_step", "call": 4, "when": "before"}
    assert server(**job, kill=step)["code"] == -signal.SIGKILL
    first = folder / "runs" / "v0_naive-seed1" / "model.safetensors"
    before = first.stat().st_mtime_ns
    again = server(**job)
    assert again["code"] == 0, again["output"]
    assert first.stat().st_mtime_ns == before
    return folder, again["output"], json.loads((folder / "runs" / "comparison" / "comparison.json").read_text())


def test_a_killed_comparison_goes_on_with_the_same_command_and_lists_what_differs(killed_and_resumed):
    folder, output, results = killed_and_resumed
    assert "run 3 of 3: v2_glove, seed 1" in output
    assert "is finished; nothing is left to train" in output
    written = {path.name for path in (folder / "runs" / "comparison").iterdir()}
    assert written == {"comparison.json", "comparison.md", "comparison.html", "accuracy.png"}
    assert results["settings"]["differs"] == {
        "glove": {"v0_naive": None, "v1": None, "v2_glove": "glove.txt"},
        "naive_padding": {"v0_naive": True, "v1": False, "v2_glove": False},
    }
    assert (results["settings"]["same"]["max_length"], results["settings"]["same"]["split_seed"]) == (256, 42)
    assert markdown(results) in output
    page = (folder / "runs" / "comparison" / "comparison.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "http" not in page
    # A phone scrolls what is too wide for it, and not the page.
    assert (page.count("<table>"), page.count('<div class="wide"')) == (3, 4)


def test_every_number_is_that_of_the_runs(killed_and_resumed):
    folder, _, results = killed_and_resumed
    accuracy = {}
    for name, found in results["presets"].items():
        test = json.loads((folder / "runs" / f"{name}-seed1" / "metrics.json").read_text())["test"]
        assert found["test_accuracy"] == {"mean": test["accuracy"], "values": [test["accuracy"]]}
        assert found["false_positives"]["mean"] == test["confusion_matrix"]["fp"]
        accuracy[name] = test["accuracy"]
    for pair in results["neighbours"]:
        difference = accuracy[pair["b"]] - accuracy[pair["a"]]
        assert pair["difference"]["difference"] == pytest.approx(difference)
        assert pair["difference"]["low"] <= difference <= pair["difference"]["high"]
        test = pair["mcnemar"]["1"]
        assert (test["only_b"] - test["only_a"]) / results["dataset"]["test"] == pytest.approx(difference)


def test_padding_that_is_read_costs_the_gradient(killed_and_resumed, server):
    runs = killed_and_resumed[0] / "runs"
    words = [str(runs / "v0_naive-seed1"), str(runs / "v1-seed1"), "--output_dir", str(runs / "padding")]
    assert server(script="scripts/padding.py", arguments=words)["code"] == 0
    found = json.loads((runs / "padding" / "padding.json").read_text())
    assert found["gradient"][0] == 1 > 0.1 > found["gradient"][found["steps"].index(16)]
    assert sum(row["reviews"] for row in found["accuracy"]["naive"]) == found["reviews"]
    assert (runs / "padding" / "padding.png").read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory):
    """The runs of two presets under two seeds, their reviews, and the comparison."""
    folder = tmp_path_factory.mktemp("runs")
    reviews = write_csv(folder / "reviews.csv", make_reviews(200))
    return folder, reviews, study([SHORT, OTHER], seeds=[1, 2], runs_dir=folder, dataset=reviews, disable_tqdm=True)


def test_means_and_deviations_are_those_of_the_seeds(two_seeds):
    folder, _, comparison = two_seeds
    values = [json.loads((folder / f"tiny-seed{s}" / "metrics.json").read_text())["test"]["accuracy"] for s in (1, 2)]
    found = comparison.results["presets"]["tiny"]["test_accuracy"]
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["standard_deviation"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    assert comparison.results["neighbours"][0]["seeds"] == {"a": [1, 2], "b": [1, 2]}


def test_recorded_results_stand_in_for_runs(two_seeds, tmp_path):
    folder, reviews, comparison = two_seeds
    test = load_reviews(reviews).test
    for name, seed in product(("tiny", "other"), (1, 2)):
        record = tmp_path / "cards" / name / f"seed-{seed}"
        record.mkdir(parents=True)
        shutil.copy(folder / f"{name}-seed{seed}" / "metrics.json", record)
        if seed == 1:
            logits = Classifier.from_pretrained(folder / f"{name}-seed{seed}").logits(test["text"][:])
            save_file({"logits": logits}, record / "test_logits.safetensors")
    options = {"runs_dir": tmp_path / "none", "recorded": tmp_path / "cards", "dataset": reviews}
    again = study([SHORT, OTHER], seeds=[1, 2], **options)
    assert not list((tmp_path / "none").glob("*-seed*"))
    assert again.results["presets"] == comparison.results["presets"]
    # Tests of neighbours say that they rest on the one seed whose logits are recorded.
    (pair,) = again.results["neighbours"]
    assert pair["seeds"] == {"a": [1], "b": [1]}
    assert pair["mcnemar"]["1"] == comparison.results["neighbours"][0]["mcnemar"]["1"]
    # Results of other reviews are refused, and those that do not fit their figures.
    record = tmp_path / "cards" / "other" / "seed-2" / "metrics.json"
    before = record.read_text()
    record.write_text(before.replace(comparison.results["dataset"]["digests"]["test"], "sha256:0"))
    with pytest.raises(ValueError, match=r"other reviews \(digest of test\); only runs on the same reviews"):
        study([SHORT, OTHER], seeds=[1, 2], **options)
    record.write_text(before)
    wrong = 1 - 2 * np.asarray(test["label"][:], dtype=np.float32)
    save_file({"logits": wrong}, tmp_path / "cards" / "tiny" / "seed-1" / "test_logits.safetensors")
    with pytest.raises(ValueError, match="were changed since it was trained"):
        study([SHORT], seeds=[1], **options)


def test_runs_of_an_earlier_release_are_taken_up(two_seeds, tmp_path):
    folder, reviews, comparison = two_seeds
    shutil.copytree(folder / "tiny-seed1", tmp_path / "tiny-seed1")
    path = tmp_path / "tiny-seed1" / "checkpoints" / "recipe.json"
    recipe = json.loads(path.read_text())
    # A setting that the reference experiment does not use, and that did not exist then.
    assert recipe.pop("word_dropout") == 0
    path.write_text(json.dumps(recipe))
    options = {"seeds": [1], "runs_dir": tmp_path, "dataset": reviews, "disable_tqdm": True}
    again = study([SHORT], **options).results
    of_both = comparison.results["presets"]["tiny"]["test_accuracy"]["values"]
    assert again["presets"]["tiny"]["test_accuracy"]["mean"] == of_both[0]
    assert again["settings"]["same"]["word_dropout"] == 0
    with pytest.raises(ValueError, match=r"word_dropout was 0\.0 and is 0\.1"):
        study([replace(SHORT, word_dropout=0.1)], **options)


def test_wrong_arguments_are_refused_before_any_work(tmp_path):
    for arguments, message in (
        ({"presets": ["v9"]}, "preset 'v9' is not known"),
        ({"presets": []}, "presets are"),
        ({"seeds": [1, 1]}, "seeds are"),
        ({"one_seed": ["v9"]}, "one_seed names v9"),
    ):
        refused(lambda a=arguments: study(**{"presets": ["v1"], "runs_dir": tmp_path, **a}), message)
    assert not list(tmp_path.iterdir())
