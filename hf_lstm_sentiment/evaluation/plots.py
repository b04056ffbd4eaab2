"""Plots of trainings, of their errors and of comparisons: PNG files, about 1000 pixels wide.

Every function writes one file, makes the directories above it and returns its path; `title` says which model, and
which reviews. Matplotlib is imported when a plot is drawn, and not through pyplot: nothing global changes, and no
window system is needed.
"""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..model.configuration_sentiment_lstm import NEGATIVE, POSITIVE
from ..utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, SKY, TICK_SIZE, new_figure, style, write_figure
from .calibration import calibration_bins, certainty
from .errors import Group, ScoredReviews, WordOdds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DRAWN_LABELS = 20
"""Labels that fit a readable confusion matrix."""

_BINS = 40
_COLORS = (GREY, SKY, BLUE, ORANGE, "#009E73", "#CC79A7")
_CORRECT = "reviews classified correctly, %"
_HALF: dict[str, Any] = {"color": GREY, "linewidth": 1, "linestyle": ":"}


def plot_training_curves(
    history: Sequence[Mapping[str, float]], path: str | os.PathLike[str], *, title: str, best_epoch: int | None
) -> Path:
    """Draw loss and validation accuracy against the epoch, side by side, and mark the best epoch.

    A mapping per epoch holds "epoch" (its place from 1 if missing), "train_loss" (mean over the epoch),
    "validation_loss" and "validation_accuracy" (a fraction). A value that is missing, infinite or NaN is left out.
    """
    train_loss = _series(history, "train_loss")
    validation_loss = _series(history, "validation_loss")
    accuracy = {epoch: 100 * y for epoch, y in _series(history, "validation_accuracy").items()}
    epochs = sorted({*train_loss, *validation_loss, *accuracy})
    if not epochs:
        keys = "train_loss, validation_loss or validation_accuracy"
        raise ValueError(f"nothing to draw: no finite {keys} in {len(history)} epochs")
    if best_epoch is not None and best_epoch not in epochs:
        raise ValueError(f"best_epoch is {best_epoch}; allowed: None or one of {epochs}")
    figure = new_figure(8, 4.6, title)
    left, right = figure.subplots(1, 2)
    style(left, "Loss", "epoch", "cross-entropy per review, nats")
    style(right, "Validation accuracy", "epoch", _CORRECT)
    _draw_curve(left, train_loss, ORANGE, "o", "training, mean over the epoch")
    _draw_curve(left, validation_loss, BLUE, "s", "validation, after the epoch")
    _draw_curve(right, accuracy, BLUE, "s", "validation, after the epoch")
    best = f"best epoch: {best_epoch}"
    best_accuracy = f"{best} ({accuracy[best_epoch]:.2f} %)" if best_epoch in accuracy else best
    for axes, label in ((left, best), (right, best_accuracy)):
        axes.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.ticklabel_format(axis="y", useOffset=False)
        if not axes.lines:
            axes.set_yticks([])
            place = {"transform": axes.transAxes, "ha": "center"}
            axes.text(0.5, 0.5, "not measured", color=GREY, fontsize=LABEL_SIZE, **place)
            continue
        if best_epoch is not None:
            axes.axvline(best_epoch, label=label, color=GREY, linestyle="--", linewidth=1.4, zorder=1.5)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=TICK_SIZE, frameon=False)
    return write_figure(figure, path)


def plot_confusion_matrix(
    confusion: Mapping[str, int] | Sequence[Sequence[int]],
    path: str | os.PathLike[str],
    *,
    title: str,
    names: Sequence[str] = (NEGATIVE, POSITIVE),
) -> Path:
    """Draw how many reviews of each label were predicted to have which.

    A cell shows the count and, of few labels, its share of the row, which also gives the color. Of more labels than
    :data:`DRAWN_LABELS`, those with the most reviews are drawn, and the plot says how many are not.

    Args:
        confusion: As `evaluate_logits` returns it: four counts, or a row of counts for each label.
        path: File to write.
        title: Which model, and which reviews.
        names: The names of the labels, in their order.
    """
    keys = ("tn", "fp", "fn", "tp")
    if isinstance(confusion, Mapping):
        counts = np.array([confusion.get(key, -1) for key in keys]).reshape(2, 2)
    else:
        counts = np.array(confusion)
    if counts.shape != (len(names), len(names)) or (counts < 0).any():
        shown = dict(confusion) if isinstance(confusion, Mapping) else f"of shape {counts.shape}"
        allowed = f"{keys}" if len(names) == 2 else f"each of {len(names)} labels, in as many rows"
        raise ValueError(f"confusion is {shown}; allowed: counts of at least 0 for {allowed}")
    rows = counts.sum(axis=1)
    drawn = np.sort(np.argsort(-rows, kind="stable")[:DRAWN_LABELS])
    many, few = len(drawn) > 2, len(drawn) <= 6
    figure = new_figure(max(6.2, 3.6 + 0.43 * len(drawn)), max(5.8, 3 + 0.43 * len(drawn)), title)
    from matplotlib.colors import LinearSegmentedColormap

    shares = (counts / np.maximum(rows[:, None], 1))[np.ix_(drawn, drawn)]
    colors = LinearSegmentedColormap.from_list("share", ["#F2F7FB", "#00436B"])
    axes = figure.subplots()
    reviews = int(counts.sum())
    correct = f", {100 * counts.trace() / reviews:.2f} % classified correctly" if reviews else ""
    left_out = len(names) - len(drawn)
    beyond = f"\nthe {len(drawn)} of {len(names)} labels with the most reviews; {left_out} more are not drawn"
    style(axes, f"{reviews:,} reviews{correct}{beyond if left_out else ''}", "predicted", "actual")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.imshow(shares, cmap=colors, vmin=0, vmax=1, interpolation="nearest")
    for edge in np.arange(1, len(drawn)) - 0.5:
        axes.axhline(edge, color="white", linewidth=1 if many else 4)
        axes.axvline(edge, color="white", linewidth=1 if many else 4)
    ticks = [textwrap.shorten(names[label], 24, placeholder="…") or names[label][:24] for label in drawn]
    plain: dict[str, Any] = {"parse_math": False}
    upright = many and max(map(len, ticks)) > 3
    axes.set_xticks(range(len(drawn)), ticks, rotation=90 if upright else 0, **plain)
    axes.set_yticks(range(len(drawn)), ticks, rotation=0 if many else 90, va="center", **plain)
    axes.tick_params(length=0)
    for row, column in np.ndindex(shares.shape):
        number = int(counts[drawn[row], drawn[column]])
        share = 100 * shares[row, column]
        looks: dict[str, Any] = {"ha": "center", "va": "center", "color": _readable_on(colors(shares[row, column]))}
        if not many:
            of = f"{share:.1f} % of" if rows[row] else "no"
            axes.text(column, row - 0.06, f"{number:,}", fontsize=24, **looks)
            axes.text(column, row + 0.13, f"{of} actual {ticks[row]}", fontsize=LABEL_SIZE, **looks, **plain)
        elif number:
            axes.text(column, row, f"{number:,}\n{share:.0f} %" if few else f"{number:,}", fontsize=8, **looks)
    return write_figure(figure, path)


def plot_coverage(coverage: Sequence[Mapping[str, float]], path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw accuracy against coverage: what is gained where the least sure answers are left out.

    Args:
        coverage: As `measure_coverage` returns it, at least one row.
        path: File to write.
        title: Which model, and which reviews.
    """
    if not coverage:
        raise ValueError("coverage has no rows; pass those of measure_coverage")
    rows = sorted(coverage, key=lambda row: row["rejected"])
    covered, accuracy = [100 * (1 - row["rejected"]) for row in rows], [100 * row["accuracy"] for row in rows]
    figure = new_figure(7.2, 4.8, title)
    axes = figure.subplots()
    style(axes, "the least sure reviews get no answer", "reviews that get an answer, %", _CORRECT)
    axes.plot(covered, accuracy, color=BLUE, marker="o", linewidth=2)
    for x, y, row in zip(covered, accuracy, rows, strict=True):
        least = f"\n({row['unsure_below']:.2f})" if "unsure_below" in row else ""
        axes.annotate(f"{y:.1f} %{least}", (x, y), (0, 9), textcoords="offset points", ha="center", fontsize=TICK_SIZE)
    axes.margins(0.12, 0.3)
    axes.invert_xaxis()
    figure.supxlabel("in brackets: the least probability of the label that is answered", fontsize=TICK_SIZE)
    return write_figure(figure, path)


def plot_reliability_diagram(
    probabilities: ArrayLike, labels: ArrayLike, path: str | os.PathLike[str], *, title: str, bins: int = 15
) -> Path:
    """Draw how often the classifier is right, against how sure it is.

    Above, a bar per bin of confidence: the fraction of its reviews that is classified correctly, and a line at their
    mean confidence. A bar below its line means too sure. Underneath, the share of the reviews in each bin; the
    distances between bar and line, weighted so, add up to the expected calibration error. Figure 1 of Guo, Pleiss, Sun
    and Weinberger (2017), https://arxiv.org/abs/1706.04599. Arguments as for :func:`calibration_bins`.
    """
    calibration = calibration_bins(probabilities, labels, bins=bins)
    figure = new_figure(6.4, 7, title)
    filled = calibration.counts > 0
    lower, upper = calibration.edges[:-1][filled], calibration.edges[1:][filled]
    accuracy, confidence = calibration.accuracy[filled], calibration.confidence[filled]
    reviews = int(calibration.counts.sum())
    shares = calibration.counts[filled] / reviews
    start = min(0.5, lower[0])
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    means = f"accuracy {shares @ accuracy:.3f}, mean confidence {shares @ confidence:.3f}"
    style(top, f"{reviews:,} reviews: {means}", "", "accuracy")
    style(bottom, "", "confidence: probability of the predicted label", "share of reviews")
    bars = {"width": upper - lower, "align": "edge", "color": SKY, "edgecolor": "white"}
    handles = [
        top.bar(lower, accuracy, label="accuracy", **bars),
        top.hlines(confidence, lower, upper, color=ORANGE, linewidth=3, label="mean confidence"),
        *top.plot([start, 1], [start, 1], color="black", linestyle="--", label="calibrated"),
    ]
    bottom.bar(lower, shares, **bars)
    top.set_xlim(start, 1)
    top.set_ylim(0, 1)
    figure.legend(
        handles=handles,
        title=f"expected calibration error: {calibration.expected_calibration_error:.3f}",
        title_fontsize=LABEL_SIZE,
        fontsize=LABEL_SIZE,
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    return write_figure(figure, path)


def plot_groups(groups: Mapping[str, Sequence[Group]], path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw the accuracy of groups of reviews with its 95 % interval, a panel for each way to group them."""
    rows = max(map(len, groups.values()))
    figure = new_figure(8, 1.8 + 0.62 * rows, title)
    lowest = min(group.low for panel in groups.values() for group in panel)
    whole = next(iter(groups.values()))
    mean = 100 * sum(g.correct for g in whole) / sum(g.reviews for g in whole)
    columns = figure.subplots(2, 2, sharex=True, height_ratios=(rows, 3)).flat
    for axes, (name, panel) in zip(columns, groups.items(), strict=False):
        style(axes, name, "", "")
        places = np.arange(len(panel))
        accuracy = np.array([100 * group.accuracy for group in panel])
        reach = [accuracy - [100 * g.low for g in panel], [100 * g.high for g in panel] - accuracy]
        axes.errorbar(accuracy, places, xerr=reach, fmt="o", color=BLUE, capsize=3, markersize=6)
        axes.axvline(mean, color=GREY, linestyle="--", linewidth=1.2)
        axes.set_yticks(places, [f"{g.name}\n{g.reviews:,} reviews" for g in panel], fontsize=TICK_SIZE)
        axes.set_ylim(len(panel) - 0.5, -0.5)
        axes.set_xlim(max(0.0, 100 * lowest - 2), 100)
        axes.grid(axis="y", visible=False)
    figure.supxlabel(f"{_CORRECT} (line: 95 % interval; dashed: all reviews, {mean:.1f} %)", fontsize=LABEL_SIZE)
    return write_figure(figure, path)


def plot_confidences(scored: ScoredReviews, path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw how probabilities spread over the reviews, errors in another color.

    Of two labels, those of the second one for the reviews of either; of more, those of the predicted label for all.
    """
    figure = new_figure(8, 5.2, title)
    edges = np.linspace(0, 1, _BINS + 1)
    if len(scored.names) == 2:
        shown, of = scored.probabilities, scored.names[1]
        panels = [(scored.labels == i, f"{scored.names[i]} reviews", kind) for kind, i in scored.kinds.items()]
    else:
        shown, of = certainty(scored.probabilities), "the predicted label"
        panels = [(np.ones(len(scored), bool), "reviews", "misclassified")]
    drawn = figure.subplots(len(panels), 1, sharex=True, squeeze=False).flat
    for axes, (chosen, name, wrong) in zip(drawn, panels, strict=True):
        right = np.histogram(shown[chosen & scored.correct], edges)[0]
        errors = np.histogram(shown[chosen & ~scored.correct], edges)[0]
        style(axes, f"{chosen.sum():,} {name}", f"probability of {of}" if chosen is panels[-1][0] else "", "reviews")
        widths = {"width": 1 / _BINS, "align": "edge", "edgecolor": "white", "linewidth": 0.4}
        axes.bar(edges[:-1], right, color=SKY, label=f"correct: {right.sum():,}", **widths)
        axes.bar(edges[:-1], errors, color=ORANGE, label=f"{wrong}: {errors.sum():,}", **widths)
        # Most reviews lie at the ends, and the errors would vanish beside them.
        axes.set_yscale("symlog", linthresh=10)
        axes.set_xlim(0, 1)
        # Of several labels, no predicted one is improbable.
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="upper center" if len(panels) > 1 else "upper left")
    return write_figure(figure, path)


def plot_error_words(words: Mapping[str, Sequence[WordOdds]], path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw the words that mark errors, the strongest first, a panel for each kind of error."""
    figure = new_figure(max(8, 3 * len(words)), 1.6 + 0.3 * max(map(len, words.values())), title)
    for axes, (name, found) in zip(figure.subplots(1, len(words), squeeze=False).flat, words.items(), strict=True):
        style(axes, name, "log-odds in standard deviations", "")
        axes.barh(range(len(found)), [word.z for word in found], color=ORANGE)
        axes.set_yticks(range(len(found)), [word.word for word in found], fontsize=TICK_SIZE)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
    return write_figure(figure, path)


def plot_comparison(
    presets: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str], *, chance: float = 0.5
) -> Path:
    """Draw the test accuracy of every seed with the mean of its preset, and the learning curves beside it."""
    figure = new_figure(10, 4.6, "Test accuracy by seed, and how validation accuracy grew")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    style(left, "test reviews, official split", "", _CORRECT)
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
    left.axhline(100 * chance, **_HALF)
    right.axhline(100 * chance, **_HALF)
    right.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right", title="a line per seed")
    return write_figure(figure, path)


def plot_padding(found: Mapping[str, Any], path: str | os.PathLike[str], *, names: Sequence[str]) -> Path:
    """Draw what `measure_padding` found of the preset that reads its padding, and of the one that does not."""
    figure = new_figure(10, 7.6, "What padding does to a network that reads it as if it were words")
    (fade, gradient), (accuracy, curve) = figure.subplots(2, 2)
    steps, looks = found["steps"], (("naive", ORANGE, "o"), ("packed", BLUE, "s"))
    signal = f"signal left in the final state, {found['reviews']:,} test reviews"
    style(fade, signal, "steps of padding read", "area under the ROC curve")
    for (kind, color, marker), name in zip(looks, names, strict=True):
        fade.plot(steps, found["roc_auc"][kind], color=color, marker=marker, linewidth=2, label=f"weights of {name}")
    fade.axhline(0.5, **_HALF)
    fade.legend(fontsize=TICK_SIZE, frameon=False)
    style(gradient, "what reaches the last word, untrained weights", "steps of padding read", "gradient, relative")
    # Where nothing of it is left, there is no logarithm to draw.
    left = [(step, value) for step, value in zip(steps, found["gradient"], strict=True) if value > 0]
    gradient.plot(*zip(*left, strict=True), color=GREY, marker="o", linewidth=2)
    gradient.set_xlim(fade.get_xlim())
    gradient.set_yscale("log")
    behind, up_to = "test reviews by the padding behind them", "steps of padding up to the full length"
    style(accuracy, behind, up_to, "classified correctly, %")
    for offset, (kind, color, marker), name in zip((-0.1, 0.1), looks, names, strict=True):
        rows = found["accuracy"][kind]
        middle = np.array([100 * row["accuracy"] for row in rows])
        reach = [middle - [100 * row["low"] for row in rows], [100 * row["high"] for row in rows] - middle]
        places = np.arange(len(rows)) + offset
        accuracy.errorbar(places, middle, yerr=reach, fmt=marker, color=color, capsize=3, label=name)
    labels = [f"{row['padding'].replace(' to ', '-')}\n{row['reviews']:,}" for row in found["accuracy"]["naive"]]
    accuracy.set_xticks(range(len(labels)), labels, fontsize=TICK_SIZE - 1)
    accuracy.axhline(50, **_HALF)
    accuracy.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.02), ncols=2)
    curve.axis("off")
    lines = (
        "How to read it\n",
        "Top left: after the review, so many steps of padding are",
        "read; the logit is judged by how well it still ranks",
        "positive above negative reviews (0.5: not at all).\n",
        "Top right: before any training, how strongly the loss can",
        "pull on the last word through the padding behind it",
        "(no point: not at all).\n",
        f"Bottom left: {names[0]} and {names[1]} on real test reviews,",
        "with 95 % intervals; below each group its reviews.",
    )
    curve.text(0.0, 0.95, "\n".join(lines), va="top", fontsize=LABEL_SIZE)
    return write_figure(figure, path)


def _series(history: Sequence[Mapping[str, float]], key: str) -> dict[float, float]:
    return {
        entry.get("epoch", place): entry[key]
        for place, entry in enumerate(history, start=1)
        if key in entry and math.isfinite(entry[key])
    }


def _draw_curve(axes: Axes, curve: Mapping[float, float], color: str, marker: str, label: str) -> None:
    if curve:
        epochs = sorted(curve)
        axes.plot(epochs, [curve[epoch] for epoch in epochs], color=color, marker=marker, linewidth=2, label=label)


def _readable_on(color: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the higher contrast on a color.

    The relative luminance and the contrast are those of WCAG 2, https://www.w3.org/TR/WCAG21/.
    """
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in color[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
