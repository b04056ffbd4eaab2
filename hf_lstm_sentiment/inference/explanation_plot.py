"""An explanation as a picture: the opinion after every word, and the words' contributions underneath."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, TICK_SIZE, new_figure, style, write_figure
from ..utils.imports import require
from .explanation import Explanation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Words that fit on the axis; of longer reviews, the biggest moves are named.
_FITTING = 40
_NAMED = 10
# Rows of names on each side of the curve, and the characters that one row holds.
_ROWS, _ROW_LENGTH = 3, 130
_LONGEST = 18


def plot(explanation: Explanation, path: str | os.PathLike[str]) -> Path:
    """Draw an explanation; see `Explanation.plot`."""
    require("matplotlib", extra="train")
    words = [word for word in explanation.words if not word.truncated]
    probabilities = np.array([word.probability for word in words], dtype=np.float64)
    contributions = np.array([word.contribution for word in words], dtype=np.float64)
    names = [_short(word.text) for word in words]
    x = np.arange(1, len(words) + 1, dtype=np.int64)
    negative, positive = explanation.labels

    figure = new_figure(9, 6.2, f"{explanation.label}, {100 * explanation.score:.1f} %")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    style(top, "The opinion after every word", "", f"probability of {positive}, %")
    style(bottom, "What each word contributes", "" if len(words) <= _FITTING else "word", "logit")
    top.set_xlim(0.4, max(len(words), 1) + 0.6)
    top.set_ylim(0, 100)
    top.set_yticks([0, 25, 50, 75, 100])
    top.axhline(50, color=GREY, linestyle="--", linewidth=1)
    # A lone word has no line, but a dot.
    dots = "o" if len(words) <= _FITTING else None
    top.plot(x, 100 * probabilities, color="black", linewidth=1.6, marker=dots, markersize=5)
    for above, colour in ((True, BLUE), (False, ORANGE)):
        side = probabilities >= 0.5 if above else probabilities <= 0.5
        top.fill_between(x, 50, 100 * probabilities, where=side, interpolate=True, color=colour, alpha=0.25, lw=0)
        of_side = contributions > 0 if above else contributions < 0
        label = f"towards {positive if above else negative}"
        hatch = None if above or len(words) > _FITTING else "///"
        bottom.bar(
            x[of_side],
            contributions[of_side],
            width=0.8,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0,
            label=label,
        )
    bottom.axhline(0, color=GREY, linewidth=1)
    bottom.margins(y=0.08)
    if not words:
        top.text(0.5, 0.6, "no word", transform=top.transAxes, ha="center", color=GREY, fontsize=LABEL_SIZE)
        bottom.set_yticks([])
    if len(words) <= _FITTING:
        upright = len(words) > 8
        bottom.set_xticks(
            x, names, rotation=60 if upright else 0, ha="right" if upright else "center", parse_math=False
        )
        if upright:
            for label_text in bottom.get_xticklabels():
                label_text.set_rotation_mode("anchor")
    else:
        _name_moves(top, x, 100 * probabilities, names)
    if np.any(contributions):
        bottom.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left", bbox_to_anchor=(0, -0.28), ncols=2)
    with warnings.catch_warnings():
        # Emoji, say: drawn as a box.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        return write_figure(figure, path)


def _name_moves(axes: Axes, x: npt.NDArray[np.int64], percent: npt.NDArray[np.float64], names: list[str]) -> None:
    """Name the words after which the curve moved most: rises above it, falls below it, no name over another."""
    moves = np.diff(percent, prepend=percent[0])
    axes.set_ylim(-46, 146)
    taken: dict[tuple[bool, int], list[tuple[float, float]]] = {}
    named = 0
    for i in np.argsort(-np.abs(moves), kind="stable"):
        if named == _NAMED or moves[i] == 0:
            break
        up = bool(moves[i] > 0)
        half = (len(names[i]) + 2) / 2 * len(x) / _ROW_LENGTH
        centre = float(np.clip(x[i], 1 + half, len(x) - half))
        for row in range(_ROWS):
            others = taken.setdefault((up, row), [])
            if all(centre + half <= left or centre - half >= right for left, right in others):
                others.append((centre - half, centre + half))
                axes.annotate(
                    names[i],
                    (x[i], percent[i]),
                    (centre, 109 + 13 * row if up else -9 - 13 * row),
                    color=BLUE if up else ORANGE,
                    fontsize=TICK_SIZE,
                    ha="center",
                    va="center",
                    parse_math=False,
                    arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 1},
                )
                axes.plot(x[i], percent[i], marker="o", markersize=4, color=BLUE if up else ORANGE)
                named += 1
                break


def _short(text: str) -> str:
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[:_LONGEST])
    return shown if len(text) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
