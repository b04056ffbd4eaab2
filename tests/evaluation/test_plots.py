"""Pictures: that they are there, whole, not blank, and change with what they show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from hf_lstm_sentiment.evaluation.plots import (
    plot_confusion_matrix,
    plot_coverage,
    plot_reliability_diagram,
    plot_training_curves,
)

HISTORY = [
    {"epoch": 1, "train_loss": 0.6, "validation_loss": 0.45, "validation_accuracy": 0.79},
    {"epoch": 2, "train_loss": 0.4, "validation_loss": 0.35, "validation_accuracy": 0.85},
    {"epoch": 3, "train_loss": 0.2, "validation_loss": 0.38, "validation_accuracy": 0.84},
]
CONFUSION = {"tn": 10_685, "fp": 1_815, "fn": 2_066, "tp": 10_434}


def read_picture(path: Path) -> np.ndarray:
    """Pixels of a picture, which must be a PNG of a sensible size and not blank."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width, _ = pixels.shape
    assert 900 <= width <= 1200
    assert 500 <= height <= 1200
    assert pixels.std() > 10
    return pixels


def draw_curves(directory: Path, history, *, title="20 reviews", best_epoch=None) -> np.ndarray:
    path = directory / "curves.png"
    assert plot_training_curves(history, path, title=title, best_epoch=best_epoch) == path
    return read_picture(path)


def draw_confusion(directory: Path, title="test split", **changes: int) -> np.ndarray:
    path = directory / "confusion.png"
    assert plot_confusion_matrix({**CONFUSION, **changes}, path, title=title) == path
    return read_picture(path)


def draw_reliability(directory: Path, probabilities, labels, **options) -> np.ndarray:
    path = directory / "reliability.png"
    assert plot_reliability_diagram(probabilities, labels, path, title="test", **options) == path
    return read_picture(path)


def test_training_curves_show_each_value(tmp_path):
    before = draw_curves(tmp_path, HISTORY, best_epoch=2)
    for key in ("train_loss", "validation_loss", "validation_accuracy"):
        changed = [*HISTORY[:2], {**HISTORY[2], key: 0.5}]
        assert (draw_curves(tmp_path, changed, best_epoch=2) != before).any()
    assert (draw_curves(tmp_path, HISTORY, best_epoch=3) != before).any()
    assert (draw_curves(tmp_path, HISTORY, best_epoch=None) != before).any()
    assert (draw_curves(tmp_path, HISTORY, best_epoch=2) == before).all()


def test_training_curves_leave_out_what_was_not_measured(tmp_path):
    draw_curves(tmp_path, [{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.4}])
    draw_curves(tmp_path, [{"epoch": 1, "validation_accuracy": 0.5}], best_epoch=1)
    with_gap = draw_curves(tmp_path, [HISTORY[0], {"epoch": 2}, HISTORY[2]])
    nan = dict.fromkeys(("train_loss", "validation_loss", "validation_accuracy"), float("nan"))
    assert (draw_curves(tmp_path, [HISTORY[0], {"epoch": 2, **nan}, HISTORY[2]]) == with_gap).all()


def test_training_curves_count_epochs_that_have_no_number(tmp_path):
    unnumbered = [{key: epoch[key] for key in epoch if key != "epoch"} for epoch in HISTORY]
    assert (draw_curves(tmp_path, unnumbered) == draw_curves(tmp_path, HISTORY)).all()


@pytest.mark.parametrize("history", [[], [{}], [{"epoch": 1, "train_loss": float("nan")}]])
def test_training_curves_of_nothing(tmp_path, history):
    with pytest.raises(ValueError, match=f"nothing to draw.*in {len(history)} epochs"):
        plot_training_curves(history, tmp_path / "curves.png", title="none", best_epoch=None)
    assert list(tmp_path.iterdir()) == []


def test_best_epoch_must_be_one_of_the_epochs(tmp_path):
    with pytest.raises(ValueError, match=r"best_epoch is 7; allowed: None or one of \[1, 2, 3\]"):
        plot_training_curves(HISTORY, tmp_path / "curves.png", title="20 reviews", best_epoch=7)


def test_long_titles_stay_inside_and_are_not_mathematics(tmp_path):
    pixels = draw_curves(tmp_path, HISTORY, title="v2_glove costs $5 or $6_7 " * 8)
    assert (pixels[:, [0, -1]] == 255).all()


@pytest.mark.parametrize("cell", ["tn", "fp", "fn", "tp"])
def test_confusion_matrix_shows_each_cell(tmp_path, cell):
    assert (draw_confusion(tmp_path, **{cell: 9_000}) != draw_confusion(tmp_path)).any()


def test_confusion_matrix_puts_false_positives_top_right(tmp_path):
    pixels = draw_confusion(tmp_path, tn=0, fp=100, fn=0, tp=0).mean(axis=2)
    height, width = pixels.shape
    quarters = [
        np.median(pixels[rows, columns])
        for rows in (slice(height // 4, height // 2), slice(height // 2, 3 * height // 4))
        for columns in (slice(width // 4, width // 2), slice(width // 2, 3 * width // 4))
    ]
    assert np.argmin(quarters) == 1
    assert quarters[1] < 100 < 200 < min(quarters[0], quarters[2], quarters[3])


@pytest.mark.parametrize(
    "changes",
    [{"tn": 0, "fp": 0}, {"fn": 0, "tp": 0}, {"tn": 0, "fp": 0, "fn": 0, "tp": 0}],
)
def test_confusion_matrix_with_empty_rows(tmp_path, changes, unwarned):
    draw_confusion(tmp_path, **changes)


@pytest.mark.parametrize("confusion", [{"tn": 1, "fp": 2, "fn": 3}, {**CONFUSION, "fp": -1}])
def test_confusion_matrix_needs_four_counts(tmp_path, confusion):
    with pytest.raises(ValueError, match=r"confusion is .*; allowed: counts of at least 0 for \("):
        plot_confusion_matrix(confusion, tmp_path / "confusion.png", title="test")


def test_confusion_matrix_needs_a_row_for_each_label(tmp_path):
    with pytest.raises(ValueError, match=r"of shape \(2, 2\); allowed: counts .* each of 3 labels, in as many rows"):
        plot_confusion_matrix([[1, 2], [3, 4]], tmp_path / "confusion.png", title="test", names="abc")


@pytest.mark.parametrize("labels", [3, 20, 40])
def test_confusion_matrix_of_many_labels(tmp_path, labels, unwarned):
    path, names = tmp_path / "confusion.png", [f"a $long_{i} name" for i in range(labels)]
    counts = np.diag(np.arange(1, labels + 1))
    plot_confusion_matrix(counts.tolist(), path, title="test", names=names)
    before = path.read_bytes()
    counts[labels - 1, labels - 2] = 1
    plot_confusion_matrix(counts.tolist(), path, title="test", names=names)
    assert path.read_bytes() != before
    with Image.open(path) as picture:
        assert 900 <= picture.width <= 1900


def test_coverage_is_drawn(tmp_path):
    rows = [{"rejected": share, "accuracy": 0.9 + share / 2, "unsure_below": 0.5 + share} for share in (0, 0.05, 0.1)]
    plot_coverage(rows, tmp_path / "coverage.png", title="test")
    before = read_picture(tmp_path / "coverage.png")
    plot_coverage([*rows[:2], {**rows[2], "accuracy": 0.91}], tmp_path / "coverage.png", title="test")
    assert (read_picture(tmp_path / "coverage.png") != before).any()
    with pytest.raises(ValueError, match="coverage has no rows"):
        plot_coverage([], tmp_path / "coverage.png", title="test")


def test_reliability_diagram_shows_calibration(tmp_path):
    rng = np.random.default_rng(0)
    probabilities = rng.random(500)
    labels = (rng.random(500) < probabilities).astype(int)
    calibrated = draw_reliability(tmp_path, probabilities, labels)
    assert (draw_reliability(tmp_path, probabilities, 1 - labels) != calibrated).any()
    assert (draw_reliability(tmp_path, probabilities, labels, bins=10) != calibrated).any()


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [([0.5], [0]), ([1.0, 0.0], [1, 0]), ([1.0, 0.0], [0, 1]), ([0.9, 0.2, 0.55], [1, 0, 0])],
)
@pytest.mark.parametrize("bins", [1, 10])
def test_reliability_diagram_of_few_reviews(tmp_path, probabilities, labels, bins, unwarned):
    draw_reliability(tmp_path, probabilities, labels, bins=bins)


def test_a_failure_leaves_the_old_picture_and_no_other_file(tmp_path, monkeypatch):
    draw_confusion(tmp_path)
    path = tmp_path / "confusion.png"
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk on fire")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk on fire"):
        plot_confusion_matrix(CONFUSION, path, title="new")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == old


def test_settings_of_matplotlib_stay_and_do_not_crop(tmp_path):
    with mpl.rc_context({"savefig.bbox": "tight", "figure.dpi": 30}):
        before = dict(mpl.rcParams)
        pixels = draw_confusion(tmp_path)
        draw_curves(tmp_path / "curves", HISTORY)
        draw_reliability(tmp_path / "reliability", [0.9, 0.2], [1, 0])
        assert dict(mpl.rcParams) == before
    assert pixels.shape == (870, 930, 3)


def test_missing_matplotlib_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hf_lstm_sentiment\[train\]"'):
        plot_confusion_matrix(CONFUSION, tmp_path / "confusion.png", title="test")


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path):
    code = """
import sys
from hf_lstm_sentiment.evaluation import plots
assert "matplotlib" not in sys.modules
confusion = {"tn": 1, "fp": 2, "fn": 3, "tp": 4}
plots.plot_confusion_matrix(confusion, "confusion.png", title="ten reviews")
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    read_picture(tmp_path / "confusion.png")
