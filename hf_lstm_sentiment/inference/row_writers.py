"""Rows and their predictions into files: part by part, then joined."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

from ..data.readers import DELIMITERS, Row, RowSource, Window
from ..utils.files import replacing
from .classifier import Prediction

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OutputLayout:
    """What the output looks like.

    Attributes:
        suffix: Kind of file.
        columns: Those of the source.
        added: Names of the columns for label and score.
        schema: Types of the source's columns as an Arrow schema, for Parquet; else None.
    """

    suffix: str
    columns: Sequence[str]
    added: tuple[str, str]
    schema: Any

    @classmethod
    def of(cls, table: RowSource, suffix: str) -> OutputLayout:
        """The layout for the rows of a source.

        Args:
            table: The source.
            suffix: Kind of file.

        Raises:
            ValueError: The source has columns of all the names that label and score could get.
        """
        added = ("label", "score")
        if not set(added).isdisjoint(table.columns):
            added = ("predicted_label", "predicted_score")
        taken = [column for column in added if column in table.columns]
        if taken:
            raise ValueError(
                f"{table.name} has columns for label and score and {taken[0]!r} too; rename or remove that one, so "
                "that it is not overwritten"
            )
        return cls(suffix, table.columns, added, table.schema)

    @contextmanager
    def writer(self, file: BinaryIO, number: int) -> Iterator[Callable[[Window, list[Prediction]], object]]:
        """Write windows and their predictions to a part; the first part of a csv file holds the header.

        Args:
            file: The part.
            number: Its place among the parts, from 0.

        Yields:
            What takes a window and its predictions.
        """
        if self.suffix == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            schema = self.schema
            for column, kind in zip(self.added, (pa.string(), pa.float64()), strict=True):
                schema = schema.append(pa.field(column, kind))
            with pq.ParquetWriter(file, schema) as parquet:
                yield lambda window, predictions: parquet.write_table(
                    pa.table([*_columns(window, self.schema), *zip(*predictions, strict=True)], schema=schema)
                )
        elif self.suffix == ".jsonl":
            yield lambda window, predictions: file.writelines(
                json.dumps(row, ensure_ascii=False, default=_as_text).encode() + b"\n"
                for row in self._rows(window, predictions)
            )
        else:
            csv_writer = csv.writer(_LineFeeds(file), delimiter=DELIMITERS[self.suffix])
            names = [*self.columns, *self.added]
            if number == 0:
                csv_writer.writerow(names)
            yield lambda window, predictions: csv_writer.writerows(
                [_cell(row.get(name)) for name in names] for row in self._rows(window, predictions)
            )

    def _rows(self, window: Window, predictions: list[Prediction]) -> Iterator[Row]:
        rows = window if isinstance(window, list) else window.to_pylist()
        for row, prediction in zip(rows, predictions, strict=True):
            yield {**row, **dict(zip(self.added, prediction, strict=True))}


class _LineFeeds:
    """Ends rows with a line feed alone.

    `csv.writer` cannot be told to: before Python 3.13 it then leaves a carriage return in a field without quotes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n").encode() + b"\n")


def _as_text(value: Any) -> str:
    """A value for which JSON has no type."""
    if isinstance(value, date | time | timedelta | Decimal | UUID):
        return str(value)
    raise ValueError(f"the data hold a {type(value).__name__}, which is no text; name an output that ends in .parquet")


def _cell(value: Any) -> Any:
    """A value of a csv file; what is nested is written as JSON."""
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False, default=_as_text)
    return value if value is None or isinstance(value, str | int | float) else _as_text(value)


def _columns(window: Window, schema: pa.Schema) -> list[Any]:
    """Arrow columns of a window."""
    import pyarrow as pa

    if not isinstance(window, list):
        columns: list[Any] = window.columns
        return columns
    return [pa.array([row.get(field.name) for row in window], type=field.type) for field in schema]


def join_parts(parts: Sequence[Path], joined: Path) -> None:
    """Write all parts, one after another, into one file.

    Args:
        parts: The parts, in order; at least one.
        joined: File to write, of the same kind.
    """
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
