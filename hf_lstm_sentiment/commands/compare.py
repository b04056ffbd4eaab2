"""Train presets with several seeds, or take runs that are trained, and compare them.

Finished runs are skipped and a killed one continues where it was stopped: run the same command again.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from ..training.presets import PRESETS
from .console import described, say, show_log, typed


def main(words: Sequence[str]) -> None:
    """Parse the command line, train what is missing, compare, print the tables."""
    default = ["v0_naive", "v1", "v2_glove", "v3_glove_frozen"]
    examples = (
        "% --presets v0_naive v1 v2_glove v3_glove_frozen --one_seed v0_naive",
        "accelerate launch -m hf_lstm_sentiment compare --presets v1 v2_glove --seeds 42 43 --num_train_epochs 2",
    )
    parser = argparse.ArgumentParser(**described("compare", __doc__, *examples))
    parser.add_argument("--presets", nargs="+", default=default, metavar="PRESET", help=f"Any of {', '.join(PRESETS)}.")
    parser.add_argument("--seeds", nargs="+", type=int, default=[42, 43, 44], metavar="SEED", help="42, 43 and 44.")
    parser.add_argument(
        "--one_seed", nargs="*", default=[], metavar="PRESET", help="Presets that are trained with the first seed only."
    )
    parser.add_argument("--dataset", help="Reviews, as for train; the presets' by default.")
    parser.add_argument("--glove", help="Word vectors; likewise.")
    parser.add_argument(
        "--runs_dir", metavar="DIR", default="runs", help="Holds PRESET-seedSEED for each run; %(default)s."
    )
    parser.add_argument("--recorded", metavar="DIR", help="Results without weights, taken as they are (model_cards).")
    parser.add_argument("--output_dir", metavar="DIR", help="Where to write; comparison in the runs' folder.")
    parser.add_argument("--split_seed", metavar="N", type=int, default=42, help="Of the validation split; %(default)s.")
    parser.add_argument("--num_train_epochs", metavar="N", type=int, help="At most so many; the presets' by default.")
    parser.add_argument("--max_train_samples", metavar="N", type=int, help="Train on a sample of so many reviews.")
    parser.add_argument("--max_validation_samples", metavar="N", type=int, help="Validate on so many.")
    parser.add_argument("--max_test_samples", metavar="N", type=int, help="Test on so many; no official figures then.")
    parser.add_argument(
        "--num_threads", metavar="N", type=int, help="CPU threads per process; its share of all by default."
    )
    given = vars(parser.parse_args(typed(parser, words)))
    show_log()
    from ..training.study import study

    comparison = study(**{name: value for name, value in given.items() if value is not None})
    if comparison.results:
        say(comparison.summary())
        say(f"Tables, numbers and plots: {os.path.relpath(comparison.directory)}")
