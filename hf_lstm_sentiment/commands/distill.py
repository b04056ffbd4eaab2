"""Fit the teachers of the preset `imdb`, or others; what they say of unlabeled reviews is what presets learn from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ..training.presets import PRESETS
from .console import described, say, show_log, typed


def main(words: Sequence[str]) -> None:
    """Parse the command line, fit the teachers, print what they are worth."""
    imdb = PRESETS["imdb"]
    examples = (
        "% --students runs/imdb_student-seed42",
        "% --dataset reviews/ --teacher encoder/ --short_texts sentences.csv --bf16 --resume",
    )
    parser = argparse.ArgumentParser(**described("distill", __doc__, *examples))
    parser.add_argument("--dataset", default=imdb.dataset, help="Reviews with an unlabeled split; %(default)s.")
    parser.add_argument("--output_dir", metavar="DIR", default=imdb.soft_labels, help="Where to write; %(default)s.")
    parser.add_argument("--students", nargs="*", default=(), metavar="RUN", help="Finished runs that are teachers too.")
    parser.add_argument("--teacher", metavar="MODEL", help="A transformer that is fitted too, and labels passages.")
    parser.add_argument(
        "--teacher_epochs", metavar="X", type=float, default=1.0, help="Passes of the transformer; %(default)s."
    )
    parser.add_argument(
        "--short_texts", metavar="DATASET", help="Labeled short texts, for the transformer and for the student."
    )
    parser.add_argument(
        "--passages",
        metavar="N",
        type=int,
        default=160_000,
        help="Passages cut from the unlabeled reviews or generated, which the transformer labels; %(default)s.",
    )
    parser.add_argument("--bf16", action="store_true", help="Let the transformer compute in bfloat16.")
    parser.add_argument(
        "--seed", metavar="N", type=int, default=42, help="Of vectors, transformer and passages; %(default)s."
    )
    parser.add_argument(
        "--split_seed", metavar="N", type=int, default=42, help="Of the validation split, the student's; %(default)s."
    )
    parser.add_argument(
        "--validation_fraction",
        metavar="X",
        type=float,
        default=imdb.validation_fraction,
        help="Must be the student's; %(default)s.",
    )
    parser.add_argument("--text_column", metavar="NAME", help="Column of the texts; found by its name.")
    parser.add_argument("--label_column", metavar="NAME", help="Column of the labels; likewise.")
    parser.add_argument("--labels", help="What the labels mean: '1=negative 2=positive 3=' leaves rows of label 3 out.")
    parser.add_argument("--separator", metavar="C", help="Between the fields of csv and tsv files, such as ';'; found.")
    parser.add_argument("--column_names", metavar="A,B", help="Columns of csv and tsv files without a header.")
    parser.add_argument("--encoding", metavar="NAME", help="Of text files, such as cp1252; UTF-8 or UTF-16 is found.")
    parser.add_argument("--max_train_samples", metavar="N", type=int, help="Fit on a sample of so many reviews.")
    parser.add_argument("--resume", action="store_true", help="Keep the teachers that are finished.")
    given = vars(parser.parse_args(typed(parser, words)))
    show_log()
    from ..training.distill import teach

    say(teach(**given).summary())
