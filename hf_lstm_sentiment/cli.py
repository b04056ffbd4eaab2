"""The console command `hf-lstm-sentiment`, also `python -m hf_lstm_sentiment`: a word for what to do, then its options.

The scripts of a clone call the same functions. What a command needs is imported when it is run.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from . import __version__
from .commands.console import PROGRAM, STATUSES, ended
from .commands.demo import demo
from .commands.explain import explain
from .commands.predict import predict
from .commands.runs import export, push, report
from .commands.training import compare, distill, pretrain, train

_ALL = (predict, explain, demo, train, pretrain, distill, compare, report, push, export)
COMMANDS: Mapping[str, Callable[[Sequence[str]], None]] = MappingProxyType({word.__name__: word for word in _ALL})
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
    # Threads that share a product wait for each other at every step. That they spin meanwhile, as is usual, costs a
    # training several times its time where another process has one of the cores. OpenMP reads it when torch is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    if words and words[0] in COMMANDS:
        return ended(COMMANDS[words[0]], words[1:])
    what = (f"  {name:<10}{(word.__doc__ or '').splitlines()[0]}" for name, word in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s COMMAND [options]",
        description="A recurrent sentiment classifier for the Hugging Face stack.\n\n" + "\n".join(what),
        epilog=f"`{PROGRAM} COMMAND --help` lists the options of a command, with examples.\n\n{STATUSES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("command", metavar="COMMAND", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.parse_args(words[:1])
    return 0
