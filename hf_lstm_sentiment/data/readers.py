"""Rows of a file or data set that wait to be classified: what their readers and their writer agree on."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Far above any review, and low enough that a quote that is never closed does not read the file into memory.
_LONGEST_FIELD = 100_000_000

Row = dict[str, Any]
# Rows that are classified together: as Python objects from text files, as a table from Parquet and the Hub.
Window = list[Row] | Any


@dataclass(frozen=True)
class RowSource:
    """Rows to score.

    Attributes:
        name: What the caller called it.
        identity: What tells it from another source, for the manifest.
        columns: Their names, in order.
        text_column: The one that is classified.
        total: Number of rows, where it is known.
        schema: Their types as an Arrow schema, where the source or the output is Arrow's; else None.
        start: Opens it at the first row; what it returns takes the next so many rows.
    """

    name: str
    identity: Mapping[str, Any]
    columns: Sequence[str]
    text_column: str
    total: int | None
    schema: Any
    start: Callable[[], Callable[[int], Window]]

    def texts(self, window: Window) -> list[str]:
        """What is classified.

        Args:
            window: Rows that `start` gave.
        """
        if isinstance(window, list):
            return [row[self.text_column] for row in window]
        texts: list[str] = window[self.text_column].to_pylist()
        return texts


def refuse_twins(name: str, columns: Sequence[str]) -> None:
    """Refuse columns of one name, which a row could not keep apart.

    Args:
        name: What the caller called the source.
        columns: Their names.

    Raises:
        ValueError: A name is there more than once.
    """
    twins = [column for column in columns if columns.count(column) > 1]
    if twins:
        raise ValueError(f"{name} has several columns called {twins[0]!r}; rename all but one")


def text_problem(value: Any, column: str) -> str:
    """What to say of a row without a text.

    Args:
        value: What stands in the place of the text.
        column: Where it stands.
    """
    return (
        f"the text is {value!r}; every row needs a string in column {column!r}; correct or remove the row, or name "
        "the right column with --text_column"
    )


def lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file with their ends, decoded one by one, so that a wrong byte is found at its row.

    Args:
        path: The file; a byte order mark at its start is left out.

    Raises:
        UnicodeDecodeError: A line is not UTF-8.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield (line if number else line.removeprefix(codecs.BOM_UTF8)).decode()


def csv_fields(text: Iterable[str], *, delimiter: str = ",", strict: bool = False) -> Iterator[list[str]]:
    """The fields of each row; a field may be longer than Python's csv module allows by itself.

    Args:
        text: Lines.
        delimiter: What stands between two fields.
        strict: Refuse quotes that are wrong.

    Raises:
        csv.Error: While iterating: a row cannot be read.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    return csv.reader(text, delimiter=delimiter, strict=strict)


def explain_undecodable(error: Exception) -> str:
    """What an error says; of one of decoding, which byte it was and what to do.

    Args:
        error: What a reader raised.
    """
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.object[error.start]:#04x} is not UTF-8; save the file as UTF-8"
    return str(error)
