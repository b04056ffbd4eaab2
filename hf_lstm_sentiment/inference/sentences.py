"""The sentences of a long text, classified one by one: which of them hurts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from ..utils.messages import check_text
from .classifier import Classifier, Prediction, predict

# Characters above which a sentence is cut into pieces; the longest common ones have fewer.
LONGEST = 400

# What ends a line for a browser, or a paragraph.
_BREAK = re.compile(r"\s*(?:<br\s*/?>\s*)+|\s*\n[^\S\n]*\n\s*", re.IGNORECASE)
# Marks that may end a sentence, with the quotes and brackets after them. Chinese and Japanese need no space.
_END = re.compile(r"(?:[.!?\u2026]+[\"'\u201d\u2019\u00bb)\]]*(?=\s|$))|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d]*")
# The last word before a full stop, with the full stops in it.
_WORD = re.compile(r"[\w.&]*$")
# After which a name or the rest of the sentence follows, so that a full stop after them ends none; of the numbers', a
# number.
_TITLE = re.compile(r"mr|mrs|ms|mx|dr|prof|st|sen|rep|gov|gen|col|capt|lt|sgt|rev|hon|fr|vs|viz|cf|eg|ie|e\.g|i\.e|ca")
_NUMBERED = re.compile("no|nos|vol|pp|fig|ch")
# After which a sentence may end, but goes on where a small letter follows; and so after what has full stops in it.
_SHORTENED = re.compile(r"etc|inc|ltd|co|corp|jr|sr|al|approx|.*\..*")
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
        model: As for `predict`, and so are the others.
        options: Those of `predict`: `batch_size`, `all_scores`, `unsure_below`, `unsure_label`.

    Returns:
        The sentences in order; none for a blank text.

    Raises:
        FileNotFoundError, OSError, ValueError: As `predict`.
        TypeError: The text is no string.
    """
    check_text(0, text)
    spans = split_sentences(text)
    predictions = predict([text[start:end] for start, end in spans], model=model, **options)
    return [Sentence(*span, text[slice(*span)], found) for span, found in zip(spans, predictions, strict=True)]


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Find where the sentences of a text begin and end, without the white space and line breaks around them.

    A sentence ends with a full stop, an exclamation or question mark or an ellipsis before white space, with its quotes
    and brackets; at an empty line or `<br />`; and, in a paragraph without any such mark, with the line. A full stop
    after a title or an initial (Dr. J. R. Smith), in a number or an abbreviation (3.5, e.g., U.S.) and after the number
    of a list's entry ends none, nor does an ellipsis before a small letter. What is longer than :data:`LONGEST`
    characters is cut at its last semicolon, colon, comma or dash before that, or else between two words.
    """
    return [
        piece
        for paragraph in _between(_BREAK.finditer(text), 0, len(text))
        for sentence in _sentences(text, *paragraph)
        for piece in _pieces(text, *sentence)
    ]


def _between(breaks: Iterator[re.Match[str]], start: int, end: int) -> Iterator[tuple[int, int]]:
    """What lies between the breaks."""
    for found in breaks:
        yield start, found.start()
        start = found.end()
    yield start, end


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The sentences of a paragraph, with white space around them."""
    first = start
    for found in _END.finditer(text, start, end):
        if _is_end(text, start, found):
            yield start, found.end()
            start = found.end()
    if start == first:
        yield from _between(re.compile("\n").finditer(text, start, end), start, end)
    else:
        yield start, end


def _is_end(text: str, start: int, found: re.Match[str]) -> bool:
    """Whether a sentence ends with these marks."""
    marks, after = found[0], text[found.end() :].lstrip()[:1] if found.end() < len(text) else ""
    if not marks.startswith("."):
        # "What?" she said; well… maybe
        return not (after.islower() and marks[-1] not in "!?\u3002\uff01\uff1f")
    if marks.startswith(".."):
        return not after.islower()
    before = _WORD.search(text, start, found.start())
    word = before[0].lower() if before else ""
    if _TITLE.fullmatch(word) or (_NUMBERED.fullmatch(word) and after.isdigit()):
        return False
    if _SHORTENED.fullmatch(word):
        return not after.islower()
    if len(word) == 1 and word.isalpha() and before and before[0].isupper():
        return word == "i" or not after
    # "1. The plot": a number that stands alone.
    alone = before is not None and not text[start : before.start()].strip()
    return not (alone and len(word) < 3 and word.isdigit())


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
