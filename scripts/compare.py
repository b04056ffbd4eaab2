"""Train presets with several seeds, or take runs that are trained, and compare them.

    accelerate launch scripts/compare.py --presets v0_naive v1 v2_glove v3_glove_frozen --seeds 42 43 44

Finished runs are skipped and a killed one continues where it was stopped: run the same command again.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from hf_lstm_sentiment import PRESETS
from hf_lstm_sentiment.training.study import study


def main() -> None:
    """Parse the command line, train what is missing, compare, print the tables."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO)

    default = ["v0_naive", "v1", "v2_glove", "v3_glove_frozen"]
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--presets", nargs="+", default=default, metavar="PRESET", help=f"Any of {', '.join(PRESETS)}.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="SEED", help="42, 43 and 44.")
    parser.add_argument(
        "--one_seed", nargs="*", default=[], metavar="PRESET", help="Presets that are trained with the first seed only."
    )
    parser.add_argument("--dataset", help="Reviews, as for scripts/train.py; the presets' by default.")
    parser.add_argument("--glove", help="Word vectors; likewise.")
    parser.add_argument("--runs_dir", default="runs", help="Holds PRESET-seedSEED for each run; %(default)s.")
    parser.add_argument("--recorded", help="Results without weights that are taken as they are, such as model_cards.")
    parser.add_argument("--output_dir", help="Where to write; comparison in the runs' folder by default.")
    parser.add_argument("--split_seed", type=int, default=42, help="Seed of the validation split; %(default)s.")
    parser.add_argument("--num_train_epochs", type=int, help="At most so many epochs; the presets' by default.")
    parser.add_argument("--max_train_samples", type=int, help="Train on a sample of so many reviews.")
    parser.add_argument("--max_validation_samples", type=int, help="Validate on so many.")
    parser.add_argument("--max_test_samples", type=int, help="Test on so many; no official figures then.")
    parser.add_argument("--num_threads", type=int, help="CPU threads per process; its share of all by default.")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    try:
        comparison = study(**given)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    if comparison.results:
        print(comparison.summary())
        print(f"Tables, numbers and plots: {os.path.relpath(comparison.directory)}")


if __name__ == "__main__":
    main()
