"""Rows out of .csv, .tsv, .jsonl and .txt files, for which nothing beyond Python is needed."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .rows import DELIMITERS, Row, RowSource, Window, refuse_twins, text_problem
from .sources import TEXT_COLUMNS, find_column

if TYPE_CHECKING:
    import pyarrow as pa

# Far above any review, and low enough that a quote that is never closed does not read the file into memory.
_LONGEST_FIELD = 100_000_000


def open_text(
    name: str, path: Path, identity: Mapping[str, Any], text_column: str | None, *, for_parquet: bool, read_ahead: int
) -> RowSource:
    """Find the columns and go through all rows once, so that no defect shows after hours of work.

    Args:
        name: What the caller called the file.
        path: The file, whose suffix tells its kind.
        identity: What tells it from another source.
        text_column: Column of the texts; found by its name where None.
        for_parquet: Find types for the columns, too.
        read_ahead: Rows that are read at a time.

    Raises:
        ValueError: A row is no row, or has no text; the message names it.
    """
    kind = path.suffix.lower()
    columns, _ = _read_text(name, path)
    refuse_twins(name, columns)
    # An empty .jsonl file has no columns; there is no row that would need one.
    text_column = find_column(columns, text_column, TEXT_COLUMNS, "text") if columns else text_column or "text"

    def start() -> Callable[[int], Window]:
        rows = _numbered(name, _with_text(_read_text(name, path)[1], text_column))
        return lambda count: list(islice(rows, count))

    take = start()
    total = 0
    schema: Any = None
    while window := take(read_ahead):
        if kind == ".jsonl":
            columns = list(dict.fromkeys(chain(columns, *window)))
            if for_parquet:
                schema = _widen(schema, window, f"{name}, rows {total + 1} to {total + len(window)}")
        total += len(window)
    if for_parquet:
        import pyarrow as pa

        if kind == ".jsonl":
            schema = pa.schema([schema.field(column) for column in columns])
        else:
            schema = pa.schema([(column, pa.string()) for column in columns])
    return RowSource(name, identity, columns, text_column, total, schema, start)


def _widen(schema: pa.Schema | None, window: list[Row], where: str) -> pa.Schema:
    """Types that hold the rows seen so far and these ones."""
    import pyarrow as pa

    columns = dict.fromkeys(chain.from_iterable(window))
    try:
        found = pa.schema([(column, pa.array([row.get(column) for row in window]).type) for column in columns])
        return found if schema is None else pa.unify_schemas([schema, found], promote_options="permissive")
    except (pa.ArrowException, OverflowError) as error:
        raise ValueError(f"{where}: no type holds a column: {error}; name an output that ends in .jsonl") from error


def _read_text(name: str, path: Path) -> tuple[list[str], Iterator[Row]]:
    """Columns, as far as they are known at the start, and rows."""
    kind = path.suffix.lower()
    if kind == ".txt":
        # A line end is one character, or two; a carriage return elsewhere is text.
        return ["text"], ({"text": line.removesuffix("\n").removesuffix("\r")} for line in _lines(path))
    if kind == ".jsonl":
        return list(next(_numbered(name, _json_rows(path)), {})), _json_rows(path)
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    # Strict, or a quote that is never closed would swallow all rows behind it.
    reader = csv.reader(_lines(path), delimiter=DELIMITERS[kind], strict=True)
    try:
        header = next(filter(None, reader), None)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{name}, header: {_explain(error)}") from error
    if header is None:
        raise ValueError(f"{name} is empty; a {kind} file starts with a line of column names")
    return header, _csv_rows(reader, header)


def _lines(path: Path) -> Iterator[str]:
    """Lines with their ends, decoded one by one, so that a wrong byte is found at its row."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            yield (line if number else line.removeprefix(codecs.BOM_UTF8)).decode()


def _csv_rows(reader: Iterable[list[str]], header: list[str]) -> Iterator[Row]:
    for fields in reader:
        if len(fields) == len(header):
            yield dict(zip(header, fields, strict=True))
        elif fields:  # a blank line is no row
            raise ValueError(f"it has {len(fields)} fields and the header {len(header)}; correct it, or quote the text")


def _json_rows(path: Path) -> Iterator[Row]:
    for line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if "\\u" in line:
                json.dumps(row, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            raise ValueError(
                f"it is not JSON: {error.msg}, character {error.pos + 1}; one object per line is read"
            ) from error
        except UnicodeEncodeError as error:
            raise ValueError("it holds half of a surrogate pair, which is no text; correct or remove it") from error
        if not isinstance(row, dict):
            raise ValueError(f"it is a {type(row).__name__}; one object per line is read")
        yield row


def _with_text(rows: Iterator[Row], column: str) -> Iterator[Row]:
    for row in rows:
        if not isinstance(row.get(column), str):
            raise ValueError(text_problem(row.get(column), column))
        yield row


def _numbered(name: str, rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows; errors say in which one they are, counted from 1."""
    number = 0
    try:
        for number, row in enumerate(rows, start=1):  # noqa: B007
            yield row
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{name}, row {number + 1}: {_explain(error)}") from error


def _explain(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.object[error.start]:#04x} is not UTF-8; save the file as UTF-8"
    return f"{error}; correct its quotes" if isinstance(error, csv.Error) else str(error)
