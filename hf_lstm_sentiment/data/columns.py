"""What is known of the places that reviews come from, whether they are to be learned or to be classified."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

TEXT_COLUMNS = ("text", "review", "sentence", "content", "comment", "body")
_LONGEST_SHOWN = 80
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def find_column(columns: Sequence[str], wanted: str | None, known: Sequence[str], kind: str) -> str:
    """Choose the column that holds the texts or the labels.

    Args:
        columns: What the data have.
        wanted: The name that the user gave, or None.
        known: Names that tell what a column holds, in lower case.
        kind: "text" or "label", for the message.

    Returns:
        One of `columns`.

    Raises:
        ValueError: `wanted` is not there; or nothing is wanted, and not exactly one column has a known name.
    """
    have = ", ".join(map(shown, columns[:20])) + (f" and {len(columns) - 20} more" if len(columns) > 20 else "")
    if wanted is not None:
        if wanted not in columns:
            raise ValueError(f"column {wanted!r} not found; the data has {have}; pass another --{kind}_column")
        return wanted
    found = [column for column in columns if column.lower() in known]
    if len(found) == 1:
        return found[0]
    several = f"several could be the {kind} ({', '.join(map(repr, found))})"
    problem = several if found else f"none is known as the {kind}"
    raise ValueError(f"the data has the columns {have}; {problem}; name it with --{kind}_column")


def first_cause(error: BaseException) -> BaseException:
    """The error from which this one was raised, however often; `datasets` wraps whatever its readers raise.

    Args:
        error: What was caught.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none.

    Args:
        error: What was caught.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def shown(value: Any) -> str:
    """A value in an error message, which a whole review would fill.

    Args:
        value: Any value.
    """
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text):,} characters)"
