"""Rows of csv and tsv files: strictly, so that no quote swallows a row, and no row is cut or filled up."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
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
_SEP_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)

Lines = Callable[[], Iterator[str]]


class CsvForm(NamedTuple):
    """How a file is written.

    Attributes:
        separator: What stands between two fields.
        columns: Their names.
        header: The names as they stand in the file; None where it has none.
        skipped: Lines before the header.
        spaced: Whether a space follows each separator.
        quotes: How a text holds quotes: "doubled", "escaped" by a backslash, or "plain" where no field is quoted.
    """

    separator: str
    columns: list[str]
    header: list[str] | None
    skipped: int
    spaced: bool
    quotes: str = "doubled"

    def reader(self, lines: Lines) -> Iterator[list[str]]:
        """The fields of each row, the header's too.

        Args:
            lines: Opens the file.
        """
        text: Iterable[str] = islice(lines(), self.skipped, None)
        if self.quotes == "escaped":
            # Only quotes are escaped in such files: another backslash is one.
            text = (line.replace('\\"', '""') for line in text)
        return csv_fields(text, delimiter=self.separator, spaced=self.spaced, plain=self.quotes == "plain", strict=True)


def csv_fields(
    text: Iterable[str], *, delimiter: str = ",", spaced: bool = False, plain: bool = False, strict: bool = False
) -> Iterator[list[str]]:
    """The fields of each row; a field may be longer than Python's csv module allows by itself.

    Args:
        text: Lines.
        delimiter: What stands between two fields.
        spaced: Leave out a space behind it.
        plain: Take quotes for text.
        strict: Refuse quotes that are wrong.

    Raises:
        csv.Error: While iterating: a row cannot be read.
    """
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    if plain:
        return csv.reader(text, delimiter=delimiter, skipinitialspace=spaced, quoting=csv.QUOTE_NONE)
    return csv.reader(text, delimiter=delimiter, skipinitialspace=spaced, strict=strict)


def find_csv_form(
    name: str, lines: Lines, kind: str, *, separator: str | None, column_names: Sequence[str] | None, wanted: str | None
) -> CsvForm:
    """Find out how a file is written, by its first line and by reading it to its end.

    Args:
        name: What the caller called the file.
        lines: Opens it.
        kind: .csv or .tsv.
        separator: What stands between two fields; found where None.
        column_names: Names of its columns where it has no header.
        wanted: The column of texts that the user named.

    Raises:
        ValueError: It is empty, its header cannot be read, or more than one separator is possible.
    """
    usual = separator or DELIMITERS[kind]
    heads: dict[str, list[str]] = {}
    try:
        said = _SEP_LINE.fullmatch(next(lines(), ""))
        skipped = int(said is not None)
        usual = said[1] if said and separator is None else usual
        problem = None
        for candidate in [usual] if separator or said else _SEPARATORS:
            try:
                fields = csv_fields(islice(lines(), skipped, None), delimiter=candidate, strict=True)
                heads[candidate] = next(filter(None, fields), [])
            except csv.Error as error:
                problem = error if candidate == usual else problem
        if problem and not any(len(head) > 1 for head in heads.values()):
            raise ValueError(f"{problem}; correct its quotes")
    except ValueError as error:
        raise ValueError(f"{name}, header: {error}") from error
    chosen = _choose_separator(name, heads, usual, column_names, wanted)
    header = [field.strip() for field in heads[chosen]]
    columns = list(column_names) if column_names else _names(header)
    if not columns:
        raise ValueError(f"{name} is empty; a {kind} file starts with a line of column names")
    if twins := [column for column in columns if columns.count(column) > 1]:
        raise ValueError(f"{name} has several columns called {twins[0]!r}; rename all but one")
    first = {field.lower() for field in header}
    if column_names and (header == columns or not (first.isdisjoint(TEXT_COLUMNS) or first.isdisjoint(LABEL_COLUMNS))):
        raise ValueError(f"{name}: its first line is a header, {shown(header)}; leave --column_names out")
    if wanted in columns and separator is None:
        _check_text_name(name, wanted, chosen)
    if chosen != usual:
        logger.info(f"{name}: its fields are separated by {_SEPARATORS[chosen]}")
    spaced = len(header) > 1 and all(field.startswith(" ") for field in heads[chosen][1:])
    form = CsvForm(chosen, columns, None if column_names else header, skipped, spaced)
    # A quote is text where no field is quoted; with one column, a line break in a field would look like two rows.
    ways = ["plain", "doubled"] if kind == ".tsv" and len(columns) > 1 else ["doubled"]
    forms = [form._replace(quotes=quotes) for quotes in (*ways, "escaped")]
    return next((way for way in forms if _is_clean(name, lines, way)), form)


def _names(header: Sequence[str]) -> list[str]:
    names = list(header)
    while names and not names[-1]:
        del names[-1]
    # The first one, of an index, may be without a name.
    return [name or (f"column {place + 1}" if place else "") for place, name in enumerate(names)]


def _choose_separator(
    name: str, heads: dict[str, list[str]], usual: str, column_names: Sequence[str] | None, wanted: str | None
) -> str:
    """The separator of a file, where its first line leaves no doubt."""
    names = {candidate: _names([field.strip() for field in head]) for candidate, head in heads.items()}
    if column_names:
        fitting = [candidate for candidate, found in names.items() if len(found) == len(column_names)]
    else:
        known = {*TEXT_COLUMNS, *LABEL_COLUMNS}
        fitting = [candidate for candidate, found in names.items() if wanted in found]
        fitting = fitting or [c for c, found in names.items() if any(column.lower() in known for column in found)]
        fitting = fitting or [candidate for candidate, found in names.items() if len(found) > 1]
    if usual in fitting or not fitting:
        return usual if usual in heads else next(iter(heads))
    if len(fitting) > 1:
        listed = ", ".join(_SEPARATORS[candidate] for candidate in fitting)
        raise ValueError(f"{name}: its fields may be separated by any of {listed}; name one with --separator")
    return fitting[0]


def _check_text_name(name: str, wanted: str, separator: str) -> None:
    """Refuse a column of texts that would hold several columns."""
    for inside, given in _SEPARATORS.items():
        if inside in wanted and inside != separator:
            raise ValueError(
                f"{name}: column {shown(wanted)} holds {given}, which separates columns in many files; pass "
                f"--separator {given} and the name of one column, or --separator {_SEPARATORS[separator]} where this "
                "is the name of one"
            )


def _is_clean(name: str, lines: Lines, form: CsvForm) -> bool:
    """Whether a file is read to its end without a problem."""
    plain = form.quotes == "plain"
    try:
        for read in read_csv(name, lines, form, told=False):
            if read.problem or (plain and any(len(f) > 1 and f[0] == f[-1] == '"' for f in read.row.values())):
                return False
    except ValueError:
        return False
    return True


def read_csv(name: str, lines: Lines, form: CsvForm, *, told: bool = True) -> Iterator[ReadRow]:
    """Rows of a file; a blank line is none, and neither is a header that comes again.

    Args:
        name: What the caller called the file.
        lines: Opens it.
        form: From `find_csv_form`.
        told: Whether it was said that the header comes again.

    Raises:
        ValueError: While iterating: quotes or bytes are wrong; the message tells the row.
    """
    width, header = len(form.columns), form.header
    reader: Any = form.reader(lines)
    number = repeated = 0
    awaited = header is not None
    while True:
        line = form.skipped + reader.line_num + 1
        try:
            fields = next(reader, None)
        except (csv.Error, ValueError) as error:
            remedy = "; correct its quotes" if isinstance(error, csv.Error) else ""
            raise ValueError(f"{name}, row {number + 1} (line {line}): {error}{remedy}") from error
        if fields is None:
            break
        if not fields:
            continue
        if awaited:
            awaited = False
            continue
        if width > 1 and header and fields[0].strip() == header[0] and [f.strip() for f in fields] == header:
            repeated += 1
            continue
        number += 1
        row = dict(zip(form.columns, fields, strict=False))
        if len(fields) == width or (len(fields) > width and not any(fields[width:])):
            yield ReadRow(number, line, row)
        else:
            names = "the header" if header else "--column_names"
            problem = f"it has {len(fields)} fields and {names} {width}; correct it, or quote the text"
            yield ReadRow(number, line, row, problem)
    if repeated and not told:
        logger.info(f"{name}: the header comes again in {repeated:,} places, where it is left out")
