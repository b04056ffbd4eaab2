"""Objects out of .jsonl files and .json lists, read with Python's own parser.

Arrow's reader, through which `datasets` reads such files, ends the process where a file begins with `null` (pyarrow
26.0.1), and holds columns that nobody asked for.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

from .readers import Row, explain_undecodable, lines

# What Python's own parser and writer can hold is about ten times as much, and depends on who calls them.
_DEEPEST = 100
_PER_LINE, _IN_LIST = "one object per line is read", "a list of objects is read"
SUFFIXES = (".json", ".jsonl", ".ndjson")


class JsonFiles:
    """Rows of .jsonl files (an object per line) and .json lists, read anew whenever they are iterated over.

    Lines are read one by one, a list is read whole. A blank line is no row.

    Args:
        paths: The files, whose rows follow each other.

    Raises:
        ValueError: While iterating: a row is no object, or no text could hold it; the message names file and line.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __iter__(self) -> Iterator[Row]:
        for path in self.paths:
            yield from _rows_of_list(path) if _is_list(path) else _rows_of_lines(path)

    @cached_property
    def column_names(self) -> list[str]:
        """The keys of all rows, in the order in which they come up; it takes a look at every row."""
        return list(dict.fromkeys(chain.from_iterable(self)))


def parse_row(line: str) -> Row:
    """One object.

    Args:
        line: A line of a .jsonl file.

    Raises:
        ValueError: It is not JSON, no object, or holds what no text or number could.
    """
    return _checked(_parse(line.rstrip(), _PER_LINE), _PER_LINE, "\\u" in line)


def _rows_of_lines(path: Path) -> Iterator[Row]:
    number = 0
    try:
        for number, line in enumerate(lines(path), start=1):  # noqa: B007
            if line.strip():
                yield parse_row(line)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name}, line {number + 1}: {explain_undecodable(error)}") from None
    except ValueError as error:
        raise ValueError(f"{path.name}, line {number}: {error}") from None


def _rows_of_list(path: Path) -> Iterator[Row]:
    place = path.name
    try:
        text = path.read_text("utf-8-sig")
        escaped = "\\u" in text
        for number, row in enumerate(_parse(text, _IN_LIST), start=1):
            place = f"{path.name}, object {number}"
            yield _checked(row, _IN_LIST, escaped)
    except ValueError as error:
        raise ValueError(f"{place}: {explain_undecodable(error)}") from None


def _parse(text: str, form: str) -> Any:
    nested = False
    value: Any = None
    try:
        value = json.loads(text, object_pairs_hook=_unambiguous)
    except RecursionError:
        nested = True
    except json.JSONDecodeError as error:
        place = f"character {error.pos + 1}" if error.lineno == 1 else f"line {error.lineno}, character {error.colno}"
        raise ValueError(f"it is not JSON: {error.msg}, {place}; {form}") from error
    except _AmbiguousError:
        raise
    except ValueError as error:
        raise ValueError(
            f"it holds a number of more than {sys.get_int_max_str_digits():,} digits; shorten it"
        ) from error
    if nested or (text.count("[") + text.count("{") > _DEEPEST and _depth(value) > _DEEPEST):
        raise ValueError(f"its values are nested more than {_DEEPEST} deep; flatten or remove them")
    return value


def _checked(row: Any, form: str, escaped: bool) -> Row:
    """The same row; only where characters are `escaped` can there be half of a surrogate pair."""
    if escaped:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise ValueError("it holds half of a surrogate pair, which is no text; correct or remove it") from error
    if not isinstance(row, dict):
        kind = type(row).__name__
        said = "null" if row is None else f"an {kind}" if kind == "int" else f"a {kind}"
        raise ValueError(f"it is {said}; {form}")
    return row


class _AmbiguousError(ValueError):
    """An object with two values of one name."""


def _unambiguous(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise _AmbiguousError(f"it has two values called {twin!r}; remove or rename one")
    return row


def _depth(value: Any) -> int:
    depth = 0
    level = [value]
    while level := [inner for outer in level if isinstance(outer, dict | list) for inner in _values(outer)]:
        depth += 1
    return depth


def _values(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def _is_list(path: Path) -> bool:
    """Whether a .json file holds a list of rows, and not a row per line."""
    if path.suffix.lower() != ".json":
        return False
    with path.open("rb") as file:
        file.seek(len(codecs.BOM_UTF8) if file.peek().startswith(codecs.BOM_UTF8) else 0)
        return next((line.strip() for line in file if line.strip()), b"").startswith(b"[")
