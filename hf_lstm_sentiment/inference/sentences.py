"""The sentences of a long text, classified one by one: which of them hurts."""

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..utils.messages import check_text
from .classifier import Classifier, Prediction, predict

# Characters above which a sentence is cut into pieces; the longest common ones have fewer.
LONGEST = 400

_ANY = r"[.!?\u2026]"
_CLOSING = r"[\"'\u201d\u2019\u00bb)\]]*"
# Marks that may end a sentence, by what stands before them. Chinese and Japanese need no space after theirs.
_MARKS = re.compile(
    rf"""
    (?: (?<![\w.&])
        (?: (?P<inner> (?i: mr|mrs|ms|mx|dr|prof|st|sen|rep|gov|gen|col|capt|lt|sgt|rev|hon|fr)
                     | (?i: vs|viz|cf|eg|ie|e\.g|i\.e|ca)
                     | (?i: no|nos|vol|pp|fig|ch) (?=\.\s+\d)
                     | [A-HJ-Z\xc0-\xde] (?=\. {_CLOSING} \s+ \S))
          | (?P<number> \d\d?)
          | (?P<shortened> (?i: etc|inc|ltd|co|corp|jr|sr|al|approx) | [\w&]+ \. [\w.&]* [\w&])
        ) \. {_CLOSING} (?=\s|$)
      # From the first of several marks alone, or a million of them would take hours.
      | (?<!{_ANY})
        (?P<soft> (?: \.\.{_ANY}* | [!?\u2026]{_ANY}* (?: (?=[^.!?\u2026\s]) | (?<=[.\u2026]))) {_CLOSING}) (?=\s|$)
      | (?<!{_ANY}) {_ANY}+ {_CLOSING} (?=\s|$)
      | [\u3002\uff01\uff1f]+ [\u300d\u300f\u201d]*
    ) (?=\s* (?P<after> \S?))
    """,
    re.VERBOSE,
)
# Where a long one is best cut.
_CUTS = (re.compile(r"[;:]\s+"), re.compile(r",\s+|\s[\u2013\u2014-]+\s"), re.compile(r"\s+"))


class Sentence(NamedTuple):
    """A sentence of a text and what the classifier says of it.

    Attributes:
        start: Its first character in the text.
        end: One past its last character.
        text: The sentence, `text[start:end]`.
        prediction: As `predict` returns it for the sentence alone.
    """

    start: int
    end: int
    text: str
    prediction: Prediction


def predict_sentences(
    text: str, *, model: str | os.PathLike[str] | Classifier | None = None, **options: Any
) -> list[Sentence]:
    """Classify every sentence of a text by itself; a long text is read to its end, whatever the model's length.

    Args:
        text: The text. Where its sentences end is told by :func:`split_sentences`.
        model: As for `predict`, and so are the errors.
        options: Those of `predict`.

    Returns:
        The sentences in order; none for a blank text.
    """
    check_text(0, text)
    spans = split_sentences(text)
    sentences = [text[start:end] for start, end in spans]
    answers = predict(sentences, model=model, **options)
    return [Sentence(*span, own, answer) for span, own, answer in zip(spans, sentences, answers, strict=True)]


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Find where the sentences of a text begin and end, without the white space and line breaks around them.

    A sentence ends with a full stop, an exclamation or question mark or an ellipsis before white space, with its quotes
    and brackets; at an empty line or `<br />`; and, in a paragraph without any such mark, with the line. A full stop
    after a title or an initial (Dr. J. R. Smith), in a number or an abbreviation (3.5, e.g., U.S.) and after the number
    of a list's entry ends none, nor does an ellipsis before a small letter. What is longer than :data:`LONGEST`
    characters is cut at its last semicolon, colon, comma or dash before that, or else between two words.
    """
    # Line breaks of HTML as lines, in as many characters.
    text = re.sub(r"<br\s*/?>", lambda found: "\n" * len(found[0]), text, flags=re.IGNORECASE)
    start, spans = 0, list[tuple[int, int]]()
    for end in (*(found.end() for found in re.finditer(r"\n[^\S\n]*\n\s*", text)), len(text)):
        stops = list(_ends(text, start, end)) or [found.end() for found in re.compile("\n").finditer(text, start, end)]
        for stop in (*stops, end):
            spans += _pieces(text, start, stop)
            start = stop
    return spans


def _ends(text: str, start: int, end: int) -> Iterator[int]:
    """Where the sentences of a paragraph end, as far as marks tell."""
    for found in _MARKS.finditer(text, start, end):
        goes_on = found["after"].islower() and (found["shortened"] or found["soft"])
        # "1. The plot": a number that stands alone.
        begins = found["number"] and not text[start : found.start()].strip()
        if not (found["inner"] or goes_on or begins):
            start = found.end()
            yield start


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A sentence, in several pieces where it is too long; nothing of a blank one."""
    while sentence := text[start:end].strip():
        start = text.index(sentence, start)
        stop = end = start + len(sentence)
        if len(sentence) > LONGEST:
            # Not so early that a word or two are left alone.
            tried = (
                [found.end() for found in cut.finditer(text, start + LONGEST // 4, start + LONGEST)] for cut in _CUTS
            )
            stop = next((places[-1] for places in tried if places), start + LONGEST)
        yield start, start + len(text[start:stop].rstrip())
        start = stop
