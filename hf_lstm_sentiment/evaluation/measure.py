"""How good a finished checkpoint is: on held-out reviews, and against another one."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.utils.hub import cached_file

from ..data.reviews import SPLIT, Reviews, load_recorded_reviews, load_reviews
from ..inference.classifier import WINDOW, Classifier
from ..model.pretrained_models import pretrained
from ..utils.files import read_json, user_path
from ..utils.messages import differences, shown
from ..utils.run_directory import METRICS, WEIGHTS
from .metrics import evaluate_logits
from .statistics import decisions

Logits = NDArray[np.float32]
_SPLITS = ("test", "validation")


def measure(
    models: Sequence[str | os.PathLike[str]] = (),
    *,
    dataset: str | os.PathLike[str] = "stanfordnlp/imdb",
    split: Literal["test", "validation"] = "test",
    against: str | os.PathLike[str] | None = None,
    max_test_samples: int | None = None,
) -> dict[str, Any]:
    """Evaluate checkpoints on held-out reviews of a data set, from raw strings, as a user classifies.

    To choose between recipes, measure their runs on "validation", so that the test reviews stay unread.

    Args:
        models: Run directories or repositories of the Hub; the model that comes with the package where there are none.
        dataset: As for `load_reviews`.
        split: "test", or "validation": the reviews that the models were validated on, split off again as their
            `metrics.json` tell, which must agree.
        against: A checkpoint whose predictions are compared with those of each model.
        max_test_samples: Test on a stratified sample of so many reviews.

    Returns:
        "split"; "dataset", what was read; and "models", a mapping for each one, of :func:`measure_model`, with
        "against" where that was asked for. Models that were not trained on the split of the first one have no
        "without_overlap".

    Raises:
        FileNotFoundError, ModuleNotFoundError, OSError, ValueError: As `Classifier.from_pretrained` and `load_reviews`.
        ValueError: A model is named twice, the split is none, or the models were validated on different reviews.
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
    """Evaluate one model, and return its logits too.

    Beside what `evaluate_logits` returns: "model", where it was loaded from, "parameters", "weights_bytes" (of the
    file) and "reviews_per_second".
    """
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


def agreement(logits: ArrayLike, others: ArrayLike) -> dict[str, Any]:
    """Compare the predictions of two models on the same reviews."""
    a, b = np.asarray(logits, dtype=np.float64), np.asarray(others, dtype=np.float64)
    if a.shape != b.shape or a.ndim not in (1, 2) or not a.size:
        raise ValueError(f"logits have shapes {a.shape} and {b.shape}; allowed: the same, one per review, at least one")
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
