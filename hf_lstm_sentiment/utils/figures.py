"""Figures that look alike, and their files."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from .files import replacing
from .imports import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Colors from the palette of Okabe and Ito, which stay apart under every color vision deficiency.
DPI = 150
BLUE, SKY, ORANGE, GREY = "#0072B2", "#56B4E9", "#D55E00", "#595959"
TITLE_SIZE, LABEL_SIZE, TICK_SIZE = 12, 10.5, 9.5


def new_figure(width: float, height: float, title: str) -> Figure:
    """Make a figure of so many inches that belongs to no window and no global list."""
    require("matplotlib", extra="train")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    wrapped = textwrap.fill(title, int(10 * width))
    figure.suptitle(wrapped, fontsize=TITLE_SIZE, fontweight="bold", parse_math=False)
    return figure


def style(axes: Axes, title: str, x_label: str, y_label: str) -> None:
    """Give axes their title, their labels and the look of all figures; dollars in names are no mathematics."""
    axes.set_title(title, fontsize=LABEL_SIZE, parse_math=False)
    axes.set_xlabel(x_label, fontsize=LABEL_SIZE, parse_math=False)
    axes.set_ylabel(y_label, fontsize=LABEL_SIZE, parse_math=False)
    axes.tick_params(labelsize=TICK_SIZE)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color="#E3E3E3", linewidth=0.8)


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure so that the path holds a whole picture or none of it at any time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        # Not `savefig`, which would crop the picture if the reader's settings of matplotlib say so.
        FigureCanvasAgg(figure).print_png(file)  # type: ignore[no-untyped-call]
    return target
