"""Pictures of a comparison: accuracies of presets and seeds, learning curves, and what padding does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from ..utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, SKY, TICK_SIZE, new_figure, style, write_figure

_COLOURS = (GREY, SKY, BLUE, ORANGE, "#009E73", "#CC79A7")


def plot_comparison(presets: Mapping[str, Mapping[str, Any]], path: str | os.PathLike[str]) -> Path:
    """Draw the test accuracy of every seed with the mean of its preset, and the learning curves beside it.

    Args:
        presets: "presets" of a `comparison.json`.
        path: File to write; directories above it are created.

    Returns:
        The path of the picture.
    """
    figure = new_figure(10, 4.6, "Test accuracy by seed, and how validation accuracy grew")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    style(left, "test reviews, official split", "", "reviews labelled correctly, %")
    style(right, "validation reviews", "epoch", "reviews labelled correctly, %")
    for place, ((name, found), colour) in enumerate(zip(presets.items(), cycle(_COLOURS))):
        values = [100 * value for value in found["test_accuracy"]["values"]]
        mean = 100 * found["test_accuracy"]["mean"]
        left.plot([place] * len(values), values, "o", color=colour, markersize=7, alpha=0.75)
        left.hlines(mean, place - 0.3, place + 0.3, color=colour, linewidth=2.5)
        left.annotate(f"{mean:.1f}", (place + 0.34, mean), fontsize=TICK_SIZE, va="center", ha="left", color="black")
        for number, history in enumerate(found["histories"]):
            curve = [(row["epoch"], 100 * row["validation_accuracy"]) for row in history]
            right.plot(*zip(*curve, strict=True), color=colour, linewidth=1.6, label=name if number == 0 else None)
    left.set_xticks(range(len(presets)), [name.replace("_", "\n", 1) for name in presets], fontsize=TICK_SIZE)
    left.set_xlim(-0.6, len(presets) - 0.2)
    left.axhline(50, color=GREY, linewidth=1, linestyle=":")
    right.axhline(50, color=GREY, linewidth=1, linestyle=":")
    right.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right", title="a line per seed")
    return write_figure(figure, path)


def plot_padding_lesson(lesson: Mapping[str, Any], path: str | os.PathLike[str], *, names: Sequence[str]) -> Path:
    """Draw what reading padding does to the final state, to the gradient and to the decisions.

    Args:
        lesson: From `padding_lesson`.
        path: File to write; directories above it are created.
        names: Of the preset that reads its padding, and of the one that does not.

    Returns:
        The path of the picture.
    """
    figure = new_figure(10, 7.6, "What padding does to a network that reads it as if it were words")
    (fade, gradient), (accuracy, curve) = figure.subplots(2, 2)
    steps, styles = lesson["steps"], (("naive", ORANGE, "o"), ("packed", BLUE, "s"))
    style(
        fade,
        f"signal left in the final state, {lesson['reviews']:,} test reviews",
        "steps of padding read",
        "area under the ROC curve",
    )
    for (kind, colour, marker), name in zip(styles, names, strict=True):
        fade.plot(steps, lesson["roc_auc"][kind], color=colour, marker=marker, linewidth=2, label=f"weights of {name}")
    fade.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
    fade.legend(fontsize=TICK_SIZE, frameon=False)
    style(gradient, "what reaches the last word, untrained weights", "steps of padding read", "gradient, relative")
    # Where nothing of it is left, there is no logarithm to draw.
    left = [(step, value) for step, value in zip(steps, lesson["gradient"], strict=True) if value > 0]
    gradient.plot(*zip(*left, strict=True), color=GREY, marker="o", linewidth=2)
    gradient.set_xlim(fade.get_xlim())
    gradient.set_yscale("log")
    style(
        accuracy,
        "test reviews by the padding behind them",
        "steps of padding up to the full length",
        "labelled correctly, %",
    )
    for offset, ((kind, colour, marker), name) in zip((-0.1, 0.1), zip(styles, names, strict=True), strict=True):
        rows = lesson["accuracy"][kind]
        accuracy.errorbar(
            [place + offset for place in range(len(rows))],
            [100 * row["accuracy"] for row in rows],
            yerr=[
                [100 * (row["accuracy"] - row["low"]) for row in rows],
                [100 * (row["high"] - row["accuracy"]) for row in rows],
            ],
            fmt=marker,
            color=colour,
            capsize=3,
            label=name,
        )
    labels = [f"{row['padding'].replace(' to ', '-')}\n{row['reviews']:,}" for row in lesson["accuracy"]["naive"]]
    accuracy.set_xticks(range(len(labels)), labels, fontsize=TICK_SIZE - 1)
    accuracy.axhline(50, color=GREY, linewidth=1, linestyle=":")
    accuracy.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.02), ncols=2)
    curve.axis("off")
    curve.text(
        0.0,
        0.95,
        "How to read it\n\n"
        "Top left: after the review, so many steps of padding are\nread; the logit is judged by how well it still ranks\n"  # noqa: E501
        "positive above negative reviews (0.5: not at all).\n\n"
        "Top right: before any training, how strongly the loss can\npull on the last word through the padding behind it\n(no point: not at all).\n\n"  # noqa: E501
        f"Bottom left: {names[0]} and {names[1]} on real test reviews,\nwith 95 % intervals; below each group its reviews.",  # noqa: E501
        va="top",
        fontsize=LABEL_SIZE,
    )
    return write_figure(figure, path)
