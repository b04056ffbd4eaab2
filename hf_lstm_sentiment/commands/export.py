"""Export a run to ONNX, in float32 and int8, into a folder that classifies texts without torch."""

from __future__ import annotations

from collections.abc import Sequence

from .console import new_parser, parsed, say


def main(words: Sequence[str]) -> None:
    """Parse the command line, export, print what was measured."""
    examples = ("% runs/v2_glove-seed42", "% reviews --output_dir exported --reviews reviews.csv --max_reviews 1000")
    parser = new_parser("export", __doc__, *examples, usage="RUN")
    parser.add_argument("run", metavar="RUN", help="A run directory, or a model that comes with the package (reviews).")
    given = parsed(
        parser,
        words,
        ("output_dir", "DIR", None, "Where to make the folder onnx; in RUN by default."),
        ("reviews", "DATASET", None, "Labelled reviews, as for train; the test part measures what is lost."),
        ("max_reviews", "N", None, "Measure on a sample of so many reviews."),
        *("text_column", "label_column"),
    )
    from transformers.utils.logging import disable_progress_bar

    from ..inference.onnx import export_onnx, summary

    disable_progress_bar()
    try:
        export = export_onnx(**given)
    except RuntimeError as error:
        raise ValueError(str(error)) from error
    say(summary(export))
