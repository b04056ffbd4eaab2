"""Analyze the errors of a finished run on its test reviews, as one page: `python scripts/report.py RUN`."""

from __future__ import annotations

import argparse
import logging
import os
import sys

from hf_lstm_sentiment.evaluation.report import write_report


def main() -> None:
    """Parse the command line, write the report, say where it is."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)

    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("run", help="A finished run directory, such as runs/v2_glove-seed42.")
    parser.add_argument("--against", metavar="RUN", help="Another one on the same reviews: what is fixed, what breaks.")
    parser.add_argument("--dataset", help="Where the reviews of the run are now, if they were moved.")
    parser.add_argument("--output_dir", help="Where to write; report in the run directory by default.")
    parser.add_argument("--excerpts", type=int, default=5, help="Reviews shown of each kind of error; %(default)s.")
    try:
        path = write_report(**vars(parser.parse_args()))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(f"Report: {os.path.relpath(path)}")


if __name__ == "__main__":
    main()
