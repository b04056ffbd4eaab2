"""Objects out of .jsonl and .json files, read with Python's own parser.

Arrow's reader, through which `datasets` reads such files, ends the process where a file begins with `null` (pyarrow
26.0.1), and holds columns that nobody asked for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from .columns import ReadRow, Row

# What Python's own parser and writer can hold is about ten times as much, and depends on who calls them.
_DEEPEST = 100
_PER_LINE, _IN_LIST = "one object per line is read", "a list of objects is read"


def read_json(lines: Iterable[str], *, may_be_list: bool) -> Iterator[ReadRow]:
    """Rows of a file that holds an object per line or, where it may, a list of objects.

    Lines are read one by one, a list is read whole. A blank line is no row.

    Args:
        lines: The file.
        may_be_list: Whether a file that begins with a bracket is a list.

    Raises:
        ValueError: A list is not JSON.
    """
    numbered = ((line, text) for line, text in enumerate(lines, start=1) if text.strip())
    first = next(numbered, None)
    if first is None:
        return
    if may_be_list and first[1].lstrip().startswith("["):
        # Blank lines in front count where an error names a line.
        text = "\n" * (first[0] - 1) + "".join(chain([first[1]], (line for _, line in numbered)))
        escaped = "\\u" in text
        for number, value in enumerate(_parse(text, _IN_LIST), start=1):
            yield _checked(ReadRow(number, None, {}), value, _IN_LIST, escaped)
        return
    for number, (line, text) in enumerate(chain([first], numbered), start=1):
        read = ReadRow(number, line, {})
        try:
            yield _checked(read, _parse(text.rstrip(), _PER_LINE), _PER_LINE, "\\u" in text)
        except ValueError as error:
            yield read._replace(problem=str(error))


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


def _checked(read: ReadRow, value: Any, form: str, escaped: bool) -> ReadRow:
    """The row of a value; only where characters are `escaped` can there be half of a surrogate pair."""
    if escaped:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return read._replace(problem="it holds half of a surrogate pair, which is no text; correct or remove it")
    if not isinstance(value, dict):
        kind = type(value).__name__
        said = "null" if value is None else f"an {kind}" if kind == "int" else f"a {kind}"
        return read._replace(problem=f"it is {said}; {form}")
    if value and all(isinstance(inner, dict | list) for inner in value.values()):
        return read._replace(
            problem="it is a whole table in one object; one object per row is read, as pandas writes it with "
            'to_json(path, orient="records", lines=True)'
        )
    return read._replace(row=value)


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
