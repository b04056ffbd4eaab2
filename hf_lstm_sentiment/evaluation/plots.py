"""Plots of trainings, of their errors and of comparisons: PNG files, about 1000 pixels wide.

Every function writes one file, makes the directories above it and returns its path; `title` says which model, and
which reviews. Matplotlib is imported when a plot is drawn, and not through pyplot: nothing global changes, and no
window system is needed.
"""

import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inference.explanation import shorten
from ..utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, SKY, TICK_SIZE, new_figure, style, write_figure
from .calibration import calibration_bins, certainty
from .errors import Row, ScoredReviews

DRAWN_LABELS = 20
"""Labels that fit a readable confusion matrix."""

_COLORS = (GREY, SKY, BLUE, ORANGE, "#009E73", "#CC79A7")
_CORRECT = "reviews classified correctly, %"


def plot_training_curves(history: Sequence[Mapping[str, float]], path: Path, *, title: str, best_epoch: float) -> Path:
    """Draw the losses and the validation accuracy of each epoch, as far as measured, side by side; mark the best."""
    figure = new_figure(8, 4.6, title)
    left, right = figure.subplots(1, 2)
    style(left, "Loss", "epoch", "cross-entropy per review, nats")
    style(right, "Validation accuracy", "epoch", _CORRECT)
    of_training = {"color": ORANGE, "marker": "o", "linewidth": 2, "label": "training, mean over the epoch"}
    of_validation = {"color": BLUE, "marker": "s", "linewidth": 2, "label": "validation, after the epoch"}
    for axes, key, scale, looks in (
        (left, "train_loss", 1, of_training),
        (left, "validation_loss", 1, of_validation),
        (right, "validation_accuracy", 100, of_validation),
    ):
        if curve := [(row["epoch"], scale * row[key]) for row in history if key in row]:
            axes.plot(*zip(*curve, strict=True), **looks)
    best = f"best epoch: {best_epoch}"
    accuracy = next(100 * row["validation_accuracy"] for row in history if row["epoch"] == best_epoch)
    for axes, label in ((left, best), (right, f"{best} ({accuracy:.2f} %)")):
        axes.set_xlim(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.axvline(best_epoch, label=label, color=GREY, linestyle="--", linewidth=1.4, zorder=1.5)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=TICK_SIZE, frameon=False)
    return write_figure(figure, path)


def plot_confusion_matrix(
    confusion: Mapping[str, int] | Sequence[Sequence[int]], path: Path, *, title: str, names: Sequence[str]
) -> Path:
    """Draw how many reviews of each label were predicted to have which, as `evaluate_logits` counts them.

    A cell shows the count and, of few labels, its share of the row, which also gives the color. Of more labels than
    :data:`DRAWN_LABELS`, those with the most reviews are drawn, and the plot says how many are not.
    """
    if isinstance(confusion, Mapping):
        confusion = [[confusion["tn"], confusion["fp"]], [confusion["fn"], confusion["tp"]]]
    counts = np.array(confusion)
    rows, reviews = counts.sum(axis=1), int(counts.sum())
    drawn = np.sort(np.argsort(-rows, kind="stable")[:DRAWN_LABELS])
    shares = (counts / np.maximum(rows[:, None], 1))[np.ix_(drawn, drawn)]
    many, few, size = len(drawn) > 2, len(drawn) <= 6, 0.43 * len(drawn)
    figure = new_figure(max(6.2, 3.6 + size), max(5.8, 3 + size), title)
    axes = figure.subplots()
    correct = f", {100 * counts.trace() / reviews:.2f} % classified correctly" if reviews else ""
    left_out = len(names) - len(drawn)
    beyond = f"\nthe {len(drawn)} of {len(names)} labels with the most reviews; {left_out} more are not drawn"
    unit = "\n(per cent: of the reviews that actually have the label)"
    style(
        axes, f"{reviews:,} reviews{correct}{beyond if left_out else ''}", f"predicted{unit if few else ''}", "actual"
    )
    axes.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1 if many else 4)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    ticks = [textwrap.shorten(names[label], 24, placeholder="…") or names[label][:24] for label in drawn]
    places, upright = np.arange(len(drawn)) + 0.5, many and max(map(len, ticks)) > 3
    axes.set_xticks(places, ticks, rotation=90 if upright else 0, parse_math=False)
    axes.set_yticks(places, ticks, rotation=0 if many else 90, va="center", parse_math=False)
    for row, column in np.ndindex(shares.shape):
        number, share = counts[drawn[row], drawn[column]], shares[row, column]
        if number or few:
            text = f"{number:,}\n{100 * share:.1f} %" if few else f"{number:,}"
            looks: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8 if many else 20}
            axes.text(column + 0.5, row + 0.5, text, color="white" if share > 0.7 else "black", **looks)
    return write_figure(figure, path)


def plot_coverage(rows: Sequence[Mapping[str, float]], path: Path, *, title: str) -> Path:
    """Draw, of what `measure_coverage` returns, what is gained where the least sure answers are left out."""
    covered, accuracy = [100 * (1 - row["rejected"]) for row in rows], [100 * row["accuracy"] for row in rows]
    figure = new_figure(7.2, 4.8, title)
    axes = figure.subplots()
    style(axes, "the least sure reviews get no answer", "reviews that get an answer, %", _CORRECT)
    axes.plot(covered, accuracy, color=BLUE, marker="o", linewidth=2)
    for x, y, row in zip(covered, accuracy, rows, strict=True):
        text = f"{y:.1f} %\n({row['unsure_below']:.2f})"
        axes.annotate(text, (x, y), (0, 9), textcoords="offset points", ha="center", fontsize=TICK_SIZE)
    axes.margins(0.12, 0.3)
    axes.invert_xaxis()
    figure.supxlabel("in brackets: the least probability of the label that is answered", fontsize=TICK_SIZE)
    return write_figure(figure, path)


def plot_reliability_diagram(
    probabilities: NDArray[np.float64], labels: NDArray[np.int64], path: Path, *, title: str
) -> Path:
    """Draw how often the classifier is right, against how sure it is.

    Above, a bar per bin of confidence: the fraction of its reviews that is classified correctly, and a line at their
    mean confidence. A bar below its line means too sure. Underneath, the share of the reviews in each bin; the
    distances between bar and line, weighted so, add up to the expected calibration error. Figure 1 of Guo, Pleiss, Sun
    and Weinberger (2017), https://arxiv.org/abs/1706.04599.
    """
    bins = calibration_bins(probabilities, labels)
    figure = new_figure(6.4, 7, title)
    start = min(0.5, bins.lower[0])
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    means = f"accuracy {bins.share @ bins.accuracy:.3f}, mean confidence {bins.share @ bins.confidence:.3f}"
    style(top, f"{len(labels):,} reviews: {means}", "", "accuracy")
    style(bottom, "", "confidence: probability of the predicted label", "share of reviews")
    bars = {"width": bins.upper - bins.lower, "align": "edge", "color": SKY, "edgecolor": "white"}
    handles = [
        top.bar(bins.lower, bins.accuracy, label="accuracy", **bars),
        top.hlines(bins.confidence, bins.lower, bins.upper, color=ORANGE, linewidth=3, label="mean confidence"),
        *top.plot([start, 1], [start, 1], color="black", linestyle="--", label="calibrated"),
    ]
    bottom.bar(bins.lower, bins.share, **bars)
    top.set_xlim(start, 1)
    top.set_ylim(0, 1)
    figure.legend(
        handles=handles,
        title=f"expected calibration error: {bins.expected_calibration_error:.3f}",
        title_fontsize=LABEL_SIZE,
        fontsize=LABEL_SIZE,
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return write_figure(figure, path)


def plot_confidences(scored: ScoredReviews, path: Path, *, title: str) -> Path:
    """Draw how sure the classifier is of the reviews of either of two labels, or of all, and of its errors."""
    of_label = scored.kinds.items() if len(scored.names) == 2 else [("misclassified", -1)]
    figure = new_figure(8, 5.2, title)
    panels = figure.subplots(len(of_label), sharex=True, squeeze=False).flat
    for axes, (kind, label) in zip(panels, of_label, strict=True):
        chosen = scored.labels == label if label >= 0 else np.ones(len(scored.labels), bool)
        of = f"{scored.names[label]} " if label >= 0 else ""
        style(axes, f"{chosen.sum():,} {of}reviews", "", "reviews")
        # Errors are narrower, so that the correct ones are seen beside them where most are wrong.
        bars = (("correct", scored.correct, SKY, 0.025), (kind, ~scored.correct, ORANGE, 0.012))
        for name, mask, color, width in bars:
            counts, edges = np.histogram(certainty(scored.probabilities)[chosen & mask], 40, (0, 1))
            axes.bar(edges[:-1], counts, width, align="edge", color=color, label=f"{name}: {counts.sum():,}")
        # Most reviews are classified with confidence, and the errors would vanish beside them.
        axes.set_yscale("symlog", linthresh=10)
        axes.margins(y=0.3)
        axes.set_xlim(0.5 if len(scored.names) == 2 else 0, 1)
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left")
    figure.supxlabel("confidence: probability of the predicted label", fontsize=LABEL_SIZE)
    return write_figure(figure, path)


def plot_rows(panels: Mapping[str, Sequence[Row]], path: Path, *, title: str, accuracy: float | None = None) -> Path:
    """Draw the accuracy of groups with its 95 % interval and that of all, or, without it, how words mark errors.

    Args:
        panels: Rows of `accuracy_by_group` or of `error_words` by their title.
        path: The file to write.
        title: What the rows are of.
        accuracy: That of all reviews, a dashed line.
    """
    lines = [max(map(len, pair)) for pair in zip_longest(*[iter(panels.values())] * 2, fillvalue=())]
    figure = new_figure(9, max(4, 1.2 + sum(0.6 + 0.34 * count for count in lines)), title)
    drawn = figure.subplots(len(lines), 2, sharex=True, squeeze=False, height_ratios=[1.5 + n for n in lines]).flat
    for axes in drawn[len(panels) :]:
        axes.remove()
    for axes, (name, rows) in zip(drawn, panels.items(), strict=False):
        style(axes, textwrap.fill(name, 30), "", "")
        places, names = range(len(rows)), [shorten(row["word"], 24) for row in rows if accuracy is None]
        if accuracy is None:
            axes.barh(places, [row["z"] for row in rows], color=ORANGE)
        else:
            names = [f"{shorten(row['name'], 24)} ({row['reviews']:,})" for row in rows]
            low, shares, high = (100 * np.array([row[key] for row in rows]) for key in ("low", "accuracy", "high"))
            axes.errorbar(shares, places, xerr=[shares - low, high - shares], fmt="o", color=BLUE, capsize=3)
            axes.axvline(100 * accuracy, color=GREY, linestyle="--", linewidth=1.2)
        axes.set_yticks(places, names, parse_math=False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(labelbottom=True)
        axes.grid(axis="y", visible=False)
    of_groups = f"{_CORRECT} (line: 95 % interval; dashed: all reviews, {100 * (accuracy or 0):.1f} %)"
    figure.supxlabel("log-odds in standard deviations" if accuracy is None else of_groups, fontsize=LABEL_SIZE)
    return write_figure(figure, path)


def plot_comparison(presets: Mapping[str, Mapping[str, Any]], path: Path, *, chance: float = 0.5) -> Path:
    """Draw the test accuracy of every seed with the mean of its preset, and the learning curves beside it."""
    figure = new_figure(10, 4.6, "Test accuracy by seed, and how validation accuracy grew")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    style(left, "test reviews", "", _CORRECT)
    style(right, "validation reviews", "epoch", _CORRECT)
    for place, ((name, found), color) in enumerate(zip(presets.items(), cycle(_COLORS))):
        values = [100 * value for value in found["test_accuracy"]["values"]]
        mean = 100 * found["test_accuracy"]["mean"]
        left.plot([place] * len(values), values, "o", color=color, markersize=7, alpha=0.75)
        left.hlines(mean, place - 0.3, place + 0.3, color=color, linewidth=2.5)
        left.annotate(f"{mean:.1f}", (place + 0.34, mean), fontsize=TICK_SIZE, va="center", ha="left", color="black")
        for number, history in enumerate(found["histories"]):
            curve = [(row["epoch"], 100 * row["validation_accuracy"]) for row in history]
            right.plot(*zip(*curve, strict=True), color=color, linewidth=1.6, label=name if number == 0 else None)
    left.set_xticks(range(len(presets)), [name.replace("_", "\n", 1) for name in presets], fontsize=TICK_SIZE)
    left.set_xlim(-0.6, len(presets) - 0.2)
    for axes in (left, right):
        axes.axhline(100 * chance, color=GREY, linewidth=1, linestyle=":")
    right.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    figure.legend(fontsize=TICK_SIZE, frameon=False, loc="outside lower right", ncols=4, title="a line per seed")
    return write_figure(figure, path)
