"""Export a run to ONNX, in float32 and int8, into a folder that classifies texts without torch."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .console import described, say, typed


def main(words: Sequence[str]) -> None:
    """Parse the command line, export, print what was measured."""
    examples = ("% runs/v2_glove-seed42", "% imdb --output_dir exported --reviews reviews.csv --max_reviews 1000")
    parser = argparse.ArgumentParser(**described("export", __doc__, *examples, usage="RUN"))
    parser.add_argument("run", metavar="RUN", help="A run directory, or a model that comes with the package (reviews).")
    parser.add_argument("--output_dir", metavar="DIR", help="Where to make the folder onnx; in RUN by default.")
    parser.add_argument(
        "--reviews", metavar="DATASET", help="Labelled reviews, as for train; the test part measures what is lost."
    )
    parser.add_argument("--text_column", metavar="NAME", help="Column of the texts; found by its name.")
    parser.add_argument("--label_column", metavar="NAME", help="Column of the labels; likewise.")
    parser.add_argument("--max_reviews", metavar="N", type=int, help="Measure on a sample of so many reviews.")
    given = vars(parser.parse_args(typed(parser, words)))

    from transformers.utils.logging import disable_progress_bar

    from ..inference.onnx import export_onnx, summary

    disable_progress_bar()
    try:
        export = export_onnx(**given)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    say(summary(export))
