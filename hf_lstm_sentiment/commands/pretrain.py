"""Pretrain the language model that the preset `imdb` starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..training.presets import LANGUAGE_MODEL
from .console import described
from .training import lazily, run_training


@dataclass
class PretrainingArguments:
    """What to read, and where to put the language model."""

    dataset: str | None = field(
        default=None, metadata={"help": f"Reviews with an unlabeled split; {LANGUAGE_MODEL.dataset} by default."}
    )
    glove: str | None = field(default=None, metadata={"help": f"Word vectors; {LANGUAGE_MODEL.glove} by default."})
    output_dir: str | None = field(
        default=None, metadata={"help": f"Where to write; runs/{LANGUAGE_MODEL.name} by default."}
    )
    seed: int = field(default=42, metadata={"help": "Seed of weights, dropout, samples and the order of the reviews."})
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
    split_seed: int = field(default=42, metadata={"help": "Seed of the validation split; must be the classifier's."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a sample of so many reviews."})
    max_validation_samples: int | None = field(default=None, metadata={"help": "Validate on so many reviews."})
    num_threads: int | None = field(
        default=None, metadata={"help": "CPU threads per process; its share of all by default."}
    )
    resume: bool = field(default=False, metadata={"help": "Continue from the newest whole checkpoint."})


def main(words: Sequence[str]) -> None:
    """Parse the command line, train, print the summary."""
    examples = (
        "accelerate launch -m hf_lstm_sentiment pretrain",
        "% --dataset reviews/ --glove glove.6B.100d.txt --resume",
    )
    run_training(lazily("pretrain"), PretrainingArguments, words, described=described("pretrain", __doc__, *examples))
