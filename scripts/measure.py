"""Evaluate finished checkpoints: `python scripts/measure.py`, or with run directories or repositories of the Hub.

`--against RUN` compares the decisions with those of another checkpoint: of the shipped float16 weights with those of
the run they come from. `--generalise` measures, beside VADER and NBSVM, what was not seen in training.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from generalization import measure_generalization
from numpy.typing import NDArray
from recorded import load_recorded_reviews
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.utils.hub import cached_file
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.data.reviews import SPLIT, Reviews, load_reviews
from hf_lstm_sentiment.evaluation.metrics import evaluate_logits
from hf_lstm_sentiment.inference.classifier import WINDOW, Classifier, decisions
from hf_lstm_sentiment.model.pretrained_models import pretrained
from hf_lstm_sentiment.utils.files import read_json, user_path, write_json
from hf_lstm_sentiment.utils.messages import differences, shown
from hf_lstm_sentiment.utils.run_directory import METRICS, WEIGHTS

Logits = NDArray[np.float32]
_SPLITS = ("test", "validation")
# What is printed of each model, how it is called, and its format.
_ROWS = (
    ("accuracy", "accuracy", ".2%"),
    ("precision", "precision", ".2%"),
    ("recall", "recall", ".2%"),
    ("f1", "F1", ".2%"),
    ("macro_f1", "macro F1", ".2%"),
    ("without_overlap.accuracy", "accuracy without overlap", ".2%"),
    ("without_overlap.reviews", "reviews without overlap", ","),
    ("roc_auc", "ROC-AUC", ".4f"),
    ("expected_calibration_error", "ECE", ".4f"),
    ("loss", "loss", ".4f"),
    ("confusion_matrix.tn", "true NEGATIVE", ","),
    ("confusion_matrix.fp", "false POSITIVE", ","),
    ("confusion_matrix.fn", "false NEGATIVE", ","),
    ("confusion_matrix.tp", "true POSITIVE", ","),
    ("reviews_per_second", "reviews/s", ",.0f"),
    ("parameters", "parameters", ","),
    ("weights_bytes", "bytes", ","),
    ("against.equal_decisions", "equal decisions", ".3%"),
    ("against.different", "different", ","),
)


def measure(
    models: Sequence[str | os.PathLike[str]] = (),
    *,
    dataset: str | os.PathLike[str] = "stanfordnlp/imdb",
    split: str = "test",
    against: str | os.PathLike[str] | None = None,
    max_test_samples: int | None = None,
) -> dict[str, Any]:
    """Evaluate checkpoints on held-out reviews of a data set, from raw strings, as a user classifies.

    To choose between recipes, measure their runs on "validation", so that the test reviews stay unread.

    The model that comes with the package is measured where none is named. "validation" are the reviews that the models
    were validated on, split off again as their `metrics.json` tell, which must agree. The result has "split";
    "dataset", what was read; and "models", a mapping for each one: beside what `evaluate_logits` returns, "model",
    where it was loaded from, "parameters", "weights_bytes" (of the file), "reviews_per_second", and "against" where
    that was asked for. Models that were not trained on the split of the first one have no "without_overlap".
    """
    if split not in _SPLITS:
        raise ValueError(f"split is {split!r}; allowed: {', '.join(_SPLITS)}")
    if split == "validation" and max_test_samples is not None:
        raise ValueError(f"max_test_samples is {max_test_samples}, and split is 'validation'; leave one of them out")
    named = [os.fspath(model) for model in models] or [pretrained()]
    if duplicates := sorted({name for name in named if named.count(name) > 1}):
        raise ValueError(f"model {duplicates[0]} is named twice; name each one once")
    # Before the reviews are read, so that a misspelt name is found at once.
    classifiers = {name: Classifier.from_pretrained(name) for name in named}
    other = None if against is None else Classifier.from_pretrained(against)
    splits = {name: _recorded_split(name) for name in named}
    if split == "test":
        reviews = load_reviews(dataset, max_test_samples=max_test_samples, **splits[named[0]])
        part = reviews.test
    else:
        reviews = common_reviews([*named, *([] if against is None else [os.fspath(against)])], dataset)
        part = reviews.validation
    texts, labels = part["text"][:], part["label"][:]
    overlap = np.isin(part["row"][:], reviews.overlap[split])
    for name, one in (*classifiers.items(), *([] if other is None else [(os.fspath(against or ""), other)])):
        if max(len(one.labels), len(reviews.label_names)) > 2 and one.labels != reviews.label_names:
            raise ValueError(
                f"{name} has the labels {shown(one.labels)} and {reviews.source} {shown(reviews.label_names)}; measure "
                "it on reviews of its own labels"
            )
    others = None if other is None else timed_logits(other, texts)[0]
    measured = []
    for name, classifier in classifiers.items():
        # What another split trained on is not known here.
        known = overlap if splits[name] == splits[named[0]] else None
        result, logits = measure_model(name, classifier, texts, labels, known)
        if others is not None and against is not None:
            result["against"] = {"model": os.fspath(against), **agreement(logits, others)}
        measured.append(result)
    return {"split": split, "dataset": reviews.summary(), "models": measured}


def common_reviews(names: Sequence[str], dataset: str | os.PathLike[str]) -> Reviews:
    """Load the reviews that models were trained and validated on; refuse where these are not the same for all."""
    metrics = {name: read_json(_file(name, METRICS)) for name in names}
    reviews = load_recorded_reviews(metrics[names[0]], dataset, of=names[0])
    mine = {key: reviews.summary()[key] for key in SPLIT}
    for name in names[1:]:
        its = metrics[name].get("dataset") or {}
        if changed := differences(mine, {key: its.get(key) for key in SPLIT}):
            raise ValueError(
                f"{name} was validated on other reviews than {names[0]}: {changed}; one model's validation reviews are "
                "the other's training reviews, so measure them one by one"
            )
    return reviews


def measure_model(
    name: str, classifier: Classifier, texts: Sequence[str], labels: Sequence[int], overlap: NDArray[np.bool_] | None
) -> tuple[dict[str, Any], Logits]:
    """Evaluate one model, and return its logits too."""
    # Allocators and processor warm up.
    classifier.logits(texts[:64])
    logits, seconds = timed_logits(classifier, texts)
    result = {
        "model": name,
        "parameters": classifier.parameters,
        "weights_bytes": _file(name, WEIGHTS).stat().st_size,
        "reviews_per_second": len(texts) / seconds,
        **evaluate_logits(logits, labels, overlap=overlap),
    }
    return result, logits


def timed_logits(classifier: Classifier, texts: Sequence[str]) -> tuple[Logits, float]:
    """Compute logits, with a bar where standard error is a terminal, and the seconds that they take."""
    made = []
    start = time.perf_counter()
    with tqdm(total=len(texts), desc="Classifying", unit="review", disable=None) as bar:
        for first in range(0, len(texts), WINDOW):
            window = texts[first : first + WINDOW]
            made.append(classifier.logits(window))
            bar.update(len(window))
    return np.concatenate(made), time.perf_counter() - start


def agreement(logits: Logits, others: Logits) -> dict[str, Any]:
    """Compare the predictions of two models on the same reviews."""
    a, b = logits.astype(np.float64), others.astype(np.float64)
    different = int(np.count_nonzero(decisions(a) != decisions(b)))
    return {
        "equal_decisions": 1 - different / len(a),
        "different": different,
        "largest_difference": float(np.abs(a - b).max()),
    }


def _recorded_split(name: str) -> dict[str, Any]:
    """What `load_reviews` needs to tell a model's training reviews, as far as its record, where it has one, says it."""
    try:
        recorded = read_json(_file(name, METRICS)).get("dataset") or {}
    except OSError:
        recorded = {}
    split: dict[str, Any] = {"unlabeled": None if "unlabeled" in recorded else False}
    if "validation" in recorded.get("held_out", ()):
        train, validation = recorded["train"], recorded["validation"]
        split["validation_fraction"] = recorded.get("validation_fraction", validation / (train + validation))
        split["split_seed"] = recorded["split_seed"]
    return split


def _file(name: str, file: str) -> Path:
    """A file of a run directory or of a repository of the Hub."""
    path = user_path(name, "the model")
    found = cached_file(str(path) if path.is_dir() else name, file)
    if found is None:
        raise FileNotFoundError(f"model {name} holds no {file}")
    return Path(found)


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
    """Print what `measure` returned, with "generalisation" where that was asked for."""
    models = found["models"]
    print(f"{found['dataset']['source']}, {found['split']}: {models[0]['reviews']:,} reviews")
    if "against" in models[0]:
        print(f"against {models[0]['against']['model']}")
    rows = [["", *(Path(model["model"]).name for model in models)]]
    for key, name, form in _ROWS:
        part, _, inner = key.rpartition(".")
        parts = [model.get(part) if part else model for model in models]
        values = [of.get(inner) if isinstance(of, dict) else None for of in parts]
        if any(value is not None for value in values):
            rows.append([name, *("" if value is None else format(value, form) for value in values)])
    table(rows)
    if "generalisation" in found:
        unseen = found["generalisation"]
        models = unseen["models"]
        print(f"\nNot seen in training: {unseen['sentences']:,} sentences of Rotten Tomatoes, and minimal pairs")
        print("(classified correctly / pairs in the right order)")
        rows = [["", *(Path(model["model"]).name for model in models)]]
        rows.append(["sentences", *(f"{model['accuracy']:.2%}" for model in models)])
        rows.append([f"POSITIVE said ({unseen['positive']:.1%} are)", *(f"{m['positive']:.1%}" for m in models)])
        errors = [model.get("expected_calibration_error") for model in models]
        rows.append(["ECE on sentences", *("" if error is None else f"{error:.4f}" for error in errors)])
        for group, first in models[0]["pairs"].items():
            shares = [model["pairs"][group] for model in models]
            cells = [f"{part['accuracy']:.0%} / {part['ordered']:.0%}" for part in shares]
            rows.append([f"{group} ({first['pairs']})", *cells])
        table(rows)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows of equal length in columns; the first one is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *rest in rows:
        cells = (cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True))
        print("  ".join([first.ljust(widths[0]), *cells]))


if __name__ == "__main__":
    main()
