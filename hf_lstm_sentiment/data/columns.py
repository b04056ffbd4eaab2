"""Rows as readers find them, and which of their columns holds the texts, which one the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..utils.messages import listed, shown

# A column of texts has a name of these words alone (`review`, `Review Text`), or one word that ends in one of them.
TEXT_COLUMNS = ("text", "texts", "review", "reviews", "sentence", "content", "comment", "comments", "body", "tweet")
LABEL_COLUMNS = ("label", "labels", "sentiment", "polarity", "target", "class")

Row = dict[str, Any]


class ReadRow(NamedTuple):
    """A row as a reader of files found it: its place among the rows, from 1, and the line that it begins at."""

    number: int
    # None where the file has no lines.
    line: int | None
    row: Row
    # Why it cannot be read, where it cannot.
    problem: str | None = None

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"row {self.number}" + ("" if self.line is None else f" (line {self.line})")


def find_column(columns: Sequence[str], wanted: str | None, kind: str) -> str:
    """Choose the column that holds the texts or the labels: the `wanted` one, else the one that is likely by its name.

    `kind` is "text" or "label". A ValueError says what there is where not exactly one can be meant.
    """
    have = listed(map(shown, columns))
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"column {wanted!r} not found; the data has {have}; pass another --{kind}_column")
        return wanted
    for found in _candidates(columns, kind):
        if len(found) == 1:
            return found[0]
        if found:
            several = ", ".join(map(repr, found))
            raise ValueError(
                f"the data has the columns {have}; several could be the {kind} ({several}); "
                f"name it with --{kind}_column"
            )
    raise ValueError(
        f"the data has the columns {have}; none is known as the {kind}; name it with --{kind}_column, or, where these "
        "are values of a csv file without a header, all of its columns: --column_names text,label"
    )


def describe_column(columns: Sequence[str], chosen: str, kind: str) -> str:
    """What the console says of a choice of :func:`find_column`, with the columns that might have been meant."""
    others = [column for found in _candidates(columns, kind) for column in found if column != chosen]
    also = f" (not {', '.join(map(repr, others))}: choose with --{kind}_column)" if others else ""
    return f"{kind}s from column {chosen!r}{also}"


def _candidates(columns: Sequence[str], kind: str) -> tuple[list[str], list[str]]:
    """The likeliest columns, and those that are less likely."""
    if kind == "label":
        return [column for column in columns if column.strip().lower() in LABEL_COLUMNS], []
    likely, others = [], []
    for column in columns:
        # "reviewText" and "Review Text" are two words each.
        words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower())
        if words and set(words) <= set(TEXT_COLUMNS):
            likely.append(column)
        # "a good review" is a review, of a file without a header.
        elif words and words[-1] in TEXT_COLUMNS and " " not in column:
            others.append(column)
    return likely, others
