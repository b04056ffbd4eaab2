"""Rows of csv and tsv files: strictly, so that no quote swallows a row, and no row is cut or filled up."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from ..utils.messages import shown
from .columns import LABEL_COLUMNS, TEXT_COLUMNS, ReadRow

logger = logging.getLogger(__name__)

DELIMITERS = {".csv": ",", ".tsv": "\t"}
# As they are given to --separator.
_SEPARATORS = {",": "','", ";": "';'", "\t": "'\\t'", "|": "'|'"}
# Far above any review, and low enough that a quote that is never closed does not read the file into memory.
_LONGEST_FIELD = 100_000_000
# Names of columns that tell a header from values.
_KNOWN = {*TEXT_COLUMNS, *LABEL_COLUMNS}
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


class _Form(NamedTuple):
    """How a file is written."""

    separator: str
    # Names of its columns, and the line that holds them, as `_plain` has it; None where it has none.
    columns: list[str]
    header: list[str] | None
    # Lines before the header.
    skipped: int
    # Whether a space follows each separator.
    spaced: bool
    # How a text holds quotes: "doubled", "escaped" by a backslash, or "plain" where no field is quoted.
    quotes: str = "doubled"


def csv_fields(text: Iterable[str], **form: Any) -> Any:
    """What `csv.reader` makes of lines; a field may be longer than it allows by itself."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    return csv.reader(text, **form)


def open_csv(
    name: str,
    lines: Callable[[], Iterator[str]],
    kind: str,
    separator: str | None,
    column_names: Sequence[str] | None,
) -> tuple[list[str], Callable[[], Iterator[ReadRow]]]:
    """Find out how a file is written, by its first line and by reading it to its end: its columns and their reader.

    `lines` opens it; `kind` is .csv or .tsv. A ValueError where it is empty, its header cannot be read, or more than
    one separator is possible.
    """
    try:
        said = _SEP_LINE.fullmatch(next(lines(), ""))
        usual = separator or (said[1] if said else DELIMITERS[kind])
        tried = [usual] if separator or said else _SEPARATORS
        heads: dict[str, list[str]] = {}
        for candidate in tried:
            fields = csv_fields(islice(lines(), bool(said), None), delimiter=candidate)
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
    form = _Form(chosen, columns, None if column_names else header, int(said is not None), spaced)
    # A quote is text where no field is quoted; with one column, a line break in a field would look like two rows.
    ways = ["plain", "doubled"] if kind == ".tsv" and len(columns) > 1 else ["doubled"]
    clean = (way for quotes in (*ways, "escaped") if _is_clean(name, lines, way := form._replace(quotes=quotes)))
    best = next(clean, form)
    if best.quotes == "plain" and (other := next(clean, None)):
        both = zip(_read(name, lines, best), _read(name, lines, other), strict=False)
        if place := next((one.place for one, two in both if one.row != two.row), None):
            raise ValueError(
                f"{name}, {place}: its quote may be text, or open a field of several lines; remove it, or put the text "
                "in quotes as csv does, in which each quote is doubled"
            )
    return columns, partial(_read, name, lines, best)


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


def _is_clean(name: str, lines: Callable[[], Iterator[str]], form: _Form) -> bool:
    """Whether a file is read to its end without a problem, and without quotes around what is said to have none."""
    try:
        for read in _read(name, lines, form):
            fields = read.row.values() if form.quotes == "plain" else ()
            if read.problem or any(len(field) > 1 and field[0] == field[-1] == '"' for field in fields):
                return False
    except ValueError:
        return False
    return True


def _read(name: str, lines: Callable[[], Iterator[str]], form: _Form) -> Iterator[ReadRow]:
    """Rows of a file; a blank line is none, and neither is a header, which may come again.

    A ValueError while iterating says in which row the quotes or the bytes are wrong.
    """
    text: Iterable[str] = islice(lines(), form.skipped, None)
    if form.quotes == "escaped":
        # Only quotes are escaped in such files: another backslash is one.
        text = (line.replace('\\"', '""') for line in text)
    quoting = csv.QUOTE_NONE if form.quotes == "plain" else csv.QUOTE_MINIMAL
    options = {"delimiter": form.separator, "skipinitialspace": form.spaced, "quoting": quoting}
    reader = csv_fields(text, **options, strict=True)
    number, line, width, is_first = 0, form.skipped + 1, len(form.columns), form.header is not None
    try:
        for fields in reader:
            begins, line = line, form.skipped + reader.line_num + 1
            if not fields:
                continue
            if is_first or (width > 1 and _plain(fields) == form.header):
                is_first = False
                continue
            number += 1
            problem, columns = None, form.columns
            if len(fields) < width or any(fields[width:]):
                columns = [*columns, *(f"column {place}" for place in range(width + 1, len(fields) + 1))]
                names = "the header" if form.header else "--column_names"
                problem = f"it has {len(fields)} fields and {names} {width}; correct it, or quote the text"
            yield ReadRow(number, begins, dict(zip(columns, fields, strict=False)), problem)
    except (csv.Error, ValueError) as error:
        remedy = "; correct its quotes" if isinstance(error, csv.Error) else ""
        raise ValueError(f"{name}, row {number + 1} (line {line}): {error}{remedy}") from error
