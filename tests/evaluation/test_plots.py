"""Pictures: that they are there, whole, not blank, and change with what they show."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from hf_lstm_sentiment.evaluation import plots
from hf_lstm_sentiment.evaluation.errors import ScoredReviews, group
from hf_lstm_sentiment.evaluation.plots import (
    plot_confidences,
    plot_confusion_matrix,
    plot_coverage,
    plot_reliability_diagram,
    plot_rows,
    plot_training_curves,
)

KEYS = ("train_loss", "validation_loss", "validation_accuracy")
HISTORY = [
    {"epoch": 1, "train_loss": 0.6, "validation_loss": 0.45, "validation_accuracy": 0.79},
    {"epoch": 2, "train_loss": 0.4, "validation_loss": 0.35, "validation_accuracy": 0.85},
    {"epoch": 3, "train_loss": 0.2, "validation_loss": 0.38, "validation_accuracy": 0.84},
]
UNMEASURED = [{"epoch": 1, "validation_loss": 0.45, "validation_accuracy": 0.79}, *HISTORY[1:]]
CONFUSION = {"tn": 10_685, "fp": 1_815, "fn": 2_066, "tp": 10_434}
COVERAGE = [{"rejected": share, "accuracy": 0.9 + share / 2, "unsure_below": 0.5 + share} for share in (0, 0.05, 0.1)]
GROUPS = [group("up to 100", 8, 10), group("$x_", 13, 20)]
WORDS = [{"word": "antidisestablishment" * 2, "z": 3.0}] * 8
MANY = np.diag(np.arange(1, 41))
P = np.random.default_rng(0).random(500)
Y = (np.random.default_rng(1).random(500) < P).astype(int)


def curves(path, history=HISTORY, best_epoch=2, title="20 reviews"):
    return plot_training_curves(history, path, title=title, best_epoch=best_epoch)


def confusion(path, counts=CONFUSION):
    names = ["NEGATIVE", "POSITIVE"] if len(counts) < 5 else [f"a $long_{i} name" for i in range(len(counts))]
    return plot_confusion_matrix(counts, path, title="test split", names=names)


def coverage(path, rows=COVERAGE):
    return plot_coverage(rows, path, title="test")


def reliability(path, p=P, labels=Y):
    return plot_reliability_diagram(np.array(p), np.array(labels), path, title="test")


def confidences(path, logits, labels=(1, 0, 0, 0, 0, 0)):
    facts = {"tokens": np.ones(6, int), "unknown": np.zeros(6), "max_length": 9, "duplicates": np.zeros(6, bool)}
    names = ["bad", "good", "$so_so$"][: 2 if np.ndim(logits) == 1 else 3]
    scored = ScoredReviews([""] * 6, np.array(labels), np.array(logits, float), **facts, names=names)
    return plot_confidences(scored, path, title="test")


def rows(path, panels, accuracy=None):
    return plot_rows(panels, path, title="test", accuracy=accuracy)


def drawn(folder, draw, *values, **options):
    """Pixels of a picture, which must be a PNG of a sensible size and not blank."""
    path = folder / "picture.png"
    assert draw(path, *values, **options) == path
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [file.name for file in folder.iterdir()] == [path.name]
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width, _ = pixels.shape
    assert 900 <= width <= 1900
    assert 500 <= height <= 1900
    assert pixels.std() > 10
    return pixels


@pytest.mark.parametrize(
    ("draw", "before", "after"),
    [
        *((curves, [HISTORY], [[*HISTORY[:2], {**HISTORY[2], key: 0.5}]]) for key in KEYS),
        (curves, [HISTORY], [HISTORY, 3]),
        (curves, [HISTORY], [UNMEASURED]),
        *((confusion, [CONFUSION], [{**CONFUSION, cell: 9_000}]) for cell in CONFUSION),
        *((confusion, [MANY[:n, :n]], [MANY[:n, :n] + np.eye(n, k=-1, dtype=int)]) for n in (5, 20)),
        (coverage, [COVERAGE], [[*COVERAGE[:2], {**COVERAGE[2], "accuracy": 0.91}]]),
        (reliability, [P, Y], [P, 1 - Y]),
        (confidences, [[3, -3, 3, -1, -2, -3]], [[3, -3, -3, -1, -2, -3]]),
        (rows, [{"a": GROUPS, "b": GROUPS[:1]}, 0.7], [{"a": [GROUPS[0], group("$x_", 7, 20)], "b": GROUPS[:1]}, 0.7]),
        (rows, [{"a": GROUPS}, 0.7], [{"a": GROUPS}, 0.75]),
        (rows, [{"misclassified": WORDS}], [{"misclassified": [*WORDS[:7], {**WORDS[7], "z": 1.0}]}]),
    ],
)
def test_what_is_shown_changes_the_picture(tmp_path, unwarned, draw, before, after):
    first = drawn(tmp_path, draw, *before)
    assert (drawn(tmp_path, draw, *after) != first).any()
    assert (drawn(tmp_path, draw, *before) == first).all()


def test_extremes_are_drawn(tmp_path, unwarned):
    drawn(tmp_path, confusion, MANY)
    drawn(tmp_path, reliability, [0.5], [0])
    pixels = drawn(tmp_path, rows, {f"misclassified {'long name ' * i}": WORDS for i in range(2, 6)})
    assert (pixels[:, [0, -1]] == 255).all()
    # More correct answers than the legend shows are seen beside more errors of the same confidence.
    pixels = drawn(tmp_path, confidences, np.tile([0.0, 4.0, 0.0], (6, 1)))
    assert (pixels == (0x56, 0xB4, 0xE9)).all(axis=2).sum() > 1_000
    # Long titles stay inside and are not mathematics.
    pixels = drawn(tmp_path, curves, title="v2_glove costs $5 or $6_7 " * 8)
    assert (pixels[:, [0, -1]] == 255).all()


def test_confusion_matrix_puts_false_positives_top_right(tmp_path, unwarned):
    pixels = drawn(tmp_path, confusion, {"tn": 0, "fp": 100, "fn": 0, "tp": 0}).mean(axis=2)
    height, width = pixels.shape
    quarters = [
        np.median(pixels[rows, columns])
        for rows in (slice(height // 4, height // 2), slice(height // 2, 3 * height // 4))
        for columns in (slice(width // 4, width // 2), slice(width // 2, 3 * width // 4))
    ]
    assert np.argmin(quarters) == 1
    assert quarters[1] < 100 < 200 < min(quarters[0], quarters[2], quarters[3])


def test_settings_of_matplotlib_stay_and_do_not_crop(tmp_path):
    with mpl.rc_context({"savefig.bbox": "tight", "figure.dpi": 30}):
        before = dict(mpl.rcParams)
        pixels = drawn(tmp_path, confusion)
        assert dict(mpl.rcParams) == before
    assert pixels.shape == (870, 930, 3)


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


def test_a_comparison_counts_whole_epochs_and_its_legend_covers_no_line(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(plots, "write_figure", lambda figure, path: kept.append(figure))
    found = {"test_accuracy": {"values": [0.8, 0.9], "mean": 0.85}, "histories": [HISTORY[:2]] * 2}
    plots.plot_comparison({"v1": found, "v2_glove": found}, tmp_path / "picture.png")
    (figure,) = kept
    figure.draw_without_rendering()
    left, right = figure.axes
    assert left.get_title() == "test reviews"
    assert all(float(place).is_integer() for place in right.get_xticks())
    (legend,) = figure.legends
    assert not legend.get_window_extent().overlaps(right.get_tightbbox())
