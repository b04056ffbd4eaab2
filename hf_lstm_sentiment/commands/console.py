"""What the commands share: how they are described, configured, heard and ended."""

import argparse
import inspect
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..utils.files import user_path
from ..utils.messages import shown

PROGRAM = "hf-lstm-sentiment"
STATUSES = "exit status: 0 done; 1 an error, said in one line; 2 a wrong command line; 128 + N stopped by signal N"

# The name of an option, what stands for its value ("" for a flag, with * or + for several), its default (... where it
# must be given), and what it is.
Option = tuple[str, str, Any, str]
# What a value is converted to, by what stands for it.
_TYPES = {"N": int, "SEED": int, "X": float, "P": float}
# Options of several commands.
_SHARED: dict[str, tuple[str, Any, str]] = {
    "model": ("RUN_OR_REPO", None, "Run directory or Hub repository; the package's own."),
    "text_column": ("NAME", None, "Column of the texts; found by its name."),
    "label_column": ("NAME", None, "Column of the labels; likewise."),
    "labels": ("TEXT", None, "What the labels mean: '1=negative 2=positive 3=' leaves rows of label 3 out."),
    "separator": ("C", None, "Between the fields of csv and tsv files, such as ';'; found where not given."),
    "column_names": ("A,B", None, "Columns of csv and tsv files without a header."),
    "encoding": ("NAME", None, "Of text files, such as cp1252; UTF-8 or UTF-16 is found."),
    "max_train_samples": ("N", None, "Train on a sample of so many reviews."),
    "max_validation_samples": ("N", None, "Validate on so many reviews."),
    "max_test_samples": ("N", None, "Test on so many reviews; no official figures then."),
    "split_seed": ("SEED", 42, "Of the validation split; %(default)s. The same for teachers and classifier."),
    "num_threads": ("N", None, "CPU threads per process; all cores by default, or its share of them."),
    "resume": ("[BOOL]", False, "Continue from the newest whole checkpoint."),
}
READING = ("text_column", "label_column", "labels", "separator", "column_names", "encoding")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Options of transformers' parser have a second name with dashes, which is not shown."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(name for name in action.option_strings if "-" not in name.lstrip("-"))
        return f"{names} {self._format_args(action, 'VALUE')}".rstrip()


def new_parser(
    name: str,
    description: str | None,
    *examples: str,
    usage: str = "",
    run: str = "",
    make: Callable[..., argparse.ArgumentParser] = argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """The parser of a command or a script, described; in examples, % stands for its name, and `run` is what RUN is."""
    program = name if "/" in name else f"{PROGRAM} {name}"
    shown_examples = "".join(f"\n  {example.replace('%', program, 1)}" for example in examples)
    usage = f"{usage or 'RUN' * bool(run)} [options]".strip()
    parser = make(
        prog=program,
        usage="\n       ".join(f"%(prog)s {line}" for line in usage.splitlines()),
        description=description and inspect.cleandoc(description),
        epilog=(f"examples:{shown_examples}\n\n" if examples else "") + STATUSES,
        formatter_class=partial(_Help, max_help_position=32),
        allow_abbrev=False,
    )
    if run:
        parser.add_argument("run", metavar="RUN", help=run)
    return parser


def add_options(parser: argparse._ActionsContainer, *options: str | Option) -> None:
    """Give a parser options; of a shared one, its name is enough."""
    for option in options:
        name, value, default, text = (option, *_SHARED[option]) if isinstance(option, str) else option
        kind: dict[str, Any] = {"metavar": value.rstrip("*+") or None, "type": _TYPES.get(value.rstrip("*+"), str)}
        if value == "[BOOL]":
            from transformers.hf_argparser import string_to_bool

            kind = {"nargs": "?", "const": True, "type": string_to_bool}
        elif not value:
            kind = {"action": "store_true"}
        elif value[-1] in "*+":
            kind["nargs"] = value[-1]
        required = {"required": True} if default is ... else {"default": default}
        # Options of transformers' parser have a second name, and some of them are replaced by ours.
        names = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*names, **kind, **required, help=text)


def parsed(parser: argparse.ArgumentParser, words: Sequence[str], *options: str | Option) -> dict[str, Any]:
    """Add options to a parser, and parse what was typed."""
    add_options(parser, *options)
    return vars(parser.parse_args(typed(parser, words)))


def typed(parser: argparse.ArgumentParser, words: Sequence[str]) -> list[str]:
    """Add the option `--config FILE`, and put what stands in that file before the words: the last one counts."""
    words = list(words)
    place = next((i for i, word in enumerate(words) if word.partition("=")[0] == "--config"), None)
    if place is not None and (words[place] != "--config" or place + 1 < len(words)):
        name = words.pop(place).partition("=")[2] or words.pop(place)
        words = [*_configured(parser, name), *words]
    text = "Options from a YAML file, such as `seed: 1`; what is typed wins."
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help=text)
    return words


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
        if action is None:
            parser.error(f"{name}: {key} is no option; --help lists all")
        if action.nargs == 0:
            if not isinstance(value, bool | None):
                parser.error(f"{name}: {key} is {shown(value)}; allowed: true, false")
            words += [f"--{key}"] * bool(value)
        elif isinstance(value, list) and action.nargs in ("*", "+"):
            words += [f"--{key}", *map(str, value)]
        elif value is not None:
            words.append(f"--{key}={value}")
    return words


def say(text: str) -> None:
    """Write to standard output, with a line feed."""
    sys.stdout.write(f"{text}\n")


def input_lines() -> Iterator[str]:
    """The texts of standard input, one a line; a ValueError where they are a table."""
    from ..data.readers import table_kind

    try:
        for number, line in enumerate(sys.stdin.buffer):
            text = line.decode("utf-8-sig").rstrip("\r\n")
            if not number and (kind := table_kind([text])):
                raise ValueError(f"standard input holds a table; write it to a {kind} file, and name that")
            yield text
    except UnicodeDecodeError as error:
        raise ValueError(f"standard input is not in UTF-8 ({error.reason}); convert it") from error


def show_log(level: int = logging.INFO) -> None:
    """Show what this package logs from a level on, on the console, as bare lines."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(level)


def ended(command: Callable[[Sequence[str]], None], words: Sequence[str]) -> int:
    """Run a command with what was typed, and say in one line how it failed; the status to leave the process with."""
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
