"""What the commands that train share: options of two dataclasses, one process that speaks, how they are stopped."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from transformers import HfArgumentParser, TrainingArguments

from ..training.arguments import unknown_option
from ..training.interrupt import TrainingStopped, stop_at_once
from .console import PROGRAM, say, show_log, typed

# Either form in which it can be typed.
_TOKEN = re.compile(r"--hub[_-]token(=.*)?", re.DOTALL)


class _Summarized(Protocol):
    def summary(self) -> str: ...


def lazily(name: str) -> Callable[..., _Summarized]:
    """The function of that name in `training`, imported when it is called: help is given without the extra, too."""
    return lambda **given: getattr(import_module(f"..training.{name}", __package__), name)(**given)


def run_training(
    function: Callable[..., _Summarized], options: type, words: Sequence[str], *, described: dict[str, Any]
) -> None:
    """Parse the command line, train, print the summary.

    Args:
        function: Takes the fields of `options` and of `TrainingArguments` as keyword arguments; of the latter, only
            those that were typed.
        options: A dataclass whose fields tell name, default and help of the command's own options.
        words: What was typed.
        described: Arguments of the parser.

    Raises:
        SystemExit: There is no such option, or a signal has stopped the training.
    """
    # Of several processes one speaks.
    first = os.environ.get("RANK", "0") == "0"
    show_log(logging.INFO if first else logging.WARNING)
    # Of two options of one name the latter counts.
    parts: list[Any] = [TrainingArguments, options]
    parser = HfArgumentParser(parts, conflict_handler="resolve", **described)
    own = {f.name for f in fields(options)}
    for action in parser._actions:
        if action.dest in own or action.dest == "help":
            continue
        # Only what is typed overrides the preset.
        action.default = argparse.SUPPRESS
        if "--help_all" not in words:
            action.help = argparse.SUPPRESS
    parser.add_argument("--help_all", action="help", help="List the fields of TrainingArguments, too; all are options.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_at_once)
    try:
        given, unknown = parser.parse_known_args(typed(parser, words))
        if unknown:
            sys.stderr.write(f"error: {unknown_option(unknown[0].lstrip('-').partition('=')[0])}\n")
            raise SystemExit(2)
        result = function(**vars(given))
    except TrainingStopped as stop:
        if first:
            sys.stderr.write(f"{stop}. Continue with:\n  {resuming_command()}\n")
            if any(map(_TOKEN.fullmatch, sys.argv)):
                sys.stderr.write("The access token is not repeated here; set HF_TOKEN\n")
        raise SystemExit(128 + stop.number) from None
    if first:
        say(result.summary())


def resuming_command() -> str:
    """The command that continues this one, without what is secret."""
    program, *typed_words = sys.argv
    launcher, target = ["python"], [program]
    if "WORLD_SIZE" in os.environ:
        launcher = ["torchrun", "--nproc_per_node", os.environ["WORLD_SIZE"]]
    elif "ACCELERATE_MIXED_PRECISION" in os.environ:
        launcher = ["accelerate", "launch"]
    elif Path(program).stem == PROGRAM:
        launcher, target = [], [PROGRAM]
    if Path(program).name == "__main__.py":
        target = ["-m", "hf_lstm_sentiment"]
    words, arguments = iter(typed_words), []
    for word in words:
        if not _TOKEN.fullmatch(word):
            arguments.append(word)
        elif "=" not in word:
            next(words, None)
    return shlex.join([*launcher, *target, *(word for word in arguments if word != "--resume"), "--resume"])
