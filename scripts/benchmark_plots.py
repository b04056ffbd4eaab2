"""Plots of `benchmark.py`: how cost grows, and speed against accuracy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from hf_lstm_sentiment.utils.figures import BLUE, GREY, ORANGE, SKY, TICK_SIZE, new_figure, style, write_figure

if TYPE_CHECKING:
    from matplotlib.axis import Axis


def plot_cost_growth(
    seconds_by_length: Mapping[int, float],
    seconds_by_count: Mapping[int, float],
    path: str | os.PathLike[str],
    *,
    slopes: tuple[float, float],
    megabytes: tuple[Mapping[int, float], Mapping[int, float]],
) -> Path:
    """Draw how time and memory grow with the length of the reviews, and with their number, on logarithmic axes.

    The slopes are those of the two lines of time, fitted to the logarithms; 1 is growth in proportion.
    """
    figure = new_figure(8, 7.4, "How time and memory grow")
    panels = (
        ("time: a batch of 64 reviews", "tokens per review", "seconds", seconds_by_length, f"slope {slopes[0]:.2f}"),
        ("time: from raw text, test reviews", "reviews", "seconds", seconds_by_count, f"slope {slopes[1]:.2f}"),
        ("memory: 64 reviews", "tokens per review", "MiB on top of libraries and model", megabytes[0], None),
        ("memory: reviews of 128 words", "reviews", "MiB on top of libraries and model", megabytes[1], None),
    )
    for axes, (title, x_label, y_label, series, label) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        style(axes, title, x_label, y_label)
        axes.loglog(list(series), list(series.values()), color=BLUE, marker="o", linewidth=2, label=label)
        _plain_numbers(axes.xaxis, at=list(series)[:: 1 + len(series) // 6])
        _plain_numbers(axes.yaxis)
        if label is not None:
            axes.legend(fontsize=TICK_SIZE, frameon=False)
    return write_figure(figure, path)


def plot_speed_against_accuracy(
    points: Mapping[str, tuple[float, float]], path: str | os.PathLike[str], *, title: str
) -> Path:
    """Draw classifiers by their speed, in reviews per second, and their accuracy, a fraction."""
    figure = new_figure(9, 4.2, title)
    axes = figure.subplots()
    style(axes, "right and above is better", "reviews per second", "reviews classified correctly, %")
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    # A marker each, explained beside the plot: names at the points would lie over one another. Seven markers and four
    # colors make 28 different ones.
    for (name, (rate, accuracy)), marker, color in zip(
        points.items(), cycle("osD^vPX"), cycle((BLUE, ORANGE, GREY, SKY))
    ):
        axes.plot(rate, 100 * accuracy, marker=marker, markersize=9, color=color, linestyle="none", label=name)
    axes.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return write_figure(figure, path)


def _plain_numbers(axis: Axis, *, at: Sequence[float] | None = None) -> None:
    """Label a logarithmic axis at some points, or at 1, 2 and 5 times powers of ten: the usual labels overlap."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if at is None else FixedLocator(at))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}"))
    axis.set_minor_formatter(NullFormatter())
