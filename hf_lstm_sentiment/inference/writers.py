"""Rows and their predictions into csv, tsv, jsonl and Parquet files: part by part, then joined."""

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO
from uuid import UUID

from ..data.columns import Row
from ..data.csv_rows import DELIMITERS
from ..utils.files import replacing

OUTPUTS = (".csv", ".tsv", ".jsonl", ".parquet")


def names_to_add(name: str, columns: Sequence[str], wanted: list[str]) -> list[str]:
    """Find names for columns that are added, or refuse a source that has all of these names, in any case."""
    have = {column.lower(): column for column in columns}
    for names in (wanted, [f"predicted_{column}" for column in wanted]):
        taken = [have[column.lower()] for column in names if column.lower() in have]
        if not taken:
            return names
    raise ValueError(
        f"{name} has columns for label and score and {taken[0]!r} too; rename or remove that one, so that it is not "
        "overwritten"
    )


@contextmanager
def row_writer(
    file: BinaryIO, kind: str, columns: Sequence[str], schema: Any = None, *, header: bool
) -> Iterator[Callable[[list[Row]], object]]:
    """Make what writes rows to a file of a kind, to csv and tsv below a header or none.

    To Parquet, a schema tells the types of the first columns; of those after it, one of labels and others of numbers.
    """
    if kind == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        label, *numbers = columns[len(schema) :]
        added = [(label, pa.string()), *((name, pa.float64()) for name in numbers)]
        schema = pa.schema([*schema, *added], metadata=schema.metadata)
        with pq.ParquetWriter(file, schema) as parquet:
            yield lambda rows: parquet.write_table(pa.Table.from_pylist(rows, schema=schema))
    elif kind == ".jsonl":
        yield lambda rows: file.writelines(map(json_line, rows))
    else:
        # Rows end with a line feed alone; told to, the writer before Python 3.13 leaves fields with a CR unquoted.
        lines: Any = SimpleNamespace(write=lambda row: file.write(row.removesuffix("\r\n").encode() + b"\n"))
        csv_writer = csv.writer(lines, delimiter=DELIMITERS[kind])
        if header:
            csv_writer.writerow(columns)
        yield lambda rows: csv_writer.writerows([_cell(row.get(name)) for name in columns] for row in rows)


def json_line(row: Any) -> bytes:
    """A row as a line of a .jsonl file; a number that JSON does not know is null."""
    try:
        text = json.dumps(row, ensure_ascii=False, default=_as_text, allow_nan=False)
    except ValueError:
        finite = json.loads(json.dumps(row, default=_as_text), parse_constant=lambda _: None)
        text = json.dumps(finite, ensure_ascii=False)
    return text.encode() + b"\n"


def _as_text(value: Any) -> str:
    """A value for which JSON has no type."""
    if isinstance(value, date | time | timedelta | Decimal | UUID):
        return str(value)
    raise ValueError(f"the data hold a {type(value).__name__}, which is no text; name an output that ends in .parquet")


def _cell(value: Any) -> Any:
    """A value of a csv file; what is nested is written as JSON."""
    if isinstance(value, dict | list | bool):
        return json_line(value)[:-1].decode()
    return value if value is None or isinstance(value, str | int | float) else _as_text(value)


def schema_of(name: str, columns: Sequence[str], windows: Iterator[list[Row]]) -> Any:
    """Find the types of columns that have none, as an Arrow schema, from all rows, some at a time."""
    import pyarrow as pa

    schema, total = pa.schema([]), 0
    for window in windows:
        try:
            found = [(c, pa.array([row.get(c) for row in window]).type) for c in dict.fromkeys(chain(*window))]
            schema = pa.unify_schemas([schema, pa.schema(found)], promote_options="permissive")
        except (pa.ArrowException, OverflowError) as error:
            raise ValueError(
                f"{name}, rows {total + 1} to {total + len(window)}: no type holds a column: {error}; name an output "
                "that ends in .jsonl"
            ) from error
        total += len(window)
    return pa.schema([schema.field(column) if column in schema.names else (column, pa.string()) for column in columns])


def join_parts(parts: Sequence[Path], joined: Path) -> None:
    """Write all parts, one after another, into one file of the same kind."""
    with replacing(joined) as file:
        if joined.suffix != ".parquet":
            for path in parts:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, file)
            return
        import pyarrow.parquet as pq

        with pq.ParquetWriter(file, pq.read_schema(parts[0])) as writer:
            for path in parts:
                with pq.ParquetFile(path) as part:
                    for group in range(part.num_row_groups):
                        writer.write_table(part.read_row_group(group))
