"""Pictures of a training run and of its result: PNG files, about 1000 pixels wide.

Matplotlib is imported when a picture is drawn, and not through pyplot: nothing global changes, and
no window system is needed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ..utils.figures import (
    BLUE,
    GREY,
    LABEL_SIZE,
    ORANGE,
    SKY,
    TICK_SIZE,
    new_figure,
    style,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_training_curves(
    history: Sequence[Mapping[str, float]],
    path: str | os.PathLike[str],
    *,
    title: str,
    best_epoch: int | None,
) -> Path:
    """Draw loss and validation accuracy against the epoch, side by side.

    Args:
        history: One mapping per epoch with "epoch" (its place in the sequence, from 1, if missing),
            "train_loss" (mean over the epoch), "validation_loss" and "validation_accuracy" (a
            fraction). A value that is missing, infinite or NaN is left out.
        path: File to write; directories above it are created.
        title: Says what was trained, and on how many reviews.
        best_epoch: Epoch to mark, usually the one whose weights were kept; None marks none.

    Returns:
        The path of the picture.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        ValueError: There is nothing to draw, or `best_epoch` is not among the epochs drawn.
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
    style(right, "Validation accuracy", "epoch", "reviews labelled correctly, %")
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
            axes.text(
                0.5,
                0.5,
                "not measured",
                transform=axes.transAxes,
                ha="center",
                color=GREY,
                fontsize=LABEL_SIZE,
            )
            continue
        if best_epoch is not None:
            line = {"color": GREY, "linestyle": "--", "linewidth": 1.4, "zorder": 1.5}
            axes.axvline(best_epoch, label=label, **line)
        axes.legend(
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            fontsize=TICK_SIZE,
            frameon=False,
        )
    return write_figure(figure, path)


def plot_confusion_matrix(
    confusion: Mapping[str, int],
    path: str | os.PathLike[str],
    *,
    title: str,
) -> Path:
    """Draw how many reviews of each label were predicted to have which.

    A cell shows the count and its share of the row, which also gives the colour.

    Args:
        confusion: Counts of reviews, "tn", "fp", "fn" and "tp", where "p" is POSITIVE.
        path: File to write; directories above it are created.
        title: Says which model, and which reviews.

    Returns:
        The path of the picture.

    Raises:
        ModuleNotFoundError: Matplotlib is not installed.
        ValueError: A count is missing or negative.
    """
    keys = ("tn", "fp", "fn", "tp")
    if not all(confusion.get(key, -1) >= 0 for key in keys):
        counts_given = dict(confusion)
        raise ValueError(f"confusion is {counts_given}; allowed: counts of at least 0 for {keys}")
    figure = new_figure(6.2, 5.8, title)
    from matplotlib.colors import LinearSegmentedColormap

    counts = np.array([confusion[key] for key in keys]).reshape(2, 2)
    rows = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(rows, 1)
    colours = LinearSegmentedColormap.from_list("share", ["#F2F7FB", "#00436B"])
    names = ("NEGATIVE", "POSITIVE")

    axes = figure.subplots()
    reviews = int(counts.sum())
    correct = f", {_percent(counts.trace() / reviews, 2)} labelled correctly" if reviews else ""
    style(axes, f"{reviews:,} reviews{correct}", "predicted", "actual")
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.imshow(shares, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    axes.axhline(0.5, color="white", linewidth=4)
    axes.axvline(0.5, color="white", linewidth=4)
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], names, rotation=90, va="center")
    axes.tick_params(length=0)
    for row, column in np.ndindex(2, 2):
        colour = _readable_on(colours(shares[row, column]))
        share = f"{_percent(shares[row, column], 1)} of" if rows[row, 0] else "no"
        texts = (
            (-0.06, f"{counts[row, column]:,}", 24),
            (0.13, f"{share} actual {names[row]}", LABEL_SIZE),
        )
        for offset, text, size in texts:
            axes.text(
                column,
                row + offset,
                text,
                ha="center",
                va="center",
                color=colour,
                fontsize=size,
            )
    return write_figure(figure, path)


def plot_reliability_diagram(
    probabilities: ArrayLike,
    labels: ArrayLike,
    path: str | os.PathLike[str],
    *,
    title: str,
    bins: int = 15,
) -> Path:
    """Draw how often the classifier is right, against how sure it is.

    Above, a bar per bin of confidence: the fraction of its reviews that is labelled correctly, and
    a line at their mean confidence. A bar below its line means too sure. Underneath, the share of
    the reviews in each bin; the distances between bar and line, weighted so, add up to the expected
    calibration error.

    Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural Networks", figure 1,
    https://arxiv.org/abs/1706.04599.

    Args:
        probabilities: Probability of POSITIVE per review. *Shape:* (n,)
        labels: 0 or 1 per review. *Shape:* (n,)
        path: File to write; directories above it are created.
        title: Says which model, and which reviews.
        bins: Bins of equal width from 0 to 1; the confidence is never below 0.5.

    Returns:
        The path of the picture.

    Raises:
        ModuleNotFoundError: Matplotlib or what the metrics need is not installed.
        ValueError: Values that `metrics.calibration_bins` refuses.
    """
    # Here and not above because it brings `evaluate` along, which takes seconds to import.
    from .calibration import calibration_bins

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


def _series(history: Sequence[Mapping[str, float]], key: str) -> dict[float, float]:
    return {
        entry.get("epoch", place): entry[key]
        for place, entry in enumerate(history, start=1)
        if key in entry and math.isfinite(entry[key])
    }


def _draw_curve(
    axes: Axes,
    curve: Mapping[float, float],
    colour: str,
    marker: str,
    label: str,
) -> None:
    if curve:
        epochs = sorted(curve)
        values = [curve[epoch] for epoch in epochs]
        axes.plot(epochs, values, color=colour, marker=marker, linewidth=2, label=label)


def _percent(fraction: float, digits: int) -> str:
    return f"{100 * fraction:.{digits}f} %"


def _readable_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has the higher contrast on a colour.

    The relative luminance and the contrast are those of WCAG 2, https://www.w3.org/TR/WCAG21/.
    """
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"
