"""The console command `hf-lstm-sentiment`, also `python -m hf_lstm_sentiment`: a word for what to do, then its options.

The scripts of a clone call the same functions. What a command needs is imported when it is run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType

from . import __version__
from .commands.console import PROGRAM, STATUSES, ended

COMMANDS: Mapping[str, str] = MappingProxyType(
    {
        "predict": "classify texts, standard input, files or data sets of the Hub",
        "explain": "explain a decision token by token",
        "demo": "open the demo page, or write it as a Space of the Hub",
        "train": "train a preset on reviews",
        "pretrain": "pretrain the language model that presets start from",
        "distill": "fit the teachers from whose soft labels presets learn",
        "compare": "train presets with several seeds, or take trained runs, and compare them",
        "report": "analyze the errors of a run, as a page",
        "push": "publish a run on the Hub",
        "export": "export a run to ONNX",
    }
)
"""Each word of the command, and what it does."""


def main(words: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        words: What is typed after its name; what was typed where None.

    Returns:
        The status to leave the process with: 0, 1 after an error, which is said in one line, or 128 + n after signal n.

    Raises:
        SystemExit: Help is given, with status 0, or the command line is wrong, with status 2.
    """
    words = sys.argv[1:] if words is None else words
    if words and words[0] in COMMANDS:
        # The module is imported in there, since an extra may be missing.
        return ended(lambda rest: import_module(f".commands.{words[0]}", __package__).main(rest), words[1:])
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s COMMAND [options]",
        description="A recurrent sentiment classifier for the Hugging Face stack.\n\n"
        + "\n".join(f"  {name:<10}{what}" for name, what in COMMANDS.items()),
        epilog=f"`{PROGRAM} COMMAND --help` lists the options of a command, with examples.\n\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.parse_args(words[:1])
    return 0
