"""Pieces of readable errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST_SHOWN = 80


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two mappings, for an error message; empty where nothing does.

    Args:
        before: As it was.
        now: As it is.
    """
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return "; ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed)


def first_cause(error: BaseException) -> BaseException:
    """The error from which this one was raised, however often; `datasets` wraps whatever its readers raise.

    Args:
        error: What was caught.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class where it has none.

    Args:
        error: What was caught.
    """
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def shown(value: Any) -> str:
    """A value in an error message, which a whole review would fill.

    Args:
        value: Any value.
    """
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text):,} characters)"
