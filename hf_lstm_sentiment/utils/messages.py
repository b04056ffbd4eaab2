"""Pieces of readable errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_LONGEST_SHOWN, _MOST_LISTED = 80, 20


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Say what differs between two mappings, for an error message; empty where nothing does."""
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return "; ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)


def first_cause(error: BaseException) -> BaseException:
    """Return the error from which this one was raised, however often; `datasets` wraps whatever its readers raise."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


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
