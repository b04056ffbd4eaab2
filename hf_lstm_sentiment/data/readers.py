"""The one reader of files, for training and for prediction: rows of csv, tsv, txt, json and parquet files."""

import codecs
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..utils.files import file_digest
from ..utils.imports import require
from ..utils.messages import first_line, shown
from .columns import TEXT_COLUMNS, RawRow, ReadRow, Row
from .csv_rows import DELIMITERS, open_csv

KINDS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
# Bytes that are looked at to tell an encoding, and lines to tell a table from texts.
_HEAD, _LOOKED_AT = 4_096, 100
_FASTTEXT = "__label__"
_WRONG_BYTE = re.compile("[\udc80-\udcff]")
_NAME_IT = "name its encoding, such as --encoding cp1252"
_OBJECTS = "an object per row is read: one per line, or all in a list"


@dataclass(frozen=True)
class FileForm:
    """How files are written, where they do not tell it themselves: csv and tsv files, and the encoding of any text."""

    separator: str | None = None
    # Of files that have no header.
    column_names: str | Sequence[str] | None = None
    encoding: str | None = None

    def __post_init__(self) -> None:
        if self.separator in ("\\t", "tab"):
            object.__setattr__(self, "separator", "\t")
        if self.separator is not None and len(self.separator) != 1:
            raise ValueError(f"separator is {self.separator!r}; allowed: one character such as ';', or '\\t'")
        if isinstance(self.column_names, str):
            object.__setattr__(self, "column_names", [name.strip() for name in self.column_names.split(",")])


@dataclass(frozen=True)
class Rows:
    """Rows of a file or of a part of a data set, which can be read again and again."""

    # What messages call it, and its columns in order.
    name: str
    columns: Sequence[str]
    # What tells its content from another one's.
    state: str
    # Reads the rows; of files of columns, only those named.
    raw: Callable[[Sequence[str] | None], Iterable[RawRow]]
    # Types of the columns as an Arrow schema, where it has them.
    schema: Any = None
    # How many rows there are, where that is known without reading them.
    total: int | None = None

    def __post_init__(self) -> None:
        if twins := [column for column in self.columns if self.columns.count(column) > 1]:
            raise ValueError(f"{self.name} has several columns called {twins[0]!r}; rename all but one")

    @property
    def class_names(self) -> Mapping[str, Sequence[str]]:
        """Names of the whole numbers in columns, as `datasets` notes them beside an Arrow schema."""
        said = json.loads(((self.schema and self.schema.metadata) or {}).get(b"huggingface", b"{}"))
        features = said.get("info", {}).get("features", {})
        return {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}

    def read(self, text_column: str | None = None, only: Sequence[str] | None = None) -> Iterator[ReadRow]:
        """The rows, of all columns or those named; where it is said which has the texts, one without has a problem.

        What ends them early is a ValueError of a file's content or an OSError, and names the row.
        """
        number = 0
        try:
            for number, (line, row, problem) in enumerate(self.raw(only), start=1):
                if text_column is not None and problem is None and not isinstance(text := row.get(text_column), str):
                    problem = (
                        f"the text is {shown(text)}; every row needs a string in column {text_column!r}; correct or "
                        "remove the row, or name the right column with --text_column"
                    )
                yield ReadRow(number, line, row, problem)
        except ValueError as error:
            raise ValueError(f"{self.name}, row {number + 1}: {error}") from error
        except Exception as error:
            # What a stream from the Hub raises when the connection breaks depends on its client.
            problem = f"{first_line(error)}; call again to go on, or write a damaged file anew"
            raise OSError(f"{self.name}, row {number + 1}: {problem}") from error


def kind_of(path: Path) -> str:
    """The kind of a file by its name, whether or not it is compressed: one of `KINDS`, or an empty string."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes = [suffix for suffix in suffixes[:-1] if suffix != ".parquet"]
    return suffixes[-1] if suffixes and suffixes[-1] in KINDS else ""


def check_kind(name: str, path: Path) -> str:
    """The kind of a file, which messages call by a name; a ValueError where it is none that is read."""
    if path.is_dir():
        raise ValueError(f"{name} is a directory; name its files, such as {path / '*.csv'}, and an --output_dir")
    if not (kind := kind_of(path)):
        raise ValueError(f"{name}: files of kind {path.suffix!r} are not read; allowed: {', '.join(KINDS)}")
    return kind


def open_rows(path: Path, form: FileForm, *, name: str | None = None) -> Rows:
    """Open a file, which messages call by a name, after a look at all of it where its columns need one.

    A ValueError says where it is not what its name says; a ModuleNotFoundError, that parquet needs the extra `train`.
    """
    name, kind = name or path.name, kind_of(path)
    # By its content: another file may have the same place, size and time.
    state = f"{kind} {file_digest(path)} {form}"
    if kind == ".parquet":
        return _open_parquet(name, path, state)

    def lines(newline: str = "\n") -> Iterator[str]:
        return _lines(path, form.encoding, newline)

    if kind in DELIMITERS:
        columns, read = open_csv(name, lambda: lines(""), kind, form.separator, form.column_names)
        return Rows(name, columns, state, lambda _: read())
    if kind == ".txt":
        texts = Rows(name, ["text"], state, lambda _: _read_lines(lines(), False))
        first = [read.row["text"] for read in islice(texts.read(), _LOOKED_AT)]
        has_labels = any(_FASTTEXT in line for line in first)
        if not has_labels and (meant := table_kind(first)):
            raise ValueError(
                f"{name}: its lines are those of a table; call the file {meant}, and where it has no header, name its "
                "columns: --column_names text,label"
            )
        return Rows(name, ["label", "text"], state, lambda _: _read_lines(lines(), True)) if has_labels else texts
    rows = Rows(name, [], state, lambda _: _read_json(lines()))
    columns = list(dict.fromkeys(chain.from_iterable(read.row for read in rows.read())))
    if not columns and (bad := next(rows.read(), None)) and bad.problem:
        raise ValueError(f"{name}, {bad.place}: {bad.problem}")
    return replace(rows, columns=columns)


def read_text(path: Path, form: FileForm) -> str:
    """The content of a text file; a ValueError where its bytes are no text."""
    try:
        return "".join(_lines(path, form.encoding, "\n"))
    except ValueError as error:
        raise ValueError(f"{path.parent.name}/{path.name}: {error}") from error


def _read_json(lines: Iterable[str]) -> Iterator[RawRow]:
    """Rows of a file that holds an object per line, or a list of objects, which is read whole.

    Python's own parser reads them: Arrow's, through which `datasets` reads such files, ends the process where a file
    begins with `null` (pyarrow 26.0.1), and holds columns that nobody asked for. A blank line is no row.
    """
    numbered = ((line, text) for line, text in enumerate(lines, start=1) if text.strip())
    first = next(numbered, (0, ""))
    if first[1].lstrip().startswith("["):
        # Blank lines in front count where an error names a line.
        text = "\n" * (first[0] - 1) + "".join(chain([first[1]], (line for _, line in numbered)))
        for value in _parse(text):
            problem = _problem(value)
            yield None, {} if problem else value, problem
    elif first[1]:
        for line, text in chain([first], numbered):
            try:
                problem = _problem(value := _parse(text.rstrip()))
            except ValueError as error:
                problem = str(error)
            yield line, {} if problem else value, problem


def _parse(text: str) -> Any:
    """A JSON value; a ValueError where it is none, or holds what no table can."""
    try:
        return json.loads(text, object_pairs_hook=_unambiguous)
    except RecursionError:
        raise ValueError("its values are nested too deep; flatten or remove them") from None
    except json.JSONDecodeError as error:
        place = f"character {error.pos + 1}" if error.lineno == 1 else f"line {error.lineno}, character {error.colno}"
        raise ValueError(f"it is not JSON: {error.msg}, {place}; {_OBJECTS}") from error


def _unambiguous(pairs: list[tuple[str, Any]]) -> Row:
    """An object without two values of one name."""
    row = dict(pairs)
    if len(row) != len(pairs):
        twin, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"it has two values called {twin!r}; remove or rename one")
    return row


def _problem(value: Any) -> str | None:
    """Why a value is no row, if it is none."""
    try:
        written = json.dumps(value, ensure_ascii=False)
        written.encode()
    except (UnicodeEncodeError, RecursionError):
        return "it holds half of a surrogate pair, which is no text, or is nested too deep; correct or remove it"
    if not isinstance(value, dict):
        return f"it is {written[:60]}; {_OBJECTS}"
    if value and all(isinstance(inner, dict | list) for inner in value.values()):
        return (
            "it is a whole table in one object; one object per row is read, as pandas writes it with "
            'to_json(path, orient="records", lines=True)'
        )
    return None


def table_kind(lines: Sequence[str]) -> str:
    """The kind of table that lines of texts are, by as many tabs in each, by JSON, or by a header."""
    tabs = {line.count("\t") for line in lines if line}
    if len(lines) > 1 and len(tabs) == 1 and tabs != {0}:
        return ".tsv"
    names = re.split("[,;|\t]", "".join(lines[:1]).lower())
    if len(names) > 1 and not {*TEXT_COLUMNS}.isdisjoint(names) and all(re.fullmatch(r"[\w.]*", n) for n in names):
        return ".csv"
    return ".jsonl" if lines and re.match(r'\[?\{"', lines[0]) else ""


def _read_lines(lines: Iterator[str], has_labels: bool) -> Iterator[RawRow]:
    for number, line in enumerate(lines, start=1):
        text = line.removesuffix("\n").removesuffix("\r")
        if not has_labels:
            yield number, {"text": text}, None
            continue
        label, text = [*text.split(None, 1), "", ""][:2]
        problem = None
        if not label.startswith(_FASTTEXT) or text.lstrip().startswith(_FASTTEXT):
            problem = f"the file has labels of fastText, and this line begins with none or several {_FASTTEXT}"
        yield number, {"label": label.removeprefix(_FASTTEXT), "text": text.strip()}, problem


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
            # What cannot be decoded becomes a surrogate, so that a wrong byte is found at its row.
            decoded = io.TextIOWrapper(file, encoding, errors="surrogateescape", newline=newline)
            for number, line in enumerate(decoded):
                if not line.isascii() and (wrong := _WRONG_BYTE.search(line)):
                    byte = f"byte {ord(wrong[0]) - 0xDC00:#04x} is not {encoding.upper()} (line {number + 1})"
                    raise ValueError(f"{byte}; save the file as UTF-8, or {_NAME_IT}")
                yield line if number else line.removeprefix("\ufeff")
        except (UnicodeError, LookupError) as error:
            raise ValueError(f"it cannot be read as {encoding}: {first_line(error)}; {_NAME_IT}") from error
        except (OSError, EOFError, zlib.error) as error:
            if not packed:
                raise
            raise ValueError(f"it cannot be decompressed ({first_line(error)}); the file is damaged") from error


def _encoding(head: bytes) -> str:
    """UTF-16 by its mark, or by its zeros: of Latin letters, or of the spaces and line ends of others; else UTF-8."""
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for place, (encoding, end) in enumerate((("utf-16-be", b"\0\n"), ("utf-16-le", b"\n\0"))):
        zeros, others = head[place::2].count(0), head[1 - place :: 2].count(0)
        if zeros > max(1, len(head) // 40) and not others and head.count(b"\n") == head.count(end):
            return encoding
    return "utf-8"


def _open_parquet(name: str, path: Path, state: str) -> Rows:
    require("pyarrow", extra="train")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name} cannot be read as a Parquet file: {first_line(error)}; write it anew") from error

    def batches(only: Sequence[str] | None) -> Iterator[Any]:
        with pq.ParquetFile(path) as file:
            # One row group at a time: batches that span two of them come out damaged where a struct holds nulls only.
            for group in range(file.num_row_groups):
                yield from file.iter_batches(batch_size=1_000, row_groups=[group], columns=only)

    return Rows(name, schema.names, state, lambda only: arrow_rows(batches(only)), schema)


def arrow_rows(batches: Iterable[Any]) -> Iterator[RawRow]:
    """Rows of Arrow's batches."""
    return ((None, row, None) for batch in batches for row in batch.to_pylist())
