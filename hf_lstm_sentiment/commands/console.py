"""What the commands share: how they are described, configured, heard and ended."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..utils.files import user_path
from ..utils.messages import shown

PROGRAM = "hf-lstm-sentiment"
STATUSES = "exit status: 0 done; 1 an error, said in one line; 2 a wrong command line; 128 + N stopped by signal N"


class _Help(argparse.RawDescriptionHelpFormatter):
    """Options of transformers' parser have a second name with dashes, which is not shown."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=32)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(name for name in action.option_strings if "-" not in name.lstrip("-"))
        return f"{names} {self._format_args(action, 'VALUE')}".rstrip()


def described(name: str, description: str | None, *examples: str, usage: str = "") -> dict[str, Any]:
    """Keyword arguments of a command's `ArgumentParser`.

    Args:
        name: Of the command, or of a script.
        description: What it does, for `--help`.
        examples: What can be typed after the name.
        usage: What must be typed after it.
    """
    program = name if "/" in name else f"{PROGRAM} {name}"
    shown_examples = "".join(f"\n  {example.replace('%', program, 1)}" for example in examples)
    return {
        "prog": program,
        "usage": "\n       ".join(f"%(prog)s {line}" for line in f"{usage} [options]".strip().splitlines()),
        "description": description,
        "epilog": (f"examples:{shown_examples}\n\n" if examples else "") + STATUSES,
        "formatter_class": _Help,
        "allow_abbrev": False,
    }


def typed(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Give a parser the option `--config FILE`, and what stands in that file a place before the words typed.

    Args:
        parser: Of the command, with all of its options.
        words: What was typed.

    Returns:
        What to parse: of an option that is there twice, the last one counts.

    Raises:
        OSError, ValueError: The file cannot be read.
    """
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="Options from a YAML file, such as `seed: 1`; what is typed wins.",
    )
    words = list(words)
    place = next((i for i, word in enumerate(words) if word.partition("=")[0] == "--config"), None)
    if place is None or (words[place] == "--config" and place + 1 == len(words)):
        return words
    name = words.pop(place).partition("=")[2] or words.pop(place)
    return [*_configured(parser, name), *words]


def _configured(parser: argparse.ArgumentParser, name: str) -> list[str]:
    """The words of a command line that a configuration file stands for."""
    import yaml

    try:
        content = yaml.safe_load(user_path(name, "the configuration").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} is no YAML file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{name} holds {shown(content)}; allowed: names of options and their values, such as `seed: 1`"
        )
    words = []
    for key, value in content.items():
        # argparse has no other list of its options.
        action = parser._option_string_actions.get(f"--{key}")
        if action is None or key in ("config", "help", "help_all"):
            parser.error(f"{name}: {key} is no option; --help lists all")
        many = isinstance(value, list)
        if isinstance(value, dict) or (many and action.nargs not in ("*", "+")):
            parser.error(f"{name}: {key} is {shown(value)}; allowed: {'one value' if many else 'a value'}, as typed")
        if action.nargs == 0:
            if not isinstance(value, bool | None):
                parser.error(f"{name}: {key} is {shown(value)}; allowed: true, false")
            words += [f"--{key}"] * bool(value)
        elif many:
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={value}")
    return words


def say(text: str) -> None:
    """Write to standard output, with a line feed."""
    sys.stdout.write(f"{text}\n")


def show_log(level: int = logging.INFO) -> None:
    """Show what this package logs on the console, as bare lines.

    Args:
        level: From which level on.
    """
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(level)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Give a parser the option that :func:`use_threads` takes."""
    parser.add_argument("--num_threads", metavar="N", type=int, help="CPU threads; all cores by default.")


def use_threads(number: int | None) -> None:
    """Compute with so many threads; with all cores where None."""
    import torch

    if number is None:
        return
    if number < 1:
        raise ValueError(f"num_threads is {number}; allowed: at least 1")
    torch.set_num_threads(number)


def ended(command: Callable[[Sequence[str]], None], words: Sequence[str]) -> int:
    """Run a command, and say in one line how it failed.

    Args:
        command: Takes what was typed.
        words: What was typed.

    Returns:
        The status to leave the process with.
    """
    # A console may not know every character of a review.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        command(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, and Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except (OSError, ValueError, ImportError) as error:
        sys.stderr.write(f"error: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"{str(stop) or 'stopped'}\n")
        return 128 + getattr(stop, "number", signal.SIGINT)
    return 0
