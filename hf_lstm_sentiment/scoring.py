"""Score a whole file or data set in flat memory; a run that was killed continues where it stopped.

While it runs, finished parts lie in `OUTPUT.parts/` beside a manifest that says what is being done. Part n holds the
rows from n x rows_per_part on, and the windows in which reviews are sorted by length start anew with each part, so
that batches, and with them scores, are the same whether or not a run was stopped. When all rows are done, the parts
are joined, the result takes its place in one step and the directory goes.
"""

from __future__ import annotations

import codecs
import csv
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import UUID

from tqdm import tqdm  # type: ignore[import-untyped]

from . import __version__, runs
from .data import _HUB_ID, _TEXT_COLUMNS, _find_column, _first_line
from .extras import require
from .inference import WINDOW, Classifier, Prediction

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

_INPUTS = (".csv", ".tsv", ".jsonl", ".parquet", ".txt")
_OUTPUTS = (".csv", ".tsv", ".jsonl", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MANIFEST = "manifest.json"

# Far above any review, and low enough that a quote that is never closed does not read the file into memory.
_LONGEST_FIELD = 100_000_000

Row = dict[str, Any]
# Rows that are classified together: as Python objects from text files, as a table from Parquet and the Hub.
Window = list[Row] | Any


@dataclass(frozen=True)
class _Source:
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
        if isinstance(window, list):
            return [row[self.text_column] for row in window]
        texts: list[str] = window[self.text_column].to_pylist()
        return texts


def predict_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | Classifier,
    text_column: str | None = None,
    batch_size: int = 64,
    split: str = "train",
    rows_per_part: int = 50_000,
    progress: bool = True,
) -> int:
    """Classify every row of a file or data set and write the rows with a label and a score.

    All columns are kept, in order, and two are added: `label` and `score`, or `predicted_label` and `predicted_score`
    where the source has a column of either name. Scores have all their digits. A file is read twice: once to find
    every defect before the model is loaded, once to classify. Memory holds a window of rows, not the file.

    A run that was killed is continued by the same call; the result is, byte for byte, that of a run which was not, on
    the same machine with the same number of threads.

    Args:
        source: A .csv or .tsv file with a header, a .jsonl file (one object per line), a .parquet file, a .txt file
            (one review per line, an empty line is an empty review), a directory, or a data set of the Hub. Text is
            UTF-8, with or without a byte order mark; an empty csv field is an empty review.
        output: A .csv, .tsv, .jsonl or .parquet file to write, in a directory that is there.
        model: A run directory, a repository of the Hub, or a `Classifier`, which is loaded already.
        text_column: Column of the texts; found by its name where None.
        batch_size: Reviews that are computed together.
        split: Split of a directory or a data set of the Hub; of no meaning for a file.
        rows_per_part: Rows after which what is done is safe from a kill.
        progress: Show a bar where standard error is a terminal.

    Returns:
        Rows in the output.

    Raises:
        FileExistsError: The output is there already, or `OUTPUT.parts` is something else.
        FileNotFoundError: The source, the model or the output's directory is not there.
        ModuleNotFoundError: Parquet files, directories and the Hub need the extra `train`.
        ValueError: A kind of file that is not read or written, a row without a text (the message names it), a file
            that is not what its name says, a number below 1; or the parts that are there are of another run.
        OSError: The Hub cannot be reached, or holds no such model or data set.
    """
    name, target = os.fspath(source), Path(output).expanduser()
    for option, value in (("batch_size", batch_size), ("rows_per_part", rows_per_part)):
        if value < 1:
            raise ValueError(f"{option} is {value}; allowed: a whole number of at least 1")
    parts = target.with_name(f"{target.name}.parts")
    suffix = target.suffix.lower()
    joined = parts / f"joined{suffix}"
    _check_output(name, target, parts, joined)
    table = _open(name, text_column=text_column, split=split, for_parquet=suffix == ".parquet")
    layout = _Layout.of(table, suffix)

    classifier = model if isinstance(model, Classifier) else Classifier.from_pretrained(model)
    manifest = {
        **table.identity,
        "text_column": table.text_column,
        "model": classifier.fingerprint(),
        "output": suffix,
        "rows_per_part": rows_per_part,
        "batch_size": batch_size,
        "hf_lstm_sentiment": __version__,
    }
    before = _prepare(parts, manifest)
    if target.exists():
        # All that was left to do is what the kill kept from being done.
        rows = int(before["rows"])
    else:
        runs.write_json(manifest, parts / _MANIFEST)
        rows, count = _classify(table, layout, classifier, parts, rows_per_part, batch_size, progress=progress)
        _join([_part(parts, number, suffix) for number in range(count)], joined)
        runs.write_json({**manifest, "rows": rows}, parts / _MANIFEST)
        _refuse_to_overwrite(target)
        os.replace(joined, target)
    # The manifest goes last, so that a kill in between leaves what the next call understands.
    for path in parts.glob("part-*"):
        path.unlink()
    shutil.rmtree(parts)
    return rows


def _check_output(source: str, output: Path, parts: Path, joined: Path) -> None:
    if output.suffix.lower() not in _OUTPUTS:
        raise ValueError(f"{output}: files of kind {output.suffix!r} are not written; allowed: {', '.join(_OUTPUTS)}")
    if output.exists() and Path(source).expanduser().exists() and output.samefile(Path(source).expanduser()):
        raise ValueError(f"{output} is both what is read and what is to be written; name another output")
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output.parent}: no such directory; make it, or name another output than {output}")
    manifest = parts / _MANIFEST
    # The joined file waits here until the manifest knows its rows; then it moves in one step.
    moved = manifest.is_file() and "rows" in runs.read_json(manifest) and not joined.exists()
    if not moved:
        _refuse_to_overwrite(output)


def _refuse_to_overwrite(output: Path) -> None:
    if output.exists():
        raise FileExistsError(f"{output} is there already; move it away, or name another output")


def _prepare(parts: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Make the directory of parts, or find what an earlier call left in it: its manifest, else an empty one."""
    path = parts / _MANIFEST
    before: dict[str, Any] = {}
    if path.is_file():
        before = runs.read_json(path)
        changed = [key for key in sorted({*before, *manifest} - {"rows"}) if before.get(key) != manifest.get(key)]
        if changed:
            listed = "; ".join(f"{key} was {before.get(key)!r} and is {manifest.get(key)!r}" for key in changed)
            raise ValueError(
                f"{parts} holds parts of another run and cannot be continued: {listed}. Run it as it was started, "
                "delete that directory to start anew, or name another output"
            )
    elif parts.exists() and (
        not parts.is_dir() or any(not p.name.startswith(f".{_MANIFEST}") for p in parts.iterdir())
    ):
        raise FileExistsError(
            f"{parts} is in the way and holds no parts of a run; move it away, or name another output"
        )
    else:
        parts.mkdir(exist_ok=True)
    return before


def _part(parts: Path, number: int, suffix: str) -> Path:
    return parts / f"part-{number:05}{suffix}"


def _classify(
    table: _Source,
    layout: _Layout,
    classifier: Classifier,
    parts: Path,
    rows_per_part: int,
    batch_size: int,
    *,
    progress: bool,
) -> tuple[int, int]:
    """Write the parts that are not there; the number of rows and of parts."""
    take = table.start()
    rows = number = 0
    while _part(parts, number, layout.suffix).is_file():
        left = rows_per_part
        while skipped := len(take(min(WINDOW, left))):
            rows, left = rows + skipped, left - skipped
        number += 1
    if number:
        logger.info(f"{parts.name}: {rows:,} rows are done already and skipped")
    with tqdm(total=table.total, initial=rows, unit=" reviews", disable=None if progress else True) as bar:
        window = take(min(WINDOW, rows_per_part))
        # Without a row there is one part, which holds the header.
        while len(window) or not number:
            left = rows_per_part
            with _replacing(_part(parts, number, layout.suffix)) as file, layout.writer(file, number) as write:
                while len(window):
                    write(window, classifier(table.texts(window), batch_size=batch_size))
                    rows, left = rows + len(window), left - len(window)
                    bar.update(len(window))
                    window = take(min(WINDOW, left))
            number += 1
            window = take(min(WINDOW, rows_per_part))
    return rows, number


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes its place once it is whole and on the disk."""
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _join(parts: Sequence[Path], joined: Path) -> None:
    with _replacing(joined) as file:
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


@dataclass(frozen=True)
class _Layout:
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
    def of(cls, table: _Source, suffix: str) -> _Layout:
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
        """Writes windows and their predictions to a part; the first part of a csv file holds the header."""
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
            csv_writer = csv.writer(_LineFeeds(file), delimiter=_DELIMITERS[self.suffix])
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


def _open(source: str, *, text_column: str | None, split: str, for_parquet: bool) -> _Source:
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if for_parquet or (path.is_file() and suffix == ".parquet"):
        require("pyarrow", extra="train")
    if path.is_file():
        if suffix not in _INPUTS:
            raise ValueError(f"{source}: files of kind {path.suffix!r} are not read; allowed: {', '.join(_INPUTS)}")
        found = path.stat()
        identity = {"source": str(path.resolve()), "size": found.st_size, "mtime_ns": found.st_mtime_ns}
        if suffix == ".parquet":
            return _open_parquet(source, path, identity, text_column)
        return _open_text(source, path, identity, text_column, for_parquet=for_parquet)
    if not path.is_dir() and (suffix in _INPUTS or not _HUB_ID.fullmatch(source)):
        raise FileNotFoundError(
            f"{source}: no such file or directory; allowed: a file ({', '.join(_INPUTS)}), a directory, or a data set "
            "of the Hub such as stanfordnlp/imdb"
        )
    return _open_dataset(source, split, text_column)


def _refuse_twins(name: str, columns: Sequence[str]) -> None:
    twins = [column for column in columns if columns.count(column) > 1]
    if twins:
        raise ValueError(f"{name} has several columns called {twins[0]!r}; rename all but one")


def _text_problem(value: Any, column: str) -> str:
    return (
        f"the text is {value!r}; every row needs a string in column {column!r}; correct or remove the row, or name "
        "the right column with --text_column"
    )


def _open_text(
    name: str, path: Path, identity: Mapping[str, Any], text_column: str | None, *, for_parquet: bool
) -> _Source:
    """Find the columns and go through all rows once, so that no defect shows after hours of work."""
    kind = path.suffix.lower()
    columns, _ = _read_text(name, path)
    _refuse_twins(name, columns)
    # An empty .jsonl file has no columns; there is no row that would need one.
    text_column = _find_column(columns, text_column, _TEXT_COLUMNS, "text") if columns else text_column or "text"

    def start() -> Callable[[int], Window]:
        rows = _numbered(name, _with_text(_read_text(name, path)[1], text_column))
        return lambda count: list(islice(rows, count))

    take = start()
    total = 0
    schema: Any = None
    while window := take(WINDOW):
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
    return _Source(name, identity, columns, text_column, total, schema, start)


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
    reader = csv.reader(_lines(path), delimiter=_DELIMITERS[kind], strict=True)
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
            raise ValueError(_text_problem(row.get(column), column))
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


def _open_parquet(name: str, path: Path, identity: Mapping[str, Any], text_column: str | None) -> _Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowException as error:
        raise ValueError(f"{name} cannot be read as a Parquet file: {_first_line(error)}") from error
    with file:
        schema, total = file.schema_arrow, file.metadata.num_rows
        column = _arrow_text_column(name, schema, text_column)
        row = 0
        for batch in file.iter_batches(batch_size=WINDOW, columns=[column]):
            row += _check_texts(name, batch.column(0), column, row)

    def tables() -> Iterator[pa.Table]:
        with pq.ParquetFile(path) as file:
            # One row group at a time: batches that span two of them come out damaged where a struct holds nulls only.
            for group in range(file.num_row_groups):
                for batch in file.iter_batches(batch_size=WINDOW, row_groups=[group]):
                    yield pa.Table.from_batches([batch], schema=schema)

    def start() -> Callable[[int], Window]:
        return _TableReader(name, tables(), schema, column)

    return _Source(name, identity, schema.names, column, total, schema, start)


def _open_dataset(name: str, split: str, text_column: str | None) -> _Source:
    """Stream a directory or a data set of the Hub."""
    require("datasets", extra="train")
    from datasets import DatasetDict, load_dataset_builder, load_from_disk
    from datasets.exceptions import DatasetNotFoundError

    path = Path(name).expanduser()
    local = path.is_dir()
    try:
        if any((path / marker).exists() for marker in ("dataset_dict.json", "state.json")):
            loaded = load_from_disk(str(path))
            splits = dict(loaded) if isinstance(loaded, DatasetDict) else {"train": loaded}
            state = {key: part._fingerprint for key, part in splits.items()}.get(split)
        else:
            builder = load_dataset_builder(str(path) if local else name)
            splits, state = builder.as_streaming_dataset(), builder.hash
        if split not in splits:
            raise ValueError(f"it has the splits {', '.join(map(repr, splits))}, not {split!r}; choose with --split")
        data = splits[split].with_format("arrow")
        batches = data.iter(batch_size=WINDOW)
        first = next(batches, None)
    except (DatasetNotFoundError, ConnectionError) as error:
        if local:
            raise ValueError(f"{name}: no rows could be read: {_first_line(error)}") from error
        raise ConnectionError(
            f"{name}: not found on the Hub, or the Hub cannot be reached ({_first_line(error)}); name a local file or "
            "directory"
        ) from error
    except Exception as error:
        # datasets wraps whatever its readers raise; the first cause is the one that tells.
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ValueError(f"{name}: no rows could be read: {_first_line(cause)}") from error
    if first is None:
        raise ValueError(f"{name}: split {split!r} holds no row")
    schema = first.schema
    column = _arrow_text_column(name, schema, text_column)
    known = (data.info.splits or {}).get(split)
    identity = {"source": str(path.resolve()) if local else name, "split": split, "state": state}
    reader = _TableReader(name, chain([first], batches), schema, column)
    return _Source(
        name, identity, schema.names, column, known.num_examples if known else None, schema, start=lambda: reader
    )


def _arrow_text_column(name: str, schema: pa.Schema, wanted: str | None) -> str:
    import pyarrow as pa

    _refuse_twins(name, schema.names)
    column = _find_column(schema.names, wanted, _TEXT_COLUMNS, "text")
    kind = schema.field(column).type
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(values) or pa.types.is_large_string(values)):
        raise ValueError(f"{name}: column {column!r} holds {kind}, not texts; name the right one with --text_column")
    return column


def _check_texts(name: str, texts: Any, column: str, before: int) -> int:
    """Refuse texts that are missing; their number. `before` rows stand in front of them."""
    if texts.null_count:
        raise ValueError(f"{name}, row {before + texts.to_pylist().index(None) + 1}: {_text_problem(None, column)}")
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
            raise OSError(f"{self._name}, after row {self._row}: {_first_line(error)}; call again to go on") from error
