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
NAMES = ("NEGATIVE", "POSITIVE")


def read_picture(path: Path) -> np.ndarray:
    """Pixels of a picture, which must be a PNG of a sensible size and not blank."""
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width, _ = pixels.shape
    assert 900 <= width <= 1900
    assert 500 <= height <= 1900
    assert pixels.std() > 10
    return pixels


def draw_curves(directory: Path, history=HISTORY, *, title="20 reviews", best_epoch=2) -> np.ndarray:
    path = directory / "curves.png"
    assert plot_training_curves(history, path, title=title, best_epoch=best_epoch) == path
    return read_picture(path)


def draw_confusion(directory: Path, **changes: int) -> np.ndarray:
    path = directory / "confusion.png"
    assert plot_confusion_matrix({**CONFUSION, **changes}, path, title="test split", names=NAMES) == path
    return read_picture(path)


def draw_reliability(directory: Path, probabilities, labels) -> np.ndarray:
    path = directory / "reliability.png"
    assert plot_reliability_diagram(np.array(probabilities), np.array(labels), path, title="test") == path
    return read_picture(path)


def test_training_curves_show_each_value(tmp_path):
    before = draw_curves(tmp_path)
    for key in ("train_loss", "validation_loss", "validation_accuracy"):
        assert (draw_curves(tmp_path, [*HISTORY[:2], {**HISTORY[2], key: 0.5}]) != before).any()
    assert (draw_curves(tmp_path, best_epoch=3) != before).any()
    assert (draw_curves(tmp_path) == before).all()


def test_training_curves_leave_out_what_was_not_measured(tmp_path):
    without = [{key: value for key, value in row.items() if key != "train_loss"} for row in HISTORY]
    assert (draw_curves(tmp_path, without) != draw_curves(tmp_path, [HISTORY[0], *without[1:]])).any()


def test_long_titles_stay_inside_and_are_not_mathematics(tmp_path):
    pixels = draw_curves(tmp_path, title="v2_glove costs $5 or $6_7 " * 8)
    assert (pixels[:, [0, -1]] == 255).all()


def test_confusion_matrix_shows_each_cell(tmp_path):
    before = draw_confusion(tmp_path)
    for cell in CONFUSION:
        assert (draw_confusion(tmp_path, **{cell: 9_000}) != before).any()


def test_confusion_matrix_puts_false_positives_top_right(tmp_path, unwarned):
    pixels = draw_confusion(tmp_path, tn=0, fp=100, fn=0, tp=0).mean(axis=2)
    height, width = pixels.shape
    quarters = [
        np.median(pixels[rows, columns])
        for rows in (slice(height // 4, height // 2), slice(height // 2, 3 * height // 4))
        for columns in (slice(width // 4, width // 2), slice(width // 2, 3 * width // 4))
    ]
    assert np.argmin(quarters) == 1
    assert quarters[1] < 100 < 200 < min(quarters[0], quarters[2], quarters[3])


@pytest.mark.parametrize("labels", [3, 20, 40])
def test_confusion_matrix_of_many_labels(tmp_path, labels, unwarned):
    path, names = tmp_path / "confusion.png", [f"a $long_{i} name" for i in range(labels)]
    counts = np.diag(np.arange(1, labels + 1))
    plot_confusion_matrix(counts.tolist(), path, title="test", names=names)
    before = read_picture(path)
    counts[labels - 1, labels - 2] = 1
    plot_confusion_matrix(counts.tolist(), path, title="test", names=names)
    assert (read_picture(path) != before).any()


def test_coverage_is_drawn(tmp_path):
    rows = [{"rejected": share, "accuracy": 0.9 + share / 2, "unsure_below": 0.5 + share} for share in (0, 0.05, 0.1)]
    plot_coverage(rows, tmp_path / "coverage.png", title="test")
    before = read_picture(tmp_path / "coverage.png")
    plot_coverage([*rows[:2], {**rows[2], "accuracy": 0.91}], tmp_path / "coverage.png", title="test")
    assert (read_picture(tmp_path / "coverage.png") != before).any()


def test_reliability_diagram_shows_calibration(tmp_path, unwarned):
    rng = np.random.default_rng(0)
    probabilities = rng.random(500)
    labels = (rng.random(500) < probabilities).astype(int)
    calibrated = draw_reliability(tmp_path, probabilities, labels)
    assert (draw_reliability(tmp_path, probabilities, 1 - labels) != calibrated).any()
    draw_reliability(tmp_path, [0.5], [0])


def test_a_failure_leaves_the_old_picture_and_no_other_file(tmp_path, monkeypatch):
    draw_confusion(tmp_path)
    path = tmp_path / "confusion.png"
    old = path.read_bytes()

    def fail(*_):
        raise OSError("disk on fire")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk on fire"):
        draw_confusion(tmp_path, fp=9_000)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == old


def test_settings_of_matplotlib_stay_and_do_not_crop(tmp_path):
    with mpl.rc_context({"savefig.bbox": "tight", "figure.dpi": 30}):
        before = dict(mpl.rcParams)
        pixels = draw_confusion(tmp_path)
        assert dict(mpl.rcParams) == before
    assert pixels.shape == (870, 930, 3)


def test_missing_matplotlib_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hf_lstm_sentiment\[train\]"'):
        draw_curves(tmp_path)


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path):
    code = """
import sys
from pathlib import Path
from hf_lstm_sentiment.evaluation import plots
assert "matplotlib" not in sys.modules
plots.plot_confusion_matrix([[1, 2], [3, 4]], Path("confusion.png"), title="ten reviews", names="ab")
assert "matplotlib" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    read_picture(tmp_path / "confusion.png")
