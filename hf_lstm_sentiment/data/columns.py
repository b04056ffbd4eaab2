"""Rows as readers find them, and which of their columns holds the texts, which one the labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..utils.messages import shown

# A column of texts has a name of these words alone (`review`, `Review Text`), or one word that ends in one of them.
TEXT_COLUMNS = ("text", "texts", "review", "reviews", "sentence", "content", "comment", "comments", "body", "tweet")
LABEL_COLUMNS = ("label", "labels", "sentiment", "polarity", "target", "class")

Row = dict[str, Any]


class ReadRow(NamedTuple):
    """A row as a reader of files found it.

    Attributes:
        number: Its place among the rows, from 1.
        line: The line that it begins at, from 1; None where the file has no lines.
        row: Its values.
        problem: Why it cannot be read, where it cannot.
    """

    number: int
    line: int | None
    row: Row
    problem: str | None = None

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"row {self.number}" + ("" if self.line is None else f" (line {self.line})")


def find_column(columns: Sequence[str], wanted: str | None, kind: str) -> str:
    """Choose the column that holds the texts or the labels.

    Args:
        columns: What the data have.
        wanted: The name that the user gave, or None.
        kind: "text" or "label".

    Returns:
        One of `columns`.

    Raises:
        ValueError: `wanted` is not there; or nothing is wanted, and not exactly one column is likely by its name.
    """
    have = ", ".join(map(shown, columns[:20])) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
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
    """What the console says of a choice, with the columns that might have been meant.

    Args:
        columns: What the data have.
        chosen: What `find_column` returned.
        kind: "text" or "label".
    """
    others = [column for found in _candidates(columns, kind) for column in found if column != chosen]
    also = f" (not {', '.join(map(repr, others))}: choose with --{kind}_column)" if others else ""
    return f"{kind}s from column {chosen!r}{also}"


def _candidates(columns: Sequence[str], kind: str) -> tuple[list[str], list[str]]:
    """The likeliest columns, and those that are less likely."""
    if kind == "label":
        return [column for column in columns if column.strip().lower() in LABEL_COLUMNS], []
    # "reviewText" and "Review Text" are two words each.
    split = (re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column).lower() for column in columns)
    words = {column: re.findall(r"[a-z]+|\d+", found) for column, found in zip(columns, split, strict=True)}
    likely = [column for column, found in words.items() if found and set(found) <= set(TEXT_COLUMNS)]
    others = [
        column
        for column, found in words.items()
        # "a good review" is a review, of a file without a header.
        if column not in likely and found and found[-1] in TEXT_COLUMNS and " " not in column
    ]
    return likely, others
