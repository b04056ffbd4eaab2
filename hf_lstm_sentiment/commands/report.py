"""Analyze the errors of a finished run on its test reviews, as one page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from .console import described, say, show_log, typed


def main(words: Sequence[str]) -> None:
    """Parse the command line, write the report, say where it is."""
    examples = ("% runs/v2_glove-seed42", "% runs/v2_glove-seed42 --against runs/v1-seed42 --output_dir report")
    parser = argparse.ArgumentParser(**described("report", __doc__, *examples, usage="RUN"))
    parser.add_argument("run", metavar="RUN", help="A finished run directory, such as runs/v2_glove-seed42.")
    parser.add_argument("--against", metavar="RUN", help="Another one on the same reviews: what is fixed, what breaks.")
    parser.add_argument("--dataset", help="Where the reviews of the run are now, if they were moved.")
    parser.add_argument("--output_dir", metavar="DIR", help="Where to write; report in the run directory by default.")
    parser.add_argument(
        "--excerpts", metavar="N", type=int, default=5, help="Reviews shown of each kind of error; %(default)s."
    )
    given = vars(parser.parse_args(typed(parser, words)))
    show_log()
    from ..evaluation.report import write_report

    say(f"Report: {os.path.relpath(write_report(**given))}")
