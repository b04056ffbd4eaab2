"""What the scripts that train share: their options, their console, how they are stopped."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Protocol

from transformers import HfArgumentParser, TrainingArguments

from .training.arguments import unknown_option
from .training.interrupt import TrainingStopped, stop_at_once

# Either form in which it can be typed.
_TOKEN = re.compile(r"--hub[_-]token(=.*)?", re.DOTALL)


class _Summarized(Protocol):
    def summary(self) -> str: ...


def run_training(function: Callable[..., _Summarized], options: type, *, description: str | None) -> int | str:
    """Parse the command line, train, print the summary.

    Args:
        function: Takes the fields of `options` and of `TrainingArguments` as keyword arguments; of the latter, only
            those that were typed.
        options: A dataclass whose fields tell name, default and help of the script's own options.
        description: Of the script, for `--help`.

    Returns:
        What to leave the process with: a status, or an error for the console.
    """
    # Of several processes one speaks.
    first = os.environ.get("RANK", "0") == "0"
    show_log(logging.INFO if first else logging.WARNING)
    parts: list[Any] = [options, TrainingArguments]
    parser = HfArgumentParser(parts, conflict_handler="resolve", allow_abbrev=False, description=description)
    own = {f.name for f in fields(options)}
    for action in parser._actions:
        # Only what is typed overrides the preset.
        if action.dest not in own and action.dest != "help":
            action.default = argparse.SUPPRESS
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_at_once)
    try:
        given, unknown = parser.parse_known_args()
        if unknown:
            return f"error: {unknown_option(unknown[0].lstrip('-').partition('=')[0])}"
        result = function(**vars(given))
    except (OSError, ValueError, ImportError) as error:
        return f"error: {error}"
    except TrainingStopped as stop:
        if first:
            sys.stderr.write(f"{stop}. Continue with:\n  {resuming_command()}\n")
            if any(map(_TOKEN.fullmatch, sys.argv)):
                sys.stderr.write("The access token is not repeated here; set HF_TOKEN\n")
        return 128 + stop.number
    if first:
        sys.stdout.write(f"{result.summary()}\n")
    return 0


def show_log(level: int) -> None:
    """Show what this package logs on the console, as bare lines.

    Args:
        level: From which level on.
    """
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(level)


def resuming_command() -> str:
    """The command that continues this one, without what is secret."""
    launcher = ["python"]
    if "WORLD_SIZE" in os.environ:
        launcher = ["torchrun", "--nproc_per_node", os.environ["WORLD_SIZE"]]
    elif "ACCELERATE_MIXED_PRECISION" in os.environ:
        launcher = ["accelerate", "launch"]
    words, arguments = iter(sys.argv), []
    for word in words:
        if not _TOKEN.fullmatch(word):
            arguments.append(word)
        elif "=" not in word:
            next(words, None)
    return shlex.join([*launcher, *(word for word in arguments if word != "--resume"), "--resume"])
