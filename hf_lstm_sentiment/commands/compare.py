"""Train presets with several seeds, or take runs that are trained, and compare them.

Finished runs are skipped and a killed one continues where it was stopped: run the same command again.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..training.presets import PRESETS
from .console import new_parser, parsed, say, show_log

_FOUR = ["v0_naive", "v1", "v2_glove", "v3_glove_frozen"]


def main(words: Sequence[str]) -> None:
    """Parse the command line, train what is missing, compare, print the tables."""
    examples = (
        "% --presets v0_naive v1 v2_glove v3_glove_frozen --one_seed v0_naive",
        "accelerate launch -m hf_lstm_sentiment compare --presets v1 v2_glove --seeds 42 43 --num_train_epochs 2",
    )
    given = parsed(
        new_parser("compare", __doc__, *examples),
        words,
        ("presets", "PRESET+", _FOUR, f"Any of {', '.join(PRESETS)}."),
        ("seeds", "SEED+", [42, 43, 44], "42, 43 and 44."),
        ("one_seed", "PRESET*", [], "Presets that are trained with the first seed only."),
        ("dataset", "DATASET", None, "Reviews, as for train; the presets' by default."),
        ("glove", "VECTORS", None, "Word vectors; likewise."),
        ("runs_dir", "DIR", "runs", "Holds PRESET-seedSEED for each run; %(default)s."),
        ("recorded", "DIR", None, "Results without weights, taken as they are (model_cards)."),
        ("output_dir", "DIR", None, "Where to write; comparison in the runs' folder."),
        ("num_train_epochs", "N", None, "At most so many; the presets' by default."),
        *("split_seed", "max_train_samples", "max_validation_samples", "max_test_samples", "num_threads"),
    )
    show_log()
    from ..training.study import study

    comparison = study(**{name: value for name, value in given.items() if value is not None})
    if comparison.results:
        say(comparison.summary())
        say(f"Tables, numbers and plots: {os.path.relpath(comparison.directory)}")
