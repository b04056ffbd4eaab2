"""An explanation as HTML: a page of its own, or a few coloured words to put into one. No script, nothing to load."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

from .explanation import Explanation, Word
from .extras import require

# From the palette of Okabe and Ito, as in `plots.py`, which is not needed for HTML.
_BLUE, _ORANGE = "0, 114, 178", "213, 94, 0"
# At the strongest word; black on it has a contrast above 6.
_STRONGEST = 0.55
# Words weaker than this part of the strongest are not underlined.
_FAINT = 0.15
# Characters shown of one word, or between two words.
_LONGEST = 500
# The strongest words that the page lists.
_LISTED = 10

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
    require("jinja2", extra="train")
    from jinja2 import Environment
    from markupsafe import Markup

    template = files("hf_lstm_sentiment").joinpath("explanation.html").read_text(encoding="utf-8")
    read = [word for word in explanation.words if not word.truncated]
    ranked = sorted(read, key=lambda word: -abs(word.contribution or 0))
    strongest = [word for word in ranked if word.contribution][:_LISTED]
    return (
        Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
        .from_string(template)
        .render(
            explanation=explanation,
            review=Markup(fragment(explanation)),  # noqa: S704 - built of escaped text
            label=_plain(explanation.label),
            labels=[_plain(label) for label in explanation.labels],
            samples=[_style(sign, 1, unknown=False, truncated=False) for sign in (-1, 1)],
            unknown_sample=_style(0, 0, unknown=True, truncated=False),
            truncated_sample=_style(0, 0, unknown=False, truncated=True),
            read=len(read),
            unread=len(explanation.words) - len(read) + explanation.words_left_out,
            curve=_curve([word.probability or 0.0 for word in read]),
            first=_plain(read[0].text) if read else "",
            last=_plain(read[-1].text) if read else "",
            strongest=[(_plain(word.text), word.contribution, word.probability) for word in strongest],
        )
    )


def _strongest(explanation: Explanation) -> float:
    return max((abs(word.contribution or 0) for word in explanation.words), default=0.0)


def _curve(probabilities: list[float]) -> list[tuple[str, str]]:
    """Corners of the curve in a box of 1000 by 100, above and below the middle line alike."""
    last = max(len(probabilities) - 1, 1)
    points = [(f"{1000 * i / last:.1f}", f"{100 * (1 - p):.2f}") for i, p in enumerate(probabilities)]
    # One word is a level line.
    return points if len(points) != 1 else [("0", points[0][1]), ("1000", points[0][1])]


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
        style = "color:#6b6b6b;font-style:italic"
    else:
        style = f"color:#000;background:rgba({_BLUE if sign > 0 else _ORANGE}, {_STRONGEST * strength:.3f})"
        if strength >= _FAINT:
            line = "solid #00507d" if sign > 0 else "double #9c4500"
            style += f";border-bottom:{2 if sign > 0 else 4}px {line}"
    return style + (";text-decoration:underline dotted #595959" if unknown else "")


def _plain(text: str) -> str:
    """Text that HTML can hold and a page can bear, not escaped yet."""
    shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return _LINE_END.sub("\n", shown).translate(_PICTURES)


def _text(text: str) -> str:
    return escape(_plain(text))
