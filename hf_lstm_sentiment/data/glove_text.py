"""The rows of a GloVe text: a word, then its values, separated by single spaces."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
from tqdm import tqdm  # type: ignore[import-untyped]

DAMAGED = "the file is damaged: download it again, or pass another --glove FILE"
HTML = re.compile(rb"\s*<(!|\?xml|(html|head|body|title)\b)", re.IGNORECASE)

_HEADER = re.compile(rb"(\d+) (\d+)")
_BAR_FROM, _BAR_LINES = 50_000_000, 4_096

Vectors = npt.NDArray[np.float32]
# Numbered lines.
Lines = Iterator[tuple[int, bytes]]


@dataclass(frozen=True)
class Text:
    """A GloVe text, opened and found right up to its first row.

    Attributes:
        name: What is read, for messages.
        dimension: Values per word.
        lines: Numbered from 1, from the first row on.
        size: Bytes, unpacked where that is known.
        tell: How many of them were read.
    """

    name: str
    dimension: int
    lines: Lines
    size: int
    tell: Callable[[], int]


def html_error(name: str) -> ValueError:
    """What to raise for a page in the place of a file.

    Args:
        name: The file.
    """
    return ValueError(f"{name} is an HTML page, such as a server's error message; {DAMAGED}")


def first_row(name: str, lines: Lines) -> tuple[int, Lines]:
    """The dimension, and the lines from the first row on, which is a right one.

    Args:
        name: What is read, for messages.
        lines: All of its lines.

    Raises:
        ValueError: There is no row, or the first one is none.
    """
    number, line = next(lines, (0, b""))
    if not line:
        raise ValueError(f"{name} is empty; {DAMAGED}")
    line = line.removeprefix(codecs.BOM_UTF8)
    announced = None
    if header := _HEADER.fullmatch(line.rstrip()):
        announced = int(header[2])
        number, line = next(lines, (0, b""))
        if not line:
            raise ValueError(f"{name} holds a header and no vectors; {DAMAGED}")
    _, *values = line.rstrip().split(b" ")
    if not values or not all(map(_is_number, values)):
        if HTML.match(line):
            raise html_error(name)
        raise ValueError(
            f"{name}, line {number}: {line[:60].decode(errors='replace').rstrip()!r} is no row of "
            "GloVe vectors, a word and then numbers, separated by single spaces; pass another "
            "--glove FILE"
        )
    where = f"{name}, line {number}"
    if announced is not None and announced != len(values):
        raise _count_error(where, len(values), announced)
    _split(line.rstrip(), len(values), where)
    _parse(values, where)
    return len(values), chain([(number, line)], lines)


def read_rows(text: Text, wanted: frozenset[str], progress: bool) -> tuple[dict[str, int], Vectors]:
    """The wanted words that a text holds.

    Args:
        text: The text, which is read up to the last wanted word.
        wanted: The words.
        progress: Show a bar on a terminal while a large file is read.

    Returns:
        Each word that was found and its row, and the vectors, *Shape:* (found, dimension).

    Raises:
        ValueError: A row is damaged; the message tells the line.
    """
    found: dict[str, int] = {}
    rows: list[Vectors] = []
    blank = 0
    hidden = None if progress and text.size > _BAR_FROM else True
    with tqdm(
        desc=f"Reading {text.name}",
        total=text.size,
        unit="B",
        unit_scale=True,
        disable=hidden,
    ) as bar:
        for number, line in text.lines if wanted else ():
            if number % _BAR_LINES == 0:
                bar.update(text.tell() - bar.n)
            line = line.rstrip()
            if not line:
                blank = blank or number
                continue
            if blank:
                raise ValueError(f"{text.name}, line {blank} is blank; {DAMAGED}")
            where = f"{text.name}, line {number}"
            word, values = _split(line, text.dimension, where)
            if word in wanted and word not in found:
                found[word] = len(rows)
                rows.append(_parse(values.split(b" "), where))
                if len(rows) == len(wanted):
                    break
        bar.update(text.tell() - bar.n)
    return found, np.stack(rows) if rows else np.empty((0, text.dimension), dtype=np.float32)


def _split(line: bytes, dimension: int, where: str) -> tuple[str, bytes]:
    """The word of a line, and its values, counted and not yet read."""
    fields = line.count(b" ")
    if fields == dimension:
        word, _, values = line.partition(b" ")
    else:
        *parts, values = line.split(b" ", fields - dimension + 1) if fields > dimension else [line]
        if not parts or any(map(_is_number, parts)):
            raise _count_error(where, fields, dimension)
        word = b" ".join(parts)
    try:
        return word.decode(), values
    except UnicodeDecodeError as error:
        problem = f"the word {word!r} is not UTF-8"
        raise ValueError(f"{where}: {problem}; convert it, or pass another --glove FILE") from error


def _count_error(where: str, fields: int, dimension: int) -> ValueError:
    return ValueError(f"{where} has {fields} values, expected {dimension} as in line 1; {DAMAGED}")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    # Python reads 1_0 as 10.
    return b"_" not in field


def _parse(values: list[bytes], where: str) -> Vectors:
    for value in values:
        if not _is_number(value):
            wrong = value.decode(errors="replace")
            raise ValueError(f"{where}: {wrong!r} is no number; {DAMAGED}")
    with np.errstate(over="ignore"):
        vector = np.array([float(value) for value in values], dtype=np.float32)
    finite = np.isfinite(vector)
    if not finite.all():
        wrong = values[int(np.argmin(finite))].decode()
        raise ValueError(f"{where}: {wrong} is not finite in float32; {DAMAGED}")
    return vector
