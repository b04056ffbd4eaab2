"""Fit the teachers of the preset `imdb`: `python scripts/teach.py`."""

from __future__ import annotations

import argparse
import logging
import sys

from hf_lstm_sentiment import PRESETS, teach
from hf_lstm_sentiment.cli import show_log


def main() -> None:
    """Parse the command line, fit the teachers, print what they are worth."""
    show_log(logging.INFO)
    imdb = PRESETS["imdb"]
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument("--dataset", default=imdb.dataset, help="Reviews with an unlabeled split; %(default)s.")
    parser.add_argument("--output_dir", default=imdb.soft_labels, help="Where to write; %(default)s.")
    parser.add_argument("--students", nargs="*", default=(), metavar="RUN", help="Finished runs that are teachers too.")
    parser.add_argument("--seed", type=int, default=42, help="Seed of the document vectors; %(default)s.")
    parser.add_argument(
        "--split_seed", type=int, default=42, help="Seed of the validation split, the student's; %(default)s."
    )
    parser.add_argument(
        "--validation_fraction",
        type=float,
        default=imdb.validation_fraction,
        help="Must be the student's; %(default)s.",
    )
    parser.add_argument("--text_column", help="Column of the texts; found by its name.")
    parser.add_argument("--label_column", help="Column of the labels; likewise.")
    parser.add_argument("--labels", help="What the labels mean: '1=negative 2=positive 3=' leaves rows of label 3 out.")
    parser.add_argument("--separator", help="Between the fields of csv and tsv files, such as ';'; found by default.")
    parser.add_argument(
        "--column_names", help="Columns of csv and tsv files without a header, with commas between them."
    )
    parser.add_argument("--encoding", help="Encoding of text files, such as cp1252; UTF-8 or UTF-16 is found.")
    parser.add_argument("--max_train_samples", type=int, help="Fit on a sample of so many reviews.")
    parser.add_argument("--resume", action="store_true", help="Keep the teachers that are finished.")
    try:
        taught = teach(**vars(parser.parse_args()))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    print(taught.summary())


if __name__ == "__main__":
    main()
