"""Pictures of what a classifier gets wrong: by group, by confidence, by word."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, SKY, TICK_SIZE, new_figure, style, write_figure
from .errors import Group, WordOdds
from .scored import ScoredReviews

_BINS = 40


def plot_groups(groups: Mapping[str, Sequence[Group]], path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw the accuracy of groups of reviews with its 95 % interval, a panel for each way to group them.

    Args:
        groups: For each way to group, what it says and its groups.
        path: File to write; directories above it are created.
        title: Says which model, and which reviews.

    Returns:
        The path of the picture.
    """
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
    figure.supxlabel(
        f"reviews labelled correctly, % (line: 95 % interval; dashed: all reviews, {mean:.1f} %)", fontsize=LABEL_SIZE
    )
    return write_figure(figure, path)


def plot_confidences(scored: ScoredReviews, path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw how the probabilities of POSITIVE spread over the reviews of either label, errors in another colour.

    Args:
        scored: The reviews.
        path: File to write; directories above it are created.
        title: Says which model, and which reviews.

    Returns:
        The path of the picture.
    """
    figure = new_figure(8, 5.2, title)
    edges = np.linspace(0, 1, _BINS + 1)
    panels = ((0, "NEGATIVE reviews", "false positives"), (1, "POSITIVE reviews", "false negatives"))
    for axes, (label, name, wrong) in zip(figure.subplots(2, 1, sharex=True), panels, strict=True):
        chosen = scored.labels == label
        right = np.histogram(scored.probabilities[chosen & scored.correct], edges)[0]
        errors = np.histogram(scored.probabilities[chosen & ~scored.correct], edges)[0]
        style(axes, f"{chosen.sum():,} {name}", "probability of POSITIVE" if label else "", "reviews")
        widths = {"width": 1 / _BINS, "align": "edge", "edgecolor": "white", "linewidth": 0.4}
        axes.bar(edges[:-1], right, color=SKY, label=f"right: {right.sum():,}", **widths)
        axes.bar(edges[:-1], errors, color=ORANGE, label=f"{wrong}: {errors.sum():,}", **widths)
        # Most reviews lie at the ends, and the errors would vanish beside them.
        axes.set_yscale("symlog", linthresh=10)
        axes.set_xlim(0, 1)
        axes.legend(fontsize=TICK_SIZE, frameon=False, loc="upper center")
    return write_figure(figure, path)


def plot_error_words(words: Mapping[str, Sequence[WordOdds]], path: str | os.PathLike[str], *, title: str) -> Path:
    """Draw the words that mark errors, a panel for each kind of error.

    Args:
        words: For each kind of error, what it is compared with and its words, the strongest first.
        path: File to write; directories above it are created.
        title: Says which model, and which reviews.

    Returns:
        The path of the picture.
    """
    figure = new_figure(8, 1.6 + 0.3 * max(map(len, words.values())), title)
    for axes, (name, found) in zip(figure.subplots(1, len(words), squeeze=False).flat, words.items(), strict=True):
        style(axes, name, "log-odds in standard deviations", "")
        axes.barh(range(len(found)), [word.z for word in found], color=ORANGE)
        axes.set_yticks(range(len(found)), [word.word for word in found], fontsize=TICK_SIZE)
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
    return write_figure(figure, path)
