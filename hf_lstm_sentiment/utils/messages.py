"""Pieces of readable errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LONGEST_SHOWN = 80


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


def shown(value: Any) -> str:
    """Show a value in an error message, which a whole review would fill."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text):,} characters)"
