"""Pretrain the language model that the preset `imdb` starts from."""

from __future__ import annotations

from collections.abc import Sequence

from ..training.presets import LANGUAGE_MODEL
from .console import READING, described
from .train import lazily, run_training


def main(words: Sequence[str]) -> None:
    """Parse the command line, train, print the summary."""
    examples = (
        "accelerate launch -m hf_lstm_sentiment pretrain",
        "% --dataset reviews/ --glove glove.6B.100d.txt --resume",
    )
    run_training(
        lazily("pretrain"),
        described("pretrain", __doc__, *examples),
        words,
        ("dataset", "DATASET", None, f"Reviews with an unlabeled split; {LANGUAGE_MODEL.dataset} by default."),
        ("glove", "VECTORS", None, f"Word vectors; {LANGUAGE_MODEL.glove} by default."),
        ("output_dir", "DIR", None, f"Where to write; runs/{LANGUAGE_MODEL.name} by default."),
        ("seed", "SEED", 42, "Seed of weights, dropout, samples and the order of the reviews."),
        *(*READING, "split_seed", "max_train_samples", "max_validation_samples", "num_threads", "resume"),
    )
