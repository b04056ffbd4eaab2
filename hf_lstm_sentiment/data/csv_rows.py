"""Rows of csv and tsv files: strictly, so that no quote swallows a row, and no row is cut or filled up."""

import csv
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any

from ..utils.messages import shown
from .columns import LABEL_COLUMNS, TEXT_COLUMNS, RawRow

logger = logging.getLogger(__name__)

DELIMITERS = {".csv": ",", ".tsv": "\t"}
# As they are given to --separator.
_SEPARATORS = {",": "','", ";": "';'", "\t": "'\\t'", "|": "'|'"}
# Far above any review, and low enough that a quote that is never closed does not read the file into memory.
_LONGEST_FIELD = 100_000_000
# Names of columns that tell a header from values.
_KNOWN = {*TEXT_COLUMNS, *LABEL_COLUMNS}
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def csv_reader(text: Iterable[str], **form: Any) -> Any:
    """What `csv.reader` makes of lines; a field may be longer than it allows by itself."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    return csv.reader(text, **form)


def open_csv(
    name: str,
    lines: Callable[[], Iterator[str]],
    kind: str,
    separator: str | None,
    column_names: Sequence[str] | None,
) -> tuple[list[str], Callable[[], Iterator[RawRow]]]:
    """Find out how a file is written, by its first line and by reading it to its end: its columns and their reader."""
    try:
        said = _SEP_LINE.fullmatch(next(lines(), ""))
        usual = separator or (said[1] if said else DELIMITERS[kind])
        tried = [usual] if separator or said else _SEPARATORS
        heads: dict[str, list[str]] = {}
        for candidate in tried:
            fields = csv_reader(islice(lines(), bool(said), None), delimiter=candidate)
            heads[candidate] = next(filter(None, fields), [])
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{name}, header: {error}") from error
    chosen = _choose_separator(name, {c: _names(head) for c, head in heads.items()}, usual, column_names)
    header = _plain(heads[chosen])
    columns = list(column_names or _names(heads[chosen]))
    if not columns:
        raise ValueError(f"{name} is empty; a {kind} file starts with a line of column names")
    parts = re.split(r'[,;|~^:\t"]+|  +', columns[0].lower()) if len(columns) == 1 else []
    if len(parts) > 1 and (separator is None or not _KNOWN.isdisjoint(parts)):
        raise ValueError(
            f"{name}: its first line is read as one column, {shown(columns[0])}; name what separates its fields with "
            "--separator, remove quotes around whole lines, or name the column of a file without a header: "
            "--column_names text"
        )
    if column_names and (
        header == _plain(columns) or not ({*header}.isdisjoint(TEXT_COLUMNS) or {*header}.isdisjoint(LABEL_COLUMNS))
    ):
        raise ValueError(f"{name}: its first line is a header, {shown(header)}; leave --column_names out")
    if chosen != usual:
        logger.info(f"{name}: its fields are separated by {_SEPARATORS[chosen]}")
    spaced = len(header) > 1 and all(field.startswith(" ") for field in heads[chosen][1:])
    dialect: dict[str, Any] = {"delimiter": chosen, "skipinitialspace": spaced}
    read = partial(_read, lines, columns, None if column_names else header, int(said is not None), dialect)
    # A quote is text where no field is quoted; with one column, a line break in a field would look like two rows.
    ways = ["plain", "doubled"] if kind == ".tsv" and len(columns) > 1 else ["doubled"]
    clean = (quotes for quotes in (*ways, "escaped") if _is_clean(read(quotes), quotes))
    best = next(clean, "doubled")
    if best == "plain" and (other := next(clean, None)):
        both = enumerate(zip(read(best), read(other), strict=False), start=1)
        if place := next((f"row {n} (line {one[0]})" for n, (one, two) in both if one[1] != two[1]), None):
            raise ValueError(
                f"{name}, {place}: its quote may be text, or open a field of several lines; remove it, or put the "
                "text in quotes as csv does, in which each quote is doubled"
            )
    return columns, partial(read, best)


def _plain(fields: Sequence[str]) -> list[str]:
    """Fields of a header as far as they matter where it comes again, as in files that were joined."""
    return [field.strip(' \t\ufeff"').lower() for field in fields]


def _names(header: Sequence[str]) -> list[str]:
    """Names of columns: those at the end that have none are no columns, and others are called by their place."""
    names = [field.strip() for field in header]
    while names and not names[-1]:
        del names[-1]
    # The first one, of an index, may be without a name.
    return [name or (f"column {place + 1}" if place else "") for place, name in enumerate(names)]


def _choose_separator(name: str, names: dict[str, list[str]], usual: str, column_names: Sequence[str] | None) -> str:
    """The separator of a file, where the columns that each one makes of its first line leave no doubt."""
    fitting = [c for c, found in names.items() if not _KNOWN.isdisjoint(map(str.lower, found))]
    fitting = fitting or [c for c, found in names.items() if len(found) > 1]
    if column_names:
        fitting = [c for c, found in names.items() if len(found) == len(column_names) > 1]
    if usual in fitting or not fitting:
        return usual
    if len(fitting) > 1:
        said = ", ".join(_SEPARATORS[candidate] for candidate in fitting)
        raise ValueError(f"{name}: its fields may be separated by any of {said}; name one with --separator")
    return fitting[0]


def _is_clean(rows: Iterator[RawRow], quotes: str) -> bool:
    """Whether a file is read to its end without a problem, and without quotes around what is said to have none."""
    with suppress(ValueError):
        for _, row, problem in rows:
            fields = row.values() if quotes == "plain" else ()
            if problem or any(len(field) > 1 and field[0] == field[-1] == '"' for field in fields):
                return False
        return True
    return False


def _read(
    lines: Callable[[], Iterator[str]],
    columns: list[str],
    header: list[str] | None,
    skipped: int,
    dialect: Mapping[str, Any],
    quotes: str,
) -> Iterator[RawRow]:
    """Rows of a file, behind so many lines; a blank line is none, and neither is a header, which may come again.

    `header` is as `_plain` has it, and None where there is none. Quotes in a text are "doubled", "escaped" by a
    backslash, or "plain" where no field is quoted.
    """
    text: Iterable[str] = islice(lines(), skipped, None)
    if quotes == "escaped":
        # Only quotes are escaped in such files: another backslash is one.
        text = (line.replace('\\"', '""') for line in text)
    quoting: Any = csv.QUOTE_NONE if quotes == "plain" else csv.QUOTE_MINIMAL
    reader = csv_reader(text, quoting=quoting, strict=True, **dialect)
    line, width, is_first = skipped + 1, len(columns), header is not None
    try:
        for fields in reader:
            begins, line = line, skipped + reader.line_num + 1
            if not fields:
                continue
            if is_first or (width > 1 and _plain(fields) == header):
                is_first = False
                continue
            problem, names = None, columns
            if len(fields) < width or any(fields[width:]):
                names = [*columns, *(f"column {place}" for place in range(width + 1, len(fields) + 1))]
                said = "the header" if header else "--column_names"
                problem = f"it has {len(fields)} fields and {said} {width}; correct it, or quote the text"
            yield begins, dict(zip(names, fields, strict=False)), problem
    except csv.Error as error:
        raise ValueError(f"{error} (line {line}); correct its quotes") from error
