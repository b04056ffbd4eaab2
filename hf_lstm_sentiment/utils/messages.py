"""Pieces of readable errors."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, SupportsIndex

_LONGEST_SHOWN, _MOST_LISTED = 80, 20


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what differs between two mappings, for an error message; empty where nothing does."""
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return "; ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def listed(names: Iterable[str]) -> str:
    """List names, of many the first."""
    names = list(names)
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more:,} more" if more > 0 else "")


def shown(value: Any) -> str:
    """Show a value in an error message, which a whole review would fill."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text):,} characters)"


def check_text(row: int, text: object) -> None:
    """Refuse what is no text or holds half of a surrogate pair; the message names the row."""
    if not isinstance(text, str):
        raise TypeError(f"text {row} is {shown(text)} ({type(text).__name__}); every text must be a string")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"text {row} holds {text[error.start]!a}, half of a surrogate pair; remove it") from error


def check_texts(texts: object) -> None:
    """Refuse what is no list of texts; of tables, Python would iterate over the names of columns."""
    if isinstance(texts, str):
        raise TypeError("texts is one string; pass a list of strings")
    if isinstance(texts, bytes | os.PathLike) or not isinstance(texts, Iterable):
        raise TypeError(f"texts is {shown(texts)}; pass a list of strings; for a file, call predict_file")
    kind = type(texts).__name__
    if isinstance(texts, Mapping) and any(hasattr(value, "column_names") for value in texts.values()):
        raise TypeError(f'texts is a {kind}; pass the texts of one split: predict(data["test"]["text"])')
    if isinstance(texts, Mapping) or hasattr(texts, "columns") or hasattr(texts, "column_names"):
        raise TypeError(f'texts is a {kind}; pass its column of texts: predict(frame["text"])')


def checked_texts(texts: Iterable[str]) -> Iterator[str]:
    """Texts as they come, each of them checked."""
    check_texts(texts)
    for row, text in enumerate(texts):
        check_text(row, text)
        yield text


def check_count(name: str, value: object) -> None:
    """Refuse what is no whole number of at least 1."""
    if not isinstance(value, SupportsIndex) or not 1 <= value.__index__() <= sys.maxsize:
        raise ValueError(f"{name} is {value!r}; allowed: a whole number of at least 1")
