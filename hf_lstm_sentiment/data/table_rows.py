"""Rows out of Parquet files, directories and data sets of the Hub, as tables. They need the extra `train`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.files import user_path
from ..utils.imports import require
from ..utils.messages import first_cause, first_line
from .columns import TEXT_COLUMNS, find_column
from .local_files import plain_files
from .readers import RowSource, Window, refuse_twins, text_problem
from .text_rows import open_files

if TYPE_CHECKING:
    import pyarrow as pa


def open_parquet(
    name: str, path: Path, identity: Mapping[str, Any], text_column: str | None, *, read_ahead: int
) -> RowSource:
    """Open a Parquet file, after a look at all of its texts.

    Args:
        name: What the caller called it.
        path: The file.
        identity: What tells it from another source.
        text_column: Column of the texts; found by its name where None.
        read_ahead: Rows that are read at a time.

    Raises:
        ValueError: It is no Parquet file, or not every row has a text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise ValueError(f"{name} cannot be read as a Parquet file: {first_line(error)}") from error
    with file:
        schema, total = file.schema_arrow, file.metadata.num_rows
        column = _arrow_text_column(name, schema, text_column)
        row = 0
        for batch in file.iter_batches(batch_size=read_ahead, columns=[column]):
            row += _check_texts(name, batch.column(0), column, row)

    def tables() -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            # One row group at a time: batches that span two of them come out damaged where a struct holds nulls only.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(batch_size=read_ahead, row_groups=[group]):
                    yield pa.Table.from_batches([batch], schema=schema)

    def start() -> Callable[[int], Window]:
        return _TableReader(name, tables(), schema, column)

    return RowSource(name, identity, schema.names, column, total, schema, start)


def open_dataset(name: str, split: str, text_column: str | None, *, for_parquet: bool, read_ahead: int) -> RowSource:
    """Stream a directory or a data set of the Hub.

    Args:
        name: The directory, or the name on the Hub.
        split: Its split.
        text_column: Column of the texts; found by its name where None.
        for_parquet: Find types for the columns of a directory of text files, too; others have them.
        read_ahead: Rows that are read at a time.

    Raises:
        ConnectionError: The Hub cannot be reached, or holds no such data set.
        ModuleNotFoundError: The extra `train` is missing.
        ValueError: There is no such split, it holds no row, or no column of texts is found.
    """
    require("datasets", extra="train")
    from datasets import DatasetDict, load_dataset_builder, load_from_disk
    from datasets.exceptions import DatasetNotFoundError

    # Absolute, for `datasets` takes a data set's name from its directory, and "." is none.
    path = Path(os.path.abspath(user_path(name)))
    local = path.is_dir()
    files: Mapping[str, Sequence[Path]] = {}
    first = None
    try:
        if any((path / marker).exists() for marker in ("dataset_dict.json", "state.json")):
            loaded = load_from_disk(str(path))
            splits = dict(loaded) if isinstance(loaded, DatasetDict) else {"train": loaded}
            state = {key: part._fingerprint for key, part in splits.items()}.get(split)
        else:
            builder = load_dataset_builder(str(path) if local else name)
            files = plain_files(builder) if local else {}
            splits, state = files or builder.as_streaming_dataset(), builder.hash
        if split not in splits:
            raise ValueError(f"it has the splits {', '.join(map(repr, splits))}, not {split!r}; choose with --split")
        if not files:
            data = splits[split].with_format("arrow")
            batches = data.iter(batch_size=read_ahead)
            first = next(batches, None)
    except (DatasetNotFoundError, ConnectionError) as error:
        if local:
            raise ValueError(f"{name}: no rows could be read: {first_line(error)}") from error
        raise ConnectionError(
            f"{name}: not found on the Hub, or the Hub cannot be reached ({first_line(error)}); name a local file or "
            "directory"
        ) from error
    except Exception as error:
        raise ValueError(f"{name}: no rows could be read: {first_line(first_cause(error))}") from error
    identity = {"source": str(path.resolve()) if local else name, "split": split, "state": state}
    if files:
        found = open_files(name, files[split], identity, text_column, for_parquet=for_parquet, read_ahead=read_ahead)
        if found.total:
            return found
    if first is None:
        raise ValueError(f"{name}: split {split!r} holds no row")
    schema = first.schema
    column = _arrow_text_column(name, schema, text_column)
    known = (data.info.splits or {}).get(split)
    reader = _TableReader(name, chain([first], batches), schema, column)
    return RowSource(
        name, identity, schema.names, column, known.num_examples if known else None, schema, start=lambda: reader
    )


def _arrow_text_column(name: str, schema: pa.Schema, wanted: str | None) -> str:
    import pyarrow as pa

    refuse_twins(name, schema.names)
    column = find_column(schema.names, wanted, TEXT_COLUMNS, "text")
    kind = schema.field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(values) or pa.types.is_large_string(values)):
        raise ValueError(f"{name}: column {column!r} holds {kind}, not texts; name the right one with --text_column")
    return column


def _check_texts(name: str, texts: Any, column: str, before: int) -> int:
    """Refuse texts that are missing; their number. `before` rows stand in front of them."""
    if texts.null_count:
        raise ValueError(f"{name}, row {before + texts.to_pylist().index(None) + 1}: {text_problem(None, column)}")
    return len(texts)


class _TableReader:
    """Takes rows out of a stream of tables, whatever the sizes of these."""

    def __init__(self, name: str, tables: Iterator[pa.Table], schema: pa.Schema, column: str) -> None:
        self._name, self._tables, self._column = name, tables, column
        self._rest = schema.empty_table()
        self._row = 0

    def __call__(self, count: int) -> pa.Table:
        import pyarrow as pa

        have = [self._rest]
        missing = count - len(self._rest)
        while missing > 0 and (table := self._next()) is not None:
            self._row += _check_texts(self._name, table[self._column], self._column, self._row)
            try:
                have.append(table.cast(self._rest.schema))
            except (pa.ArrowException, ValueError) as error:
                raise ValueError(f"{self._name}, row {self._row}: not of the types of row 1: {error}") from error
            missing -= len(table)
        rows = pa.concat_tables(have)
        self._rest = rows.slice(count)
        return rows.slice(0, count)

    def _next(self) -> pa.Table | None:
        try:
            return next(self._tables, None)
        except Exception as error:
            # What a stream from the Hub raises when the connection breaks depends on its client.
            raise OSError(f"{self._name}, after row {self._row}: {first_line(error)}; call again to go on") from error
