"""Analyze the errors of a finished run on its test reviews, as one page."""

from __future__ import annotations

import os
from collections.abc import Sequence

from .console import new_parser, parsed, say, show_log


def main(words: Sequence[str]) -> None:
    """Parse the command line, write the report, say where it is."""
    examples = ("% runs/v2_glove-seed42", "% runs/v2_glove-seed42 --against runs/v1-seed42 --output_dir report")
    parser = new_parser("report", __doc__, *examples, usage="RUN")
    parser.add_argument("run", metavar="RUN", help="A finished run directory, such as runs/v2_glove-seed42.")
    given = parsed(
        parser,
        words,
        ("against", "RUN", None, "Another one on the same reviews: what is fixed, what breaks."),
        ("dataset", "DATASET", None, "Where the reviews of the run are now, if they were moved."),
        ("output_dir", "DIR", None, "Where to write; report in the run directory by default."),
        ("excerpts", "N", 5, "Reviews shown of each kind of error; %(default)s."),
    )
    show_log()
    from ..evaluation.report import write_report

    say(f"Report: {os.path.relpath(write_report(**given))}")
