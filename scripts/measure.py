"""Evaluate finished checkpoints: `python scripts/measure.py`, or with run directories or repositories of the Hub.

`--against RUN` compares the decisions with those of another checkpoint: of the shipped float16 weights with those of
the run they come from. `--generalise` measures, beside VADER and NBSVM, what was not seen in training.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from generalization import measure_generalization
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.data.reviews import load_reviews
from hf_lstm_sentiment.evaluation.measure import common_reviews, measure
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.utils.files import user_path, write_json


def main() -> None:
    """Parse the command line, measure, print the tables."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="The model in the package by default.")
    parser.add_argument("--dataset", default="stanfordnlp/imdb", help="Reviews, as for scripts/train.py; %(default)s.")
    parser.add_argument(
        "--split", default="test", help="test, or validation: that of the runs, to compare recipes; %(default)s."
    )
    parser.add_argument("--against", metavar="MODEL", help="Compare the decisions with those of this one.")
    parser.add_argument("--generalise", action="store_true", help="Rotten Tomatoes sentences and minimal pairs too.")
    parser.add_argument("--max_test_samples", type=int, help="Test on a stratified sample of so many reviews.")
    parser.add_argument("--json", metavar="FILE", help="Write everything there, too.")
    parser.add_argument("--num_threads", type=int, help="CPU threads; all cores by default.")
    arguments = vars(parser.parse_args())
    disable_progress_bar()
    file, threads, generalise = (arguments.pop(name) for name in ("json", "num_threads", "generalise"))
    try:
        if threads is not None:
            if threads < 1:
                raise ValueError(f"num_threads is {threads}; allowed: at least 1")
            torch.set_num_threads(threads)
        if file is not None and not user_path(file).parent.is_dir():
            raise FileNotFoundError(f"--json {file}: its directory is not there; make it, or name another file")
        found = measure(**arguments)
        if generalise:
            names = [model["model"] for model in found["models"]]
            on_test = arguments["split"] == "test"
            reviews = load_reviews(arguments["dataset"]) if on_test else common_reviews(names, arguments["dataset"])
            classifiers = {name: Classifier.from_pretrained(name) for name in names}
            found["generalisation"] = measure_generalization(classifiers, reviews)
        if file is not None:
            write_json(found, user_path(file))
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    show(found)


def show(found: dict[str, Any]) -> None:
    """Print what was measured.

    Args:
        found: As `measure` returns it, with "generalisation" where that was asked for.
    """
    models = found["models"]
    print(f"{found['dataset']['source']}, {found['split']}: {models[0]['reviews']:,} reviews")
    rows = [["", *(Path(model["model"]).name for model in models)]]
    kinds = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1", "macro_f1": "macro F1"}
    for key, name in kinds.items():
        if key in models[0]:
            rows.append([name, *(f"{model[key]:.2%}" for model in models)])
    apart = [model.get("without_overlap") for model in models]
    for key, name, form in (
        ("accuracy", "accuracy without overlap", ".2%"),
        ("reviews", "reviews without overlap", ","),
    ):
        if any(apart):
            rows.append([name, *(format(part[key], form) if part else "" for part in apart)])
    for key, name in (("roc_auc", "ROC-AUC"), ("expected_calibration_error", "ECE"), ("loss", "loss")):
        if key in models[0]:
            rows.append([name, *(f"{model[key]:.4f}" for model in models)])
    for key, name in (
        ("tn", "true NEGATIVE"),
        ("fp", "false POSITIVE"),
        ("fn", "false NEGATIVE"),
        ("tp", "true POSITIVE"),
    ):
        if "f1" in models[0]:
            rows.append([name, *(f"{model['confusion_matrix'][key]:,}" for model in models)])
    for key, name in (("reviews_per_second", "reviews/s"), ("parameters", "parameters"), ("weights_bytes", "bytes")):
        rows.append([name, *(f"{model[key]:,.0f}" for model in models)])
    if "against" in models[0]:
        print(f"against {models[0]['against']['model']}")
        rows.append(["equal decisions", *(f"{model['against']['equal_decisions']:.3%}" for model in models)])
        rows.append(["different", *(f"{model['against']['different']:,}" for model in models)])
    table(rows)
    if "generalisation" in found:
        unseen = found["generalisation"]
        print(f"\nNot seen in training: {unseen['sentences']:,} sentences of Rotten Tomatoes, and minimal pairs")
        print("(classified correctly / pairs in the right order)")
        rows = [["", *(Path(model["model"]).name for model in unseen["models"])]]
        rows.append(["sentences", *(f"{model['accuracy']:.2%}" for model in unseen["models"])])
        rows.append(
            [f"POSITIVE said ({unseen['positive']:.1%} are)", *(f"{m['positive']:.1%}" for m in unseen["models"])]
        )
        errors = [model.get("expected_calibration_error") for model in unseen["models"]]
        rows.append(["ECE on sentences", *("" if error is None else f"{error:.4f}" for error in errors)])
        for group, first in unseen["models"][0]["pairs"].items():
            shares = [model["pairs"][group] for model in unseen["models"]]
            rows.append(
                [f"{group} ({first['pairs']})", *(f"{part['accuracy']:.0%} / {part['ordered']:.0%}" for part in shares)]
            )
        table(rows)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of equal length in columns.

    Args:
        rows: The first one is the head.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        print(
            "  ".join(
                [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))]
            )
        )


if __name__ == "__main__":
    main()
