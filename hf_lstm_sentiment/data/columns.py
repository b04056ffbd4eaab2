"""What is known of the places that reviews come from, whether they are to be learned or to be classified."""

from __future__ import annotations

from collections.abc import Sequence

from ..utils.messages import shown

TEXT_COLUMNS = ("text", "review", "sentence", "content", "comment", "body")


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
