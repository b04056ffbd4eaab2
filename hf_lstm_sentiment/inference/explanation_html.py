"""An explanation as HTML: a page of its own, or parts to put into one. No script, nothing to load."""

from __future__ import annotations

import re
from functools import cache
from html import escape
from importlib.resources import files

from ..utils.imports import require
from .explanation import Explanation, Word

# From the palette of Okabe and Ito, as in `plots.py`, which is not needed for HTML.
_BLUE, _ORANGE = "0, 114, 178", "213, 94, 0"
_GREY = "#595959"
# At the strongest word; black on it has a contrast above 6.
_STRONGEST = 0.55
# Words weaker than this part of the strongest are not underlined.
_FAINT = 0.15
# Characters shown of one word, or between two words.
_LONGEST = 500
# Words and turns of the opinion that are listed, and the change of probability that is a turn.
_LISTED, _TURNS, _TURN = 8, 5, 0.02
# Marks of turns that fit side by side along the curve on a narrow screen.
_APART = 12
# Words that are written along the curve, and the characters of each.
_ALONG, _SHORT = 24, 14
# Characters above which the review gets a scroll bar and with it a place in the order of the tab key.
_LONG = 600

# Characters that HTML does not allow, as the pictures that Unicode has of them.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"}
_PICTURES |= {0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
_LINE_END = re.compile("\r\n?")


def fragment(explanation: Explanation, first: int = 0, last: int | None = None) -> str:
    """Coloured words; see `Explanation.to_html_fragment`."""
    words = explanation.words
    last = len(words) if last is None else last
    if not 0 <= first <= last <= len(words):
        raise ValueError(f"words {first} to {last} asked for; allowed: 0 <= first <= last <= {len(words)}")
    strongest = _strongest(explanation)
    parts = ["… "] if first else []
    position = words[first].start if first and first < last else 0
    for word in words[first:last]:
        parts += [_text(explanation.text[position : word.start]), _span(explanation, word, strongest)]
        position = word.end
    if last < len(words) or explanation.words_left_out:
        parts.append(" …")
    elif first < last or not first:
        parts.append(_text(explanation.text[position:]))
    return "".join(parts)


def page(explanation: Explanation) -> str:
    """A page of its own; see `Explanation.to_html`."""
    title = escape(f"{_plain(explanation.label)}, {100 * explanation.score:.1f} %: why")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n"
        "body { margin: 0 auto; padding: 1rem; max-width: 52rem; background: #fff; color: #18181b; }\n"
        f"{css()}</style>\n</head>\n<body>\n<main>\n{body(explanation)}</main>\n</body>\n</html>\n"
    )


@cache
def css() -> str:
    """The style sheet that :func:`body` needs; every rule of it is for elements of the class `explanation`."""
    return files(__package__).joinpath("explanation.css").read_text(encoding="utf-8")


def body(explanation: Explanation) -> str:
    """What a page says of an explanation: the decision, the coloured review, the curve, the tables.

    Args:
        explanation: What to show.

    Raises:
        ModuleNotFoundError: Jinja2 is not installed.
    """
    require("jinja2", extra="train")
    from jinja2 import Environment
    from markupsafe import Markup

    template = files(__package__).joinpath("explanation.html").read_text(encoding="utf-8")
    read = [word for word in explanation.words if not word.truncated]
    ranked = sorted(read, key=lambda word: -abs(word.contribution or 0))
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            explanation=explanation,
            review=Markup(fragment(explanation)),  # noqa: S704 - built of escaped text
            label=_plain(explanation.label),
            labels=[_plain(label) for label in explanation.labels],
            positive=100 * (explanation.score if explanation.logit > 0 else 1 - explanation.score),
            samples=[_style(sign, 0.6, unknown=False, truncated=False) for sign in (-1, 1)],
            unknown=any(word.unknown for word in explanation.words),
            unknown_sample=_style(0, 0, unknown=True, truncated=False),
            truncated_sample=_style(0, 0, unknown=False, truncated=True),
            read=len(read),
            unread=len(explanation.words) - len(read) + explanation.words_left_out,
            long=len(explanation.text) > _LONG,
            curve=_curve([word.probability or 0.0 for word in read]),
            axis=[(_across(i, len(read)), _short(word.text)) for i, word in enumerate(read)]
            if len(read) <= _ALONG
            else [],
            longest=max((len(_short(word.text)) for word in read), default=0),
            turns=_turns(read),
            strongest=[(_plain(word.text), word.contribution) for word in ranked[:_LISTED] if word.contribution],
        )
    )


def _strongest(explanation: Explanation) -> float:
    return max((abs(word.contribution or 0) for word in explanation.words), default=0.0)


def _across(place: int, words: int) -> str:
    """Where a word stands along the curve, in per cent of its width: each has a column of its own."""
    return f"{100 * (place + 0.5) / words:.2f}"


def _curve(probabilities: list[float]) -> list[tuple[str, str]]:
    """Corners of the curve in a box of 1000 by 100."""
    words = len(probabilities)
    points = [(f"{1000 * (i + 0.5) / words:.1f}", f"{100 * (1 - p):.2f}") for i, p in enumerate(probabilities)]
    # One word is a level line.
    return points if words != 1 else [("0", points[0][1]), ("1000", points[0][1])]


def _turns(read: list[Word]) -> list[dict[str, str]]:
    """The words after which the opinion changed most, in the order of the review; not two in one place of the curve."""
    chances = [word.probability or 0.0 for word in read]
    changes = [(abs(chances[i] - chances[i - 1]), i) for i in range(1, len(read))]
    largest: list[int] = []
    for change, i in sorted(changes, reverse=True):
        if change >= _TURN and len(largest) < _TURNS and all(abs(i - j) * _APART >= len(read) for j in largest):
            largest.append(i)
    return [
        {
            "word": _plain(read[i].text),
            "x": _across(i, len(read)),
            "y": f"{100 * (1 - chances[i]):.2f}",
            "way": "up" if chances[i] > chances[i - 1] else "down",
            "before": f"{100 * chances[i - 1]:.0f}",
            "after": f"{100 * chances[i]:.0f}",
        }
        for i in sorted(largest)
    ]


def _short(text: str) -> str:
    shown = _plain(text)
    return shown if len(shown) <= _SHORT else f"{shown[: _SHORT - 1]}…"


def _span(explanation: Explanation, word: Word, strongest: float) -> str:
    if word.contribution is None or word.probability is None:
        title = "not read: the review is longer than the model reads"
        contribution = 0.0
    else:
        contribution = word.contribution
        title = f"{contribution:+.3f} logit; {explanation.labels[1]} {100 * word.probability:.1f} % after this word"
    if word.unknown:
        title += "; not in the vocabulary"
    sign = 1 if contribution > 0 else -1
    strength = abs(contribution) / strongest if strongest else 0.0
    style = _style(sign, strength, unknown=word.unknown, truncated=word.truncated)
    return f'<span style="{style}" title="{_text(title)}">{_text(word.text)}</span>'


def _style(sign: int, strength: float, *, unknown: bool, truncated: bool) -> str:
    """The look of a word. Direction and kind have a line of their own each, for readers who see no colours."""
    if truncated:
        style = f"color:var(--unread, {_GREY});font-style:italic"
    else:
        # The text keeps the colour of the page, which may be a dark one.
        style = f"background:rgba({_BLUE if sign > 0 else _ORANGE}, {_STRONGEST * strength:.3f})"
        if strength >= _FAINT:
            line = "solid var(--towards, #00507d)" if sign > 0 else "double var(--against, #9c4500)"
            style += f";border-bottom:{2 if sign > 0 else 4}px {line}"
    return style + (f";text-decoration:underline dotted var(--unread, {_GREY})" if unknown else "")


def _plain(text: str) -> str:
    """Text that HTML can hold and a page can bear, not escaped yet."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return _LINE_END.sub("\n", shown).translate(_PICTURES)


def _text(text: str) -> str:
    return escape(_plain(text))
