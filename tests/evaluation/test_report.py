from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from hf_lstm_sentiment import Classifier, train
from hf_lstm_sentiment.evaluation.metrics import evaluate_logits
from hf_lstm_sentiment.evaluation.report import write_report
from tests.pages import Page
from tests.reviews import TINY, make_reviews, write_csv

ATTACK = "<script>alert(1)</script>&"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    # Labels that contradict the words, so that there are errors of either kind; texts that try to be HTML.
    texts = [*make_reviews(240), *((f"great {i}", i % 2) for i in range(60))]
    reviews = write_csv(folder / "reviews.csv", [(f"{ATTACK} {text}", label) for text, label in texts])
    for name, epochs in (("first", 1), ("second", 4)):
        preset = replace(TINY, name=name, max_length=8, epochs=epochs)
        train(preset, dataset=reviews, output_dir=folder / name, disable_tqdm=True)
    return folder


def read(path):
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def report(trained, one_thread):
    path = write_report(trained / "second", against=trained / "first", excerpts=4)
    return path, read(path.with_name("report.json")), path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_loads_nothing(report):
    path, found, page = report
    tags = Page(page)
    assert {"script", "link", "iframe"}.isdisjoint(tags.names)
    assert len(tags.loaded) == 6 + bool(found["words"])
    assert all(address.startswith("data:image/png;base64,iVBOR") for address in tags.loaded)
    assert {picture.stem for picture in path.parent.glob("*.png")} - {"error_words"} == {
        *("confidences", "groups", "reliability", "softened")
    }
    for name, groups in found["groups"].items():
        assert f">{name}</th>" in page
        for group in groups:
            assert f"{group['correct']:,} of {group['reviews']:,}</td>" in page
            assert f"{100 * group['low']:.2f} % to {100 * group['high']:.2f} %" in page
    for name, words in found["words"].items():
        assert f">{name}</th>" in page
        assert all(f"<td>{word['word']}</td>" in page for word in words)
    # Reviews are escaped.
    assert "<script" not in page
    assert "&lt;script&gt;" in re.sub(r"</?span[^>]*>", "", page)


def test_the_numbers_are_those_of_the_run(report, trained):
    _, found, page = report
    metrics = read(trained / "second" / "metrics.json")
    assert found["test"] == metrics["test"]
    assert f"{100 * metrics['test']['accuracy']:.2f} %" in page
    confusion = metrics["test"]["confusion_matrix"]
    assert sum(row["wrong"] for row in found["confidence"]) == confusion["fp"] + confusion["fn"]
    assert sum(row["reviews"] for row in found["confidence"]) == metrics["test"]["reviews"]
    for groups in found["groups"].values():
        assert sum(group["reviews"] for group in groups) == metrics["test"]["reviews"]
        assert sum(group["correct"] for group in groups) == confusion["tn"] + confusion["tp"]
    before, after = found["calibration"]["as it is"], found["calibration"]["with the temperature"]
    assert before["nll"] == pytest.approx(metrics["test"]["loss"], abs=1e-5)
    assert found["temperature"] != 1
    assert after["nll"] != before["nll"]


def test_what_is_fixed_and_broken_adds_up(report, trained):
    _, found, page = report
    accuracy = [read(trained / name / "metrics.json")["test"]["accuracy"] for name in ("first", "second")]
    against, difference = found["against"], found["against"]["accuracy"]
    n = against["fixed"] + against["broken"]
    assert (against["fixed"] - against["broken"]) / found["test"]["reviews"] == pytest.approx(accuracy[1] - accuracy[0])
    assert "Right here, wrong in first" in page
    assert against["p_value"] == pytest.approx(binomtest(against["fixed"], n).pvalue if n else 1)
    assert difference["low"] <= difference["difference"] <= difference["high"]
    assert f"{100 * difference['difference']:+.2f} points" in page


def test_the_page_holds_the_excerpts_of_the_json(report):
    _, found, page = report
    rows = [row for rows in found["excerpts"].values() for row in rows]
    for row in rows:
        right = row["actual"] == row["predicted"]
        decision = "classified correctly" if right else f"misclassified as {row['predicted']}"
        assert f"Review {row['place']:,}: {row['actual']}, {decision};" in page
    assert page.count("of which 8 are read") == sum(row["truncated"] for row in rows) > 0


def test_a_run_without_errors_and_without_truncated_reviews(trained, tmp_path):
    """Its test reviews get the labels that it decides for, and lie elsewhere than its recipe says."""
    for name, seed, count in (("train", 0, 80), ("test", 1, 40)):
        write_csv(tmp_path / "old" / f"{name}.csv", make_reviews(count, seed=seed))
    run = tmp_path / "<b>run"
    train(replace(TINY, max_length=32, epochs=4), dataset=tmp_path / "old", output_dir=run, disable_tqdm=True)
    texts = [text for text, _ in make_reviews(40, seed=1)]
    logits = Classifier.from_pretrained(run).logits(texts)
    labels = [int(logit > 0) for logit in logits]
    write_csv(tmp_path / "moved" / "test.csv", list(zip(texts, labels, strict=True)))
    (tmp_path / "old" / "train.csv").rename(tmp_path / "moved" / "train.csv")
    metrics = {**read(run / "metrics.json"), "test": evaluate_logits(logits, labels)}
    (run / "metrics.json").write_text(json.dumps(metrics))
    path = write_report(run, dataset=tmp_path / "moved", against=run)
    found, page = read(path.with_name("report.json")), path.read_text(encoding="utf-8")
    assert found["words"] == {}
    assert [group["name"] for group in found["groups"]["truncated or not"]] == ["read to the end"]
    assert all(rows == [] for rows in found["excerpts"].values())
    assert found["against"]["p_value"] == 1
    assert found["against"]["accuracy"] == {"difference": 0, "low": 0, "high": 0}
    assert "100.00 %" in page
    assert "&lt;b&gt;run" in page
    assert "<b>" not in page


def test_what_cannot_be_reported_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match=r"is no finished run, metrics\.json is missing"):
        write_report(tmp_path)
    with pytest.raises(ValueError, match="excerpts is 0; allowed"):
        write_report(trained / "second", excerpts=0)
    # Changed weights are noticed.
    run = shutil.copytree(trained / "second", tmp_path / "second", ignore=shutil.ignore_patterns("report"))
    metrics = read(run / "metrics.json")
    metrics["test"]["accuracy"] -= 0.2
    (run / "metrics.json").write_text(json.dumps(metrics))
    with pytest.raises(ValueError, match="were changed since it was trained"):
        write_report(run)
