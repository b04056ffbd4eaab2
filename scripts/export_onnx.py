"""Export a run to ONNX, in float32 and int8: `python scripts/export_onnx.py runs/v2_glove-seed42`.

What it writes classifies texts without torch: `python runs/v2_glove-seed42/onnx/classify.py "A moving film."`
"""

from __future__ import annotations

import argparse
import sys

from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.inference.onnx import export_onnx, summary


def main() -> None:
    """Parse the command line, export, print what was measured."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="A run directory, or a model that comes with the package (imdb).")
    parser.add_argument("--output_dir", help="Where to make the folder onnx; in RUN by default.")
    parser.add_argument(
        "--reviews", help="Labelled reviews, as train.py takes them; the test part measures what is lost."
    )
    parser.add_argument("--text_column", help="Column of the texts; found by its name.")
    parser.add_argument("--label_column", help="Column of the labels; likewise.")
    parser.add_argument("--max_reviews", type=int, help="Measure on a sample of so many reviews.")

    disable_progress_bar()
    try:
        export = export_onnx(**vars(parser.parse_args()))
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(summary(export))


if __name__ == "__main__":
    main()
