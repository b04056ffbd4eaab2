"""An explanation of a decision, and its views: as JSON, as HTML that loads nothing and runs no script, as a plot."""

from __future__ import annotations

import os
import re
import warnings
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, TICK_SIZE, new_figure, style, write_figure
from ..utils.imports import require

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.axes import Axes

# Characters of a label along an axis of a plot.
_LABEL = 28
# Changes of the probability that are listed on a page.
_TURNS = 5
# Marks of changes that fit side by side along the curve on a narrow screen; names that do along that of a plot.
_APART, _NAMED = 12, 8
# Share of known tokens below which a page says that the model cannot judge the text.
LEAST_KNOWN = 0.5
# The lines of the curves of other labels than the one explained.
_DASHES = ((6, 2), (3, 2), (1, 2), (8, 2, 1, 2))
# Labels whose probabilities are listed on a page.
_SCORES = 10

# Characters that neither HTML nor a terminal should get.
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Word:
    """One token of a review.

    Attributes:
        text: The token as the review spells it, `review[start:end]`.
        start: Its first character in the review.
        end: One past its last character.
        contribution: Its attribution, a part of the explanation's logit; None where the model does not read it.
        probability: The prefix probability: that of the label explained, had the review ended here; None likewise.
        unknown: The token is not in the vocabulary.
        truncated: The token lies beyond the length that the model reads.
        probabilities: The prefix probabilities of all labels; none where the model does not read it.
    """

    text: str
    start: int
    end: int
    contribution: float | None
    probability: float | None
    unknown: bool
    truncated: bool
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class Explanation:
    """What the classifier says of a review, and what of it led there.

    Attributes:
        text: The review.
        label: The most probable label.
        score: Its probability.
        logit: The logit of the label explained: its probability is the logit's sigmoid.
        baseline_logit: That of a review of as many zero vectors, from which the attributions start.
        words: The tokens, in order.
        completeness_error: How far the sum of the attributions is from `logit - baseline_logit`, as a fraction of
            that difference (of 0.1, where it is smaller).
        labels: The names of all labels, in the order of their ids.
        target: The label explained.
        probabilities: Those of all labels.
    """

    text: str
    label: str
    score: float
    logit: float
    baseline_logit: float
    words: tuple[Word, ...]
    completeness_error: float
    labels: tuple[str, ...]
    target: str
    probabilities: tuple[float, ...]

    @property
    def _read(self) -> list[Word]:
        return [word for word in self.words if not word.truncated]

    @property
    def _other(self) -> str:
        """What a page calls the opposite of the label explained: the other one of two, or all others."""
        others = [label for label in self.labels if label != self.target]
        return others[0] if len(others) == 1 else "another label"

    @property
    def _rivals(self) -> list[int]:
        """Of more than two labels, the ids of all beside the one explained, the most probable ones first."""
        ranked = sorted(range(len(self.labels)), key=lambda index: -self.probabilities[index])
        return [i for i in ranked if self.labels[i] != self.target] if len(ranked) > 2 else []

    @property
    def known(self) -> float:
        """Share of the tokens read that are in the vocabulary, 0 without a token, as in `Prediction`."""
        return 1 - sum(word.unknown for word in self._read) / len(self._read) if self._read else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Convert everything to what `json.dumps` takes."""
        return asdict(self)

    def to_html(self, *, page: bool = True) -> str:
        """Make a page of its own, by Jinja2: decision, colored review, curve of probabilities, strongest tokens.

        Args:
            page: The page as a whole; where false, what goes into another one, which needs the style sheet of `css`.
        """
        html = template(Path(__file__).with_suffix(".html"))
        from markupsafe import Markup

        read, rivals, labels = self._read, self._rivals, self.labels
        chances = [word.probability or 0.0 for word in read]
        listed = [labels.index(self.target), *rivals[: _SCORES - 1]] if rivals else []
        # Of few labels, in their own order: stars, say.
        listed.sort(key=lambda index: -self.probabilities[index] if len(rivals) >= _SCORES else index)
        return html.render(
            explanation=self,
            page=page,
            review=Markup(self.to_html_fragment()),  # noqa: S704 - built of escaped text
            labels=[_plain(label) for label in (self._other, self.target)],
            positive=100 * self.probabilities[labels.index(self.target)],
            listed=listed,
            dashes={index: " ".join(map(str, look)) for index, look in zip(rivals, _DASHES, strict=False)},
            style=_style,
            read=read,
            judged=self.known >= LEAST_KNOWN,
            unread=len(self.words) - len(read),
            # Each token has a column of its own.
            across=[f"{100 * (i + 0.5) / len(read):.2f}" for i in range(len(read))],
            turns=_turns(np.abs(np.diff(chances, prepend=chances[:1])), _TURNS, _APART),
            chances=chances,
            strongest=[w for w in sorted(read, key=lambda word: -abs(word.contribution or 0))[:8] if w.contribution],
        )

    def to_html_fragment(self, words: int | None = None) -> str:
        """Make colored `<span>`s of the tokens, with what stands between them, escaped; to put into a page.

        Args:
            words: Show a passage of so many tokens that the model reads, the one whose attributions towards the
                decision, of more than two labels towards `target`, sum highest; all of the review where None.
        """
        read, first, last = self._read, 0, len(self._read)
        strongest = max((abs(word.contribution or 0) for word in read), default=0.0)
        if words is not None and words < last:
            sign = 1 if len(self.labels) > 2 or self.label == self.target else -1
            sums = np.cumsum([0, *(sign * (word.contribution or 0) for word in read)])
            first = int(np.argmax(sums[words:] - sums[:-words]))
            last = first + words
        parts, position = (["… "], read[first].start) if first else ([], 0)
        for word in read[first:last]:
            parts += [_escaped(self.text[position : word.start]), _span(word, self.target, strongest)]
            position = word.end
        rest = _escaped(self.text[position:])
        if len(read) < len(self.words):
            title = "not read: the review is longer than the model reads"
            rest = f'<span style="{_style(0, 0, truncated=True)}" title="{title}">{rest}</span>'
        return "".join([*parts, " …" if last < len(read) else rest])

    def plot(self, path: str | os.PathLike[str]) -> Path:
        """Draw the probability after every token and the attributions underneath; Matplotlib is needed.

        Args:
            path: PNG file to write; directories above it are created.

        Returns:
            The path of the plot.
        """
        words, target, other = self._read, shorten(self.target, _LABEL), shorten(self._other, _LABEL)
        percent = 100 * np.array([word.probability for word in words], dtype=np.float64)
        attributions = np.array([word.contribution for word in words], dtype=np.float64)
        names = [shorten(word.text) for word in words]
        x = np.arange(1, len(words) + 1, dtype=np.int64)
        short = len(words) <= 40
        figure = new_figure(9, 6.2, f"{self.label}, {100 * self.score:.1f} %")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        style(top, "Probability after every token", "", f"probability of\n{target}, %")
        style(bottom, "Attribution of each token", "" if short else "token", "logit")
        top.set(xlim=(0.4, max(len(words), 1) + 0.6), ylim=(0, 100), yticks=[0, 25, 50, 75, 100])
        top.axhline(50, color=GREY, linestyle="--", linewidth=1)
        # A lone token has no line, but a dot.
        top.plot(x, percent, color="black", linewidth=1.6, marker="o" if short else None, markersize=5)
        for dashes, index in zip(_DASHES, self._rivals, strict=False):
            rival = [100 * word.probabilities[index] for word in words]
            top.plot(x, rival, color=GREY, linewidth=1.2, dashes=dashes, label=shorten(self.labels[index], _LABEL))
        if self._rivals:
            top.legend(fontsize=TICK_SIZE, frameon=False, loc="upper left")
        for sign, color, label, hatch in ((1, BLUE, target, None), (-1, ORANGE, other, "///")):
            side = sign * (percent - 50) >= 0
            top.fill_between(x, 50, percent, where=side, interpolate=True, color=color, alpha=0.25, lw=0)
            own = sign * attributions > 0
            look: dict[str, Any] = {"color": color, "hatch": hatch if short else None, "edgecolor": "white", "lw": 0}
            bottom.bar(x[own], attributions[own], width=0.8, label=f"towards {label}", **look)
        bottom.axhline(0, color=GREY, linewidth=1)
        bottom.margins(y=0.08)
        if not words:
            top.text(0.5, 0.6, "no token", transform=top.transAxes, ha="center", color=GREY, fontsize=LABEL_SIZE)
            bottom.set_yticks([])
        if short:
            turned = {"rotation": 60, "ha": "right", "rotation_mode": "anchor"} if len(words) > 8 else {}
            bottom.set_xticks(x, names, **turned)
        else:
            _name_turns(top, x, percent, names)
        if np.any(attributions):
            # Outside, for the tokens along the axis are of any length.
            look = {"fontsize": TICK_SIZE, "frameon": False, "loc": "outside lower left", "ncols": 2}
            figure.legend(*bottom.get_legend_handles_labels(), **look)
        for text in figure.findobj(lambda artist: hasattr(artist, "set_parse_math")):
            text.set_parse_math(False)  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            # Emoji, say: drawn as a box.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            return write_figure(figure, path)


def css() -> str:
    """Read the style sheet of `Explanation.to_html`; every rule of it is for elements of the class `explanation`."""
    return Path(__file__).with_suffix(".css").read_text(encoding="utf-8")


def template(path: Path) -> Template:
    """Read a template of HTML, in which all that is not marked as HTML is escaped; a text may be made `plain`."""
    require("jinja2", extra="train")
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    looks: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    environment = Environment(loader=FileSystemLoader(path.parent), autoescape=True, **looks)
    environment.filters |= {"plain": _plain, "short": shorten, "count": "{:,}".format}
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f} %"
    return environment.get_template(path.name)


def _turns(changes: npt.NDArray[np.float64], most: int, apart: int) -> list[int]:
    """The places of the largest changes, in order; not two in one place of the curve."""
    largest: list[int] = []
    for i in np.argsort(-changes, kind="stable").tolist():
        if changes[i] >= 0.02 and len(largest) < most and all(abs(i - j) * apart >= len(changes) for j in largest):
            largest.append(i)
    return sorted(largest)


def _name_turns(axes: Axes, x: npt.NDArray[np.int64], percent: npt.NDArray[np.float64], names: list[str]) -> None:
    """Name the tokens after which the curve moved most: rises above it, falls below it."""
    axes.set_ylim(-20, 120)
    changes, half = np.diff(percent, prepend=percent[:1]) / 100, len(x) / _NAMED / 2
    arrow = {"arrowstyle": "-", "color": GREY, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 1}
    for sign, color, height in ((1, BLUE, 109), (-1, ORANGE, -9)):
        look: dict[str, Any] = {"color": color, "ha": "center", "va": "center", "fontsize": TICK_SIZE}
        for i in _turns(sign * changes, _NAMED, _NAMED):
            place = (float(np.clip(x[i], 1 + half, len(x) - half)), height)
            axes.annotate(names[i], (x[i], percent[i]), place, arrowprops=arrow, **look)
            axes.plot(x[i], percent[i], marker="o", markersize=4, color=color)


def _span(word: Word, target: str, strongest: float) -> str:
    attribution = word.contribution or 0.0
    title = f"{attribution:+.3f} logit; {target} {100 * (word.probability or 0):.1f} % after this token"
    title += "; not in the vocabulary" if word.unknown else ""
    look = _style(attribution, abs(attribution) / strongest if strongest else 0.0, unknown=word.unknown)
    return f'<span style="{look}" title="{_escaped(title)}">{_escaped(word.text)}</span>'


def _style(sign: float, strength: float, *, unknown: bool = False, truncated: bool = False) -> str:
    """The look of a token. Direction and kind have a line of their own each, for readers who see no colors."""
    # The text keeps the color of the page, which may be a dark one; black on the strongest has a contrast above 6.
    color = ", ".join(str(part) for part in bytes.fromhex((BLUE if sign > 0 else ORANGE)[1:]))
    look = f"background:rgba({color}, {0.55 * strength:.3f})"
    if strength >= 0.15:
        line = "2px solid var(--towards, #00507d)" if sign > 0 else "4px double var(--against, #9c4500)"
        look += f";border-bottom:{line}"
    if truncated:
        look = f"color:var(--unread, {GREY});font-style:italic"
    return look + (f";text-decoration:underline dotted var(--unread, {GREY})" if unknown else "")


def _plain(text: str) -> str:
    """Text that HTML can hold and a page can bear, not escaped yet."""
    shown = text if len(text) <= 500 else f"{text[:500]}…"
    return _CONTROL.sub("\ufffd", re.sub("\r\n?", "\n", shown))


def _escaped(text: str) -> str:
    return escape(_plain(text))


def shorten(text: str, longest: int = 14) -> str:
    """The beginning of a text, in characters that neither move a cursor nor end a line."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[:longest])
    return shown if len(text) <= longest else f"{shown[: longest - 1]}…"
