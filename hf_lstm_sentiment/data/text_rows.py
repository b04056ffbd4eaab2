"""Rows out of .csv, .tsv, .jsonl and .txt files, for which nothing beyond Python is needed."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.messages import shown
from .columns import TEXT_COLUMNS, find_column
from .json_rows import SUFFIXES, JsonFiles, parse_row
from .readers import (
    DELIMITERS,
    Row,
    RowSource,
    Window,
    csv_fields,
    explain_undecodable,
    lines,
    refuse_twins,
    text_problem,
)

if TYPE_CHECKING:
    import pyarrow as pa


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
    grows = path.suffix.lower() == ".jsonl"
    return _open(
        name,
        lambda: _read_text(name, path),
        identity,
        text_column,
        grows,
        for_parquet=for_parquet,
        read_ahead=read_ahead,
    )


def open_files(
    name: str,
    paths: Sequence[Path],
    identity: Mapping[str, Any],
    text_column: str | None,
    *,
    for_parquet: bool,
    read_ahead: int,
) -> RowSource:
    """Open the files of a directory as one source, as :func:`open_text` opens one; json files may be lists, too.

    Args:
        name: What the caller called the directory.
        paths: Its files, whose rows follow each other; of one kind.
        identity: What tells it from another source.
        text_column: Column of the texts; found by its name where None.
        for_parquet: Find types for the columns, too.
        read_ahead: Rows that are read at a time.

    Raises:
        ValueError: A row is no row, or has no text, or files have other columns; the message names it.
    """
    grows = paths[0].suffix.lower() in SUFFIXES

    def read() -> tuple[list[str], Iterator[Row]]:
        if grows:
            return list(next(_numbered(name, iter(JsonFiles(paths))), {})), iter(JsonFiles(paths))
        columns, _ = _read_text(paths[0].name, paths[0])
        return columns, chain.from_iterable(_rows_of(path, columns, paths[0]) for path in paths)

    return _open(name, read, identity, text_column, grows, for_parquet=for_parquet, read_ahead=read_ahead)


def _rows_of(path: Path, columns: list[str], first: Path) -> Iterator[Row]:
    found, rows = _read_text(path.name, path)
    if found != columns:
        raise ValueError(
            f"{path.name} has the columns {', '.join(map(shown, found))}, and {first.name} has "
            f"{', '.join(map(shown, columns))}; give both one header, or name one file"
        )
    yield from _numbered(path.name, rows)


def _open(
    name: str,
    read: Callable[[], tuple[list[str], Iterator[Row]]],
    identity: Mapping[str, Any],
    text_column: str | None,
    grows: bool,
    *,
    for_parquet: bool,
    read_ahead: int,
) -> RowSource:
    """A source of what `read` gives: columns, and rows; where it `grows`, later rows may have more columns."""
    columns, _ = read()
    refuse_twins(name, columns)
    # An empty .jsonl file has no columns; there is no row that would need one.
    text_column = find_column(columns, text_column, TEXT_COLUMNS, "text") if columns else text_column or "text"

    def start() -> Callable[[int], Window]:
        rows = _numbered(name, _with_text(read()[1], text_column))
        return lambda count: list(islice(rows, count))

    take = start()
    total = 0
    schema: Any = None
    while window := take(read_ahead):
        if grows:
            columns = list(dict.fromkeys(chain(columns, *window)))
            if for_parquet:
                schema = _widen(schema, window, f"{name}, rows {total + 1} to {total + len(window)}")
        total += len(window)
    if for_parquet:
        import pyarrow as pa

        schema = pa.schema([schema.field(column) if grows else (column, pa.string()) for column in columns])
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
        return ["text"], ({"text": line.removesuffix("\n").removesuffix("\r")} for line in lines(path))
    if kind == ".jsonl":
        return list(next(_numbered(name, _json_rows(path)), {})), _json_rows(path)
    # Strict, or a quote that is never closed would swallow all rows behind it.
    reader = csv_fields(lines(path), delimiter=DELIMITERS[kind], strict=True)
    try:
        header = next(filter(None, reader), None)
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{name}, header: {_explain(error)}") from error
    if header is None:
        raise ValueError(f"{name} is empty; a {kind} file starts with a line of column names")
    return header, _csv_rows(reader, header)


def _csv_rows(reader: Iterable[list[str]], header: list[str]) -> Iterator[Row]:
    for fields in reader:
        if len(fields) == len(header):
            yield dict(zip(header, fields, strict=True))
        elif fields:  # a blank line is no row
            raise ValueError(f"it has {len(fields)} fields and the header {len(header)}; correct it, or quote the text")


def _json_rows(path: Path) -> Iterator[Row]:
    return (parse_row(line) for line in lines(path) if line.strip())


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
    return f"{error}; correct its quotes" if isinstance(error, csv.Error) else explain_undecodable(error)
