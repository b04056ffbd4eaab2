"""The one reader of files, for training and for prediction: rows of csv, tsv, txt, json and parquet files."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from ..utils.imports import require
from ..utils.messages import first_line, shown
from .columns import ReadRow
from .csv_rows import DELIMITERS, find_csv_form, read_csv
from .json_rows import read_json

KINDS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
# Bytes that are looked at to tell an encoding, and lines to tell a table from texts.
_HEAD, _LOOKED_AT = 4_096, 100
_FASTTEXT = "__label__"


@dataclass(frozen=True)
class FileForm:
    """How files are written, where they do not tell it themselves.

    Attributes:
        separator: What stands between two fields of a csv or tsv file.
        column_names: Names of the columns of csv and tsv files that have no header.
        encoding: The encoding of text files.
    """

    separator: str | None = None
    column_names: Sequence[str] | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.separator in ("\\t", "tab"):
            object.__setattr__(self, "separator", "\t")
        if self.separator is not None and (len(self.separator) != 1 or self.separator in '"\r\n'):
            raise ValueError(f"separator is {self.separator!r}; allowed: one character such as ';', or '\\t'")
        if isinstance(self.column_names, str):
            object.__setattr__(self, "column_names", [name.strip() for name in self.column_names.split(",")])
        if self.column_names is not None and not all(self.column_names):
            raise ValueError(f"column_names is {list(self.column_names)}; allowed: a name for each column")
        try:
            "".encode(self.encoding or "utf-8")
        except LookupError as error:
            raise ValueError(
                f"encoding is {self.encoding!r}; allowed: utf-8, utf-16, cp1252, latin-1 and others of Python"
            ) from error


@dataclass(frozen=True)
class Rows:
    """Rows of a file or of a part of a data set, which can be read again and again.

    Attributes:
        name: What messages call it.
        columns: Names of the columns, in order.
        state: What tells its content from another one's.
        read: Reads the rows; of files of columns, only those named.
        schema: Types of the columns as an Arrow schema, where it has them.
        class_names: Names of the whole numbers in a column, where it has them.
        total: How many rows there are, where that is known without reading them.
    """

    name: str
    columns: Sequence[str]
    state: str
    read: Callable[[Sequence[str] | None], Iterator[ReadRow]]
    schema: Any = None
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    total: int | None = None

    def with_text(
        self,
        column: str,
        *,
        only: Sequence[str] | None = None,
        skip: Callable[[ReadRow], object] | None = None,
        advice: str = "",
    ) -> Iterator[ReadRow]:
        """The rows that can be read and have a text.

        Args:
            column: Where the text stands.
            only: Columns to read; all of them where None.
            skip: Takes the other rows; without it, they are refused.
            advice: What else can be done about a refused row.

        Raises:
            ValueError: While iterating: a row cannot be read, or has no text; the message tells the row.
        """
        for read in self.read(only):
            problem = read.problem
            if problem is None and not isinstance(text := read.row.get(column), str):
                problem = (
                    f"the text is {shown(text)}; every row needs a string in column {column!r}; correct or remove "
                    "the row, or name the right column with --text_column"
                )
            if problem is None:
                yield read
            elif skip is None:
                raise ValueError(f"{self.name}, {read.place}: {problem}{advice}")
            else:
                skip(read._replace(problem=problem))


def kind_of(path: Path) -> str:
    """The kind of a file by its name, whether or not it is compressed.

    Args:
        path: The file.

    Returns:
        One of `KINDS`, or an empty string.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes = [suffix for suffix in suffixes[:-1] if suffix != ".parquet"]
    return suffixes[-1] if suffixes and suffixes[-1] in KINDS else ""


def open_rows(path: Path, form: FileForm, *, name: str | None = None, text_column: str | None = None) -> Rows:
    """Open a file, after a look at all of it where its columns need one.

    Args:
        path: The file.
        form: How it is written.
        name: What messages call it; its name where None.
        text_column: The column of texts that the user named.

    Raises:
        ValueError: It is not what its name says; the message tells where.
        ModuleNotFoundError: Parquet files need the extra `train`.
    """
    name, kind = name or path.name, kind_of(path)
    found = path.stat()
    state = f"{path.absolute()} {found.st_size} {found.st_mtime_ns} {form}"
    if kind == ".parquet":
        return _open_parquet(name, path, state)

    def lines(newline: str = "\n") -> Iterator[str]:
        return _lines(path, form.encoding, newline)

    if kind in DELIMITERS:
        csv_form = find_csv_form(
            name,
            lambda: lines(""),
            kind,
            separator=form.separator,
            column_names=form.column_names,
            wanted=text_column,
        )
        return Rows(name, csv_form.columns, state, lambda _: read_csv(name, lambda: lines(""), csv_form))
    if kind == ".txt":
        first = [read.row["text"] for read in islice(_placed(name, _read_lines(lines(), False)), _LOOKED_AT)]
        tabs = {line.count("\t") for line in first if line}
        if len(first) > 1 and len(tabs) == 1 and tabs != {0}:
            raise ValueError(
                f"{name}: every line has as many tabs, as in a table; call the file .tsv, and where it has no header, "
                "name its columns: --column_names text,label"
            )
        has_labels = bool(first) and first[0].startswith(_FASTTEXT)
        columns = ["label", "text"] if has_labels else ["text"]
        return Rows(name, columns, state, lambda _: _placed(name, _read_lines(lines(), has_labels)))

    def read(_: object = None) -> Iterator[ReadRow]:
        return _placed(name, read_json(lines(), may_be_list=kind == ".json"))

    columns = list(dict.fromkeys(chain.from_iterable(found.row for found in read())))
    if not columns and (bad := next(read(), None)) and bad.problem:
        raise ValueError(f"{name}, {bad.place}: {bad.problem}")
    return Rows(name, columns, state, read)


def read_text(path: Path, form: FileForm) -> str:
    """The content of a text file.

    Args:
        path: The file.
        form: How it is written.

    Raises:
        ValueError: Its bytes are no text; the message names it.
    """
    try:
        return "".join(_lines(path, form.encoding, "\n"))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def _placed(name: str, rows: Iterator[ReadRow]) -> Iterator[ReadRow]:
    """The same rows; what ends their file early says where."""
    number = 0
    try:
        for read in rows:
            number = read.number
            yield read
    except ValueError as error:
        raise ValueError(f"{name}, row {number + 1}: {error}") from error


def _read_lines(lines: Iterator[str], has_labels: bool) -> Iterator[ReadRow]:
    for number, line in enumerate(lines, start=1):
        text = line.removesuffix("\n").removesuffix("\r")
        if not has_labels:
            yield ReadRow(number, number, {"text": text})
            continue
        label, _, text = text.partition(" ")
        problem = None
        if not label.startswith(_FASTTEXT) or text.lstrip().startswith(_FASTTEXT):
            problem = f"the file has labels of fastText, and this line begins with none or several {_FASTTEXT}"
        yield ReadRow(number, number, {"label": label.removeprefix(_FASTTEXT), "text": text.strip()}, problem)


def _lines(path: Path, encoding: str | None, newline: str) -> Iterator[str]:
    """Lines of a text file with their ends; with a `newline` of "", a carriage return ends one, too."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: Any = gzip.GzipFile(fileobj=raw) if packed else raw
        try:
            head = file.peek(_HEAD)[:_HEAD]
            if head.startswith(b"PK\x03\x04"):
                raise ValueError("it is a zip archive or a workbook; take the file out of it, or save the table as csv")
            encoding = encoding or _encoding(head)
            if newline and b"\n" not in head and b"\r" in head:
                newline = "\r"
            for number, line in enumerate(_decoded(file, encoding, newline)):
                yield line if number else line.removeprefix("\ufeff")
        except (OSError, EOFError, zlib.error) as error:
            if not packed:
                raise
            raise ValueError(f"it cannot be decompressed ({first_line(error)}); the file is damaged") from error


def _encoding(head: bytes) -> str:
    for mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        if head.startswith(mark):
            return "utf-16"
    # Without a mark: every second byte of Latin text is zero.
    zeros = [head[place::2].count(0) for place in (0, 1)]
    half = len(head) // 2
    if half > 1 and zeros[1] > 0.8 * half and not zeros[0]:
        return "utf-16-le"
    if half > 1 and zeros[0] > 0.8 * half and not zeros[1]:
        return "utf-16-be"
    return "utf-8"


def _decoded(file: BinaryIO, encoding: str, newline: str) -> Iterator[str]:
    if newline == "\r" or "\n".encode(encoding) != b"\n":
        try:
            yield from io.TextIOWrapper(file, encoding, newline=newline)
        except UnicodeError as error:
            raise ValueError(f"it is not {encoding}: {first_line(error)}; name its encoding with --encoding") from error
        return
    # One by one, so that a wrong byte is found at its row.
    for line in file:
        try:
            text = line.decode(encoding)
        except UnicodeDecodeError as error:
            raise ValueError(
                f"byte {line[error.start]:#04x} is not {encoding.upper()}; save the file as UTF-8, or name its "
                "encoding, such as --encoding cp1252"
            ) from error
        if newline == "" and "\r" in text:
            yield from io.StringIO(text, newline="")
        else:
            yield text


def _open_parquet(name: str, path: Path, state: str) -> Rows:
    require("pyarrow", extra="train")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} cannot be read as a Parquet file: {first_line(error)}; write it anew") from error
    if twins := [column for column in schema.names if schema.names.count(column) > 1]:
        raise ValueError(f"{name} has several columns called {twins[0]!r}; rename all but one")

    def read(only: Sequence[str] | None) -> Iterator[ReadRow]:
        number = 0
        try:
            with pq.ParquetFile(path) as file:
                # One row group at a time: batches that span two of them come out damaged where a struct holds nulls
                # only.
                for group in range(file.num_row_groups):
                    for batch in file.iter_batches(batch_size=1_000, row_groups=[group], columns=only):
                        for number, row in enumerate(batch.to_pylist(), start=number + 1):  # noqa: B020
                            yield ReadRow(number, None, row)
        except pa.ArrowException as error:
            raise ValueError(f"{name}, row {number + 1}: {first_line(error)}; write the file anew") from error

    return Rows(name, schema.names, state, read, schema, class_names_of(schema))


def class_names_of(schema: Any) -> dict[str, Sequence[str]]:
    """Names of the whole numbers in columns, as `datasets` notes them beside an Arrow schema."""
    said = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    features = said.get("info", {}).get("features", {})
    return {column: feature["names"] for column, feature in features.items() if feature.get("_type") == "ClassLabel"}
