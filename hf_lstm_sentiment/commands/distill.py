"""Fit the teachers of the preset `imdb`, or others; what they say of unlabeled reviews is what presets learn from."""

from __future__ import annotations

from collections.abc import Sequence

from ..training.presets import PRESETS
from .console import READING, new_parser, parsed, say, show_log


def main(words: Sequence[str]) -> None:
    """Parse the command line, fit the teachers, print what they are worth."""
    imdb = PRESETS["imdb"]
    examples = (
        "% --students runs/imdb_student-seed42",
        "% --dataset reviews/ --teacher encoder/ --short_texts sentences.csv --bf16 --resume",
    )
    given = parsed(
        new_parser("distill", __doc__, *examples),
        words,
        ("dataset", "DATASET", imdb.dataset, "Reviews with an unlabeled split; %(default)s."),
        ("output_dir", "DIR", imdb.soft_labels, "Where to write; %(default)s."),
        ("students", "RUN*", (), "Finished runs that are teachers too."),
        ("teacher", "MODEL", None, "A transformer that is fitted too, and labels passages."),
        ("teacher_epochs", "X", 1.0, "Passes of the transformer; %(default)s."),
        ("short_texts", "DATASET", None, "Labeled short texts, for the transformer and for the student."),
        ("passages", "N", 160_000, "Passages, cut or generated, that the transformer labels; %(default)s."),
        ("bf16", "", False, "Let the transformer compute in bfloat16."),
        ("seed", "SEED", 42, "Of vectors, transformer and passages; %(default)s."),
        ("validation_fraction", "X", imdb.validation_fraction, "Must be the student's; %(default)s."),
        *(*READING, "split_seed", "max_train_samples", "resume"),
    )
    show_log()
    from ..training.distill import teach

    say(teach(**given).summary())
