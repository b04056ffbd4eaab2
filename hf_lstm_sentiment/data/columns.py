"""Rows as readers find them, and which of their columns holds the texts, which one the labels."""

import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..utils.messages import listed, shown

logger = logging.getLogger(__name__)

# A column of texts has a name of these words alone (`review`, `Review Text`), or one word that ends in one of them.
TEXT_COLUMNS = ("text", "texts", "review", "reviews", "sentence", "content", "comment", "comments", "body", "tweet")
LABEL_COLUMNS = ("label", "labels", "sentiment", "polarity", "target", "class")

Row = dict[str, Any]
# The line that a row begins at, if the file has lines; the row; and why it cannot be read, where it cannot.
RawRow = tuple[int | None, Row, str | None]


class ReadRow(NamedTuple):
    """A row with its place among all of them, from 1."""

    number: int
    line: int | None
    row: Row
    problem: str | None = None

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        return f"row {self.number}" + ("" if self.line is None else f" (line {self.line})")


def find_column(name: str, columns: Sequence[str], wanted: str | None, kind: str) -> str:
    """Choose the column of texts or of labels, the `wanted` one or by its name, and say so; `kind` is text or label.

    A ValueError, which names the data, says what there is where not exactly one can be meant.
    """
    likely, others = candidates(columns, kind)
    found = likely or others if wanted is None else [wanted]
    if len(found) == 1 and found[0] in columns:
        rest = ", ".join(repr(column) for column in (*likely, *others) if column != found[0])
        also = f" (not {rest}: choose with --{kind}_column)" if rest else ""
        logger.info(f"{name}: {kind}s from column {found[0]!r}{also}")
        return found[0]
    if wanted is not None:
        problem = f"column {wanted!r} not found; pass another --{kind}_column"
    elif found:
        problem = f"several columns could be the {kind} ({', '.join(map(repr, found))}); name it with --{kind}_column"
    else:
        problem = (
            f"no column is known as the {kind}; name it with --{kind}_column, or, of a csv file, what parts its fields "
            "with --separator, and, where it has no header, all of its columns with --column_names text,label"
        )
    raise ValueError(f"{name}: {problem}; the columns are {listed(map(shown, columns))}")


def candidates(columns: Sequence[str], kind: str) -> tuple[list[str], list[str]]:
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
