"""Train presets under several seeds, or take up what is trained, and compare them.

    accelerate launch scripts/compare.py --presets v0_naive v1 v2_glove v3_glove_frozen --seeds 42 43 44

Finished runs are skipped, a killed one continues where it was: the same command goes on. `--help` lists the options.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from hf_lstm_sentiment import PRESETS
from hf_lstm_sentiment.evaluation.compare import compare


def main() -> None:
    """Parse the command line, train what is missing, compare, print the tables."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)

    study = ["v0_naive", "v1", "v2_glove", "v3_glove_frozen"]
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=study, metavar="PRESET", help=f"out of {', '.join(PRESETS)}")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="SEED")
    parser.add_argument(
        "--one_seed", nargs="*", default=[], metavar="PRESET", help="presets that get the first seed only"
    )
    parser.add_argument("--dataset", help="as for scripts/train.py; the presets' by default")
    parser.add_argument("--glove", help="likewise")
    parser.add_argument("--runs_dir", default="runs", help="holds PRESET-seedSEED for each run; %(default)s")
    parser.add_argument("--recorded", help="results without weights that are taken as they are, such as model_cards")
    parser.add_argument("--output_dir", help="where to write; comparison in the runs' folder by default")
    parser.add_argument("--split_seed", type=int, default=42, help="of the validation split; %(default)s")
    parser.add_argument("--num_train_epochs", type=int, help="at most so many epochs; the presets' by default")
    parser.add_argument("--max_train_samples", type=int, help="train on so many reviews")
    parser.add_argument("--max_validation_samples", type=int, help="validate on so many")
    parser.add_argument("--max_test_samples", type=int, help="test on so many; no official figures then")
    parser.add_argument("--num_threads", type=int, help="CPU threads per process; its share of all by default")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    try:
        comparison = compare(**given)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    if comparison.results:
        print(comparison.summary())
        print(f"Tables, numbers and pictures: {os.path.relpath(comparison.directory)}")


if __name__ == "__main__":
    main()
