"""Put a finished run into the package: `python scripts/make_pretrained.py runs/imdb-seed42`.

The weights are rounded to float16, and refused where that changes over 0.05 % of the decisions on the test reviews.
`--recorded model_cards --generalise` adds other seeds, ablations and other texts to the card.
"""

from __future__ import annotations

import argparse
import sys

from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.model.pretrained_models import DEFAULT
from hf_lstm_sentiment.release import make_release
from hf_lstm_sentiment.utils.files import read_json
from hf_lstm_sentiment.utils.run_directory import METRICS, WEIGHTS


def main() -> None:
    """Parse the command line, write the checkpoint, print where it is, how large, and what the rounding changed."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="A finished run directory.")
    parser.add_argument("--name", default=DEFAULT, help="What it will be called; %(default)s.")
    parser.add_argument("--output_dir", metavar="DIR", help="Folder to write it below; the package's own by default.")
    parser.add_argument("--dataset", help="Where its reviews are now, if they were moved since the training.")
    parser.add_argument("--recorded", metavar="DIR", help="Records of its preset, seeds and ablations: model_cards.")
    parser.add_argument("--generalise", action="store_true", help="Measure Rotten Tomatoes and minimal pairs too.")
    arguments = vars(parser.parse_args())
    disable_progress_bar()
    try:
        made = make_release(**arguments)
        float16 = read_json(made / METRICS)["float16"]
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    print(f"{made}: {(made / WEIGHTS).stat().st_size:,} bytes of weights, float16")
    print(
        f"{float16['reviews']:,} test reviews: {float16['equal_decisions']:.3%} of the decisions are those of float32, "
        f"{float16['different']:,} differ; accuracy {float16['accuracy']:.2%}"
    )


if __name__ == "__main__":
    main()
