"""Teachers: models too large to ship, whose opinion of unlabeled reviews trains a small one (Hinton et al. 2015).

Each teacher is fitted on the labelled training reviews. The logits that it gives the validation and the unlabeled
reviews are kept, and so are the document vectors, so that a stopped `teach` goes on with what is missing. A logistic
regression on the validation logits weighs the teachers and calibrates them at once. Test reviews are never looked at.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ..data.reviews import Reviews, check_reviews_source, load_reviews
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path, write_json
from ..utils.imports import require
from ..utils.messages import differences
from .presets import PRESETS
from .teachers import Logits, document_vectors, ngrams_and_vectors, sigmoid, student, weigh

logger = logging.getLogger(__name__)

SOFT_LABELS = "soft_labels.safetensors"
_METRICS = "teachers.json"
_LESSON = "lesson.json"


@dataclass(frozen=True)
class Teaching:
    """What the teachers left behind.

    Attributes:
        directory: Holds `soft_labels.safetensors`, `teachers.json` and the logits of each teacher.
        metrics: The content of `teachers.json`.
    """

    directory: Path
    metrics: Mapping[str, Any]

    def summary(self) -> str:
        """What was measured, for a console."""
        lines = [""]
        for name, teacher in self.metrics["teachers"].items():
            lines.append(
                f"{name:<22} validation accuracy {teacher['validation_accuracy']:.2%}, weight {teacher['weight']:.2f}, "
                f"{teacher['seconds']:,.0f} s"
            )
        lines.append(
            f"{'all of them':<22} validation accuracy {self.metrics['validation_accuracy']:.2%} "
            f"({self.metrics['dataset']['validation']:,} reviews)"
        )
        lines.append(f"Soft labels of {self.metrics['dataset']['unlabeled']:,} reviews: {self.directory}")
        return "\n".join(lines)


def teach(
    *,
    dataset: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] = "runs/teachers",
    students: Sequence[str | os.PathLike[str]] = (),
    seed: int = 42,
    split_seed: int = 42,
    validation_fraction: float = PRESETS["imdb"].validation_fraction,
    text_column: str | None = None,
    label_column: str | None = None,
    max_train_samples: int | None = None,
    resume: bool = False,
) -> Teaching:
    """Fit teachers on labelled reviews and write the probabilities that they give the unlabeled ones.

    Args:
        dataset: Where the reviews come from, as for `load_reviews`; it must hold unlabeled reviews. The data set of
            the preset `imdb` where None.
        output_dir: Where to write.
        students: Run directories of students that teach too. They must have been trained on the same split.
        seed: Seed of the document vectors.
        split_seed: As for `load_reviews`; must be that of the student.
        validation_fraction: As for `load_reviews`; must be that of the student.
        text_column: As for `load_reviews`.
        label_column: As for `load_reviews`.
        max_train_samples: As for `load_reviews`.
        resume: Keep the teachers that are finished, and return the results if all of them are.

    Raises:
        FileExistsError: The directory holds teachers, and `resume` is false.
        FileNotFoundError: A student that is no finished run.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        ValueError: Data that cannot be used, teachers that were fitted on other data, a student that was trained on
            another split, or two of one name.
    """
    require("gensim", "sklearn", "datasets", extra="teach")
    source = os.fspath(dataset or PRESETS["imdb"].dataset)
    check_reviews_source(source)
    directory = user_path(output_dir, "the output").resolve()
    lesson = {
        "dataset": source,
        "split_seed": split_seed,
        "validation_fraction": validation_fraction,
        "max_train_samples": max_train_samples,
        "seed": seed,
        "text_column": text_column,
        "label_column": label_column,
    }
    twins = sorted({Path(run).name for run in students if [Path(r).name for r in students].count(Path(run).name) > 1})
    if twins:
        raise ValueError(f"two students are called {twins[0]}; the names of their directories must differ")
    for run in students:
        if not runs.is_finished(user_path(run, "the run")):
            raise FileNotFoundError(f"student {run} is no finished run; train it first, with scripts/train.py")
    _prepare(directory, lesson, resume=resume)
    reviews = load_reviews(
        source,
        text_column=text_column,
        label_column=label_column,
        split_seed=split_seed,
        validation_fraction=validation_fraction,
        max_train_samples=max_train_samples,
        unlabeled=True,
    )
    assert reviews.unlabeled is not None
    kept = partial(_kept, directory)
    vectors, fit_seconds = kept("document_vectors", lambda: {"vectors": document_vectors(reviews, seed=seed)})
    found = {
        "ngrams_and_vectors": kept(
            "ngrams_and_vectors", lambda: _named(ngrams_and_vectors(reviews, vectors["vectors"])), before=fit_seconds
        )
    }
    for run in map(user_path, students):
        digest = hashlib.sha256((run / runs.WEIGHTS).read_bytes()).hexdigest()
        found[run.name] = kept(run.name, lambda run=run: _named(student(reviews, run=run)), digest=digest)  # type: ignore[misc]

    labels = np.asarray(reviews.validation["label"][:])
    validation, unlabeled = (
        np.stack([logits[part] for logits, _ in found.values()], axis=1) for part in ("validation", "unlabeled")
    )
    weights, bias = weigh(validation, labels)
    save_file(
        {
            "row": np.asarray(reviews.unlabeled["row"][:], dtype=np.int64),
            "probability": sigmoid(unlabeled @ weights + bias),
        },
        directory / SOFT_LABELS,
    )
    metrics = {
        **lesson,
        "dataset": reviews.summary(),
        "teachers": {
            name: {
                "validation_accuracy": float(np.mean((validation[:, i] > 0) == labels)),
                "weight": float(weights[i]),
                "seconds": seconds,
            }
            for i, (name, (_, seconds)) in enumerate(found.items())
        },
        "validation_accuracy": float(np.mean((validation @ weights + bias > 0) == labels)),
        "versions": runs.versions("scikit-learn", "gensim", "numpy"),
    }
    write_json(metrics, directory / _METRICS)
    return Teaching(directory, metrics)


def _prepare(directory: Path, lesson: Mapping[str, Any], *, resume: bool) -> None:
    path = directory / _LESSON
    if path.is_file():
        if not resume:
            raise FileExistsError(f"{directory} holds teachers; pass --resume to keep them, or another --output_dir")
        if changed := differences(read_json(path), lesson):
            raise ValueError(
                f"the teachers in {directory} were fitted otherwise: {changed}. Pass the values they were fitted with, "
                "or another --output_dir"
            )
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory} is not empty and holds no teachers; pass another --output_dir")
    directory.mkdir(parents=True, exist_ok=True)
    write_json(lesson, path)


def _named(logits: tuple[Logits, Logits]) -> dict[str, Logits]:
    return dict(zip(("validation", "unlabeled"), logits, strict=True))


def _kept(
    directory: Path, name: str, make: Callable[[], dict[str, Logits]], *, digest: str = "", before: float = 0.0
) -> tuple[dict[str, Logits], float]:
    """What was made once and is kept on disk, and the seconds that it took, `before` included.

    The digest is that of a student's weights: one that was trained anew under the same name is asked again.
    """
    path = directory / f"{name}.safetensors"
    if path.is_file():
        with safe_open(path, framework="np") as file:
            known = (file.metadata() or {}).get("weights", "")
        if known == digest:
            logger.info(f"{name}: there already")
            stored = load_file(path)
            return stored, float(stored.pop("seconds")[0])
        logger.info(f"{name}: its weights have changed since it was asked")
    logger.info(f"{name}: being made")
    start = time.perf_counter()
    made = make()
    seconds = before + time.perf_counter() - start
    temporary = path.with_suffix(".part")
    save_file({**made, "seconds": np.asarray([seconds])}, temporary, metadata={"weights": digest})
    os.replace(temporary, path)
    logger.info(f"{name}: {seconds:,.0f} s")
    return made, seconds


def read_soft_labels(directory: str | os.PathLike[str], reviews: Reviews) -> NDArray[np.float64]:
    """The teachers' probability of POSITIVE for each unlabeled review.

    Args:
        directory: From :func:`teach`.
        reviews: With the unlabeled reviews.

    Returns:
        *Shape:* (len(reviews.unlabeled),)

    Raises:
        FileNotFoundError: The directory holds no soft labels.
        ValueError: They are those of other reviews, or of another split.
    """
    path = user_path(directory) / SOFT_LABELS
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing; make it with scripts/teach.py --output_dir {directory}, or pass --soft_labels "
            "DIRECTORY"
        )
    assert reviews.unlabeled is not None
    taught = read_json(path.parent / _METRICS)["dataset"]
    mine = reviews.summary()
    differ = [key for key in ("split_seed", "validation", "unlabeled") if taught.get(key) != mine.get(key)]
    if differ:
        listed = "; ".join(f"{key} {taught.get(key)} there and {mine.get(key)} here" for key in differ)
        # With another split, the teachers have seen validation reviews.
        raise ValueError(f"{directory} was taught on other reviews: {listed}; run scripts/teach.py on these reviews")
    stored = load_file(path)
    if not np.array_equal(stored["row"], np.asarray(reviews.unlabeled["row"][:])):
        raise ValueError(f"{path} is about other unlabeled reviews; run scripts/teach.py on these reviews")
    return stored["probability"].astype(np.float64)


def describe_soft_labels(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What `metrics.json` of a student says of its teachers.

    Args:
        directory: From :func:`teach`.
    """
    metrics = read_json(user_path(directory) / _METRICS)
    return {key: metrics[key] for key in ("teachers", "validation_accuracy")}
