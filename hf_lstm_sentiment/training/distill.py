"""Distillation: models too large to ship label unlabeled reviews, from which a small one learns (Hinton et al. 2015).

Each teacher is fitted on the labeled training reviews. The logits that it gives the validation and the unlabeled
reviews are kept, and so are the document vectors, so that a stopped `teach` goes on with what is missing. A logistic
regression on the validation logits weighs the teachers and calibrates them at once. Test reviews are never looked at.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save

from ..data.reviews import Reviews, check_reviews_source, load_reviews
from ..model.tokenization import split_words
from ..utils import run_directory as runs
from ..utils.files import file_digest, only_writer, read_json, replacing, user_path, write_json
from ..utils.imports import require
from ..utils.messages import differences
from .inputs import SOFT_LABELS, TEACHERS, refuse_if_seen
from .presets import PRESETS

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]
_SETTINGS = "settings.json"
_FOLDS = 5


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
            f"{'all of them':<22} validation accuracy {self.metrics['cross_validated_accuracy']:.2%}, cross-validated "
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
    labels: str | Mapping[str, str] | None = None,
    separator: str | None = None,
    column_names: str | Sequence[str] | None = None,
    encoding: str | None = None,
    max_train_samples: int | None = None,
    resume: bool = False,
) -> Teaching:
    """Fit teachers on labeled reviews and write the probabilities that they give the unlabeled ones.

    Args:
        dataset: Where the reviews come from, as for `load_reviews`; it must hold unlabeled reviews. The data set of
            the preset `imdb` where None.
        output_dir: Where to write.
        students: Run directories of classifiers that are teachers, too. They must have been trained on the same split.
        seed: Seed of the document vectors.
        split_seed: As for `load_reviews`; must be that of the model that learns from them.
        validation_fraction: As for `load_reviews`; likewise.
        text_column: As for `load_reviews`.
        label_column: As for `load_reviews`.
        labels: As for `load_reviews`.
        separator: As for `load_reviews`.
        column_names: As for `load_reviews`.
        encoding: As for `load_reviews`.
        max_train_samples: As for `load_reviews`.
        resume: Keep the teachers that are finished, and return the results if all of them are.

    Raises:
        BlockingIOError: Another process is writing there.
        FileExistsError: The directory holds teachers, and `resume` is false.
        FileNotFoundError: One of the students is no finished run.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        ValueError: Data that cannot be used, teachers that were fitted on other data, a student that was trained on
            another split, or two of one name.
    """
    require("gensim", "sklearn", "datasets", extra="teach")
    source = os.fspath(dataset or PRESETS["imdb"].dataset)
    check_reviews_source(source)
    directory = user_path(output_dir, "the output").resolve()
    sampling = {
        "split_seed": split_seed,
        "validation_fraction": validation_fraction,
        "max_train_samples": max_train_samples,
        "text_column": text_column,
        "label_column": label_column,
        "labels": labels,
        "separator": separator,
        "column_names": column_names,
        "encoding": encoding,
    }
    names = [Path(run).name for run in students]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two students are called {duplicates[0]}; the names of their directories must differ")
    for run in students:
        if not runs.is_finished(user_path(run, "the run")):
            raise FileNotFoundError(f"student {run} is no finished run; train it first, with scripts/train.py")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(directory):
        settings = {"dataset": source, "seed": seed, **sampling}
        known = _open(directory, settings, resume=resume)
        reviews = load_reviews(source, unlabeled=True, **sampling)  # type: ignore[arg-type]
        digests = {part: digest for part, digest in reviews.digests.items() if part != "test"}
        if changed := differences(known.get("digests", digests), digests):
            raise ValueError(f"the teachers in {directory} were fitted on other reviews: {changed}; {_ELSE}")
        write_json({**settings, "digests": digests}, directory / _SETTINGS)
        metrics = _fit(reviews, directory, students, seed)
        write_json({**settings, **metrics}, directory / TEACHERS)
    return Teaching(directory, {**settings, **metrics})


_ELSE = "pass what they were fitted with, or another --output_dir"


def _open(directory: Path, settings: Mapping[str, Any], *, resume: bool) -> dict[str, Any]:
    """The settings of the teachers that lie in a directory, where they may be continued; none in a new one."""
    path = directory / _SETTINGS
    if path.is_file():
        if not resume:
            raise FileExistsError(f"{directory} holds teachers; pass --resume to keep them, or another --output_dir")
        known = read_json(path)
        if changed := differences({**known, "digests": None}, {**settings, "digests": None}):
            raise ValueError(f"the teachers in {directory} were fitted with other settings: {changed}; {_ELSE}")
        return known
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FileExistsError(f"{directory} is not empty and holds no teachers; pass another --output_dir")
    directory.mkdir(parents=True, exist_ok=True)
    return {}


def _fit(reviews: Reviews, directory: Path, students: Sequence[str | os.PathLike[str]], seed: int) -> dict[str, Any]:
    """Fit or take up each teacher, weigh them and write the soft labels; what `teachers.json` says of it."""
    from scipy.special import expit

    kept = partial(_kept, directory)
    vectors, seconds = kept("document_vectors", lambda: {"vectors": document_vectors(reviews, seed=seed)})
    found = {
        "ngrams_and_vectors": kept(
            "ngrams_and_vectors", lambda: _named(ngrams_and_vectors(reviews, vectors["vectors"])), before=seconds
        )
    }
    for run in map(user_path, students):
        refuse_if_seen(read_json(run / runs.METRICS)["dataset"], reviews, f"student {run}", "scripts/train.py")
        digest = file_digest(run / runs.WEIGHTS)
        found[run.name] = kept(run.name, lambda run=run: _named(_student(reviews, run)), digest=digest)  # type: ignore[misc]

    assert reviews.unlabeled is not None
    labels = np.asarray(reviews.validation["label"][:])
    validation, unlabeled = (
        np.stack([logits[part] for logits, _ in found.values()], axis=1) for part in ("validation", "unlabeled")
    )
    weights, bias, held_out = weigh(validation, labels)
    probabilities = np.asarray(expit(unlabeled @ weights + bias), dtype=np.float32)
    rows = np.asarray(reviews.unlabeled["row"][:], dtype=np.int64)
    _save({"row": rows, "probability": probabilities}, directory / SOFT_LABELS)
    return {
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
        # The weights were fitted on the reviews that the figure above is measured on; these were not.
        "cross_validated_accuracy": float(np.mean(held_out == labels)),
        "fitted_on": {"teachers": "train", "weights": "validation"},
        # By which a kill between the two files is noticed.
        "soft_labels": file_digest(directory / SOFT_LABELS),
        "versions": runs.versions("scikit-learn", "gensim", "numpy"),
    }


def _named(logits: tuple[Logits, Logits]) -> dict[str, Logits]:
    return dict(zip(("validation", "unlabeled"), logits, strict=True))


def _save(arrays: Mapping[str, NDArray[Any]], path: Path, **metadata: str) -> None:
    with replacing(path) as file:
        file.write(save(dict(arrays), metadata=metadata))


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
    _save({**made, "seconds": np.asarray([seconds])}, path, weights=digest)
    logger.info(f"{name}: {seconds:,.0f} s")
    return made, seconds


def document_vectors(reviews: Reviews, *, epochs: int = 8, min_count: int = 10, seed: int = 42) -> NDArray[np.float32]:
    """A vector per review that predicts its 1-, 2- and 3-grams.

    The distributed bag of words of Le and Mikolov 2014, over n-grams as in Li et al. 2016. No label is read.

    Args:
        reviews: All parts but `test` are read.
        epochs: Passes over the texts.
        min_count: n-grams that occur less often are left out.
        seed: Of the order of the reviews and of the vectors.

    Returns:
        Of the training, then the validation, then the unlabeled reviews. *Shape:* (reviews, 200)
    """
    from gensim.models.doc2vec import Doc2Vec

    texts = [text for part in _texts(reviews) for text in part]
    counts: Counter[str] = Counter()
    for words in _words(texts):
        counts.update(_ngrams(words, joint="_"))
    kept = {gram for gram, count in counts.items() if count >= min_count}
    del counts
    order = np.random.default_rng(seed).permutation(len(texts))
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        with corpus.open("w", encoding="utf-8") as file:
            for words in _words(texts[i] for i in order):
                # gensim numbers the lines; an empty one must not shift the others.
                file.write(" ".join(gram for gram in _ngrams(words, joint="_") if gram in kept) or "_")
                file.write("\n")
        # One worker: with more, the vectors depend on which of them is faster.
        model = Doc2Vec(
            corpus_file=os.fspath(corpus),
            dm=0,
            vector_size=200,
            negative=5,
            sample=1e-4,
            alpha=0.05,
            min_alpha=0.001,
            min_count=1,
            epochs=epochs,
            workers=1,
            seed=seed,
        )
    vectors = np.empty((len(texts), 200), dtype=np.float32)
    vectors[order] = model.dv.vectors
    return vectors


def ngrams_and_vectors(reviews: Reviews, vectors: NDArray[np.float32]) -> tuple[Logits, Logits]:
    """One logistic regression on the n-grams of a review, weighted by naive Bayes, and on its document vector.

    Which 1-, 2- and 3-grams occur is weighted by their naive-Bayes log-count ratio (Wang and Manning 2012). Reviews
    are scaled to the same length of that vector, so that a long one is no more decided than a short one.

    Args:
        reviews: Fitted on `train`.
        vectors: As :func:`document_vectors` returns them.

    Returns:
        Logits of the validation and of the unlabeled reviews.
    """
    from scipy.sparse import csr_matrix, diags, hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler, normalize

    words = [_words(part) for part in _texts(reviews)]
    counter = CountVectorizer(analyzer=lambda text: set(_ngrams(text)), min_df=3, dtype=np.float32)
    present = [counter.fit_transform(words[0]), *(counter.transform(part) for part in words[1:])]
    labels = np.asarray(reviews.train["label"][:], dtype=np.float32)
    positive, negative = present[0].T @ labels + 1, present[0].T @ (1 - labels) + 1
    ratio = diags(np.log((positive / positive.sum()) / (negative / negative.sum())).astype(np.float32))
    weighted = [part @ ratio for part in present]
    length = np.sqrt(weighted[0].multiply(weighted[0]).sum(axis=1)).mean()
    scaler = StandardScaler().fit(vectors[: len(labels)])
    borders = np.cumsum([part.shape[0] for part in present])[:-1]
    features = [
        hstack([normalize(ngrams) * length, csr_matrix(scaler.transform(part) * 0.3)]).tocsr()
        for ngrams, part in zip(weighted, np.split(vectors, borders), strict=True)
    ]
    model = LogisticRegression(C=0.3, solver="liblinear", dual=True, max_iter=1_000, random_state=0)
    model.fit(features[0], labels)
    known, unknown = (model.decision_function(part).astype(np.float32) for part in features[1:])
    return known, unknown


def _student(reviews: Reviews, run: Path) -> tuple[Logits, Logits]:
    """Logits of an earlier student, a teacher of the next one (Furlanello et al. 2018)."""
    from ..inference.classifier import Classifier

    classifier = Classifier.from_pretrained(run)
    _, validation, unlabeled = _texts(reviews)
    return classifier.logits(validation), classifier.logits(unlabeled)


def weigh(logits: Logits, labels: NDArray[np.int64]) -> tuple[Logits, float, NDArray[np.int64]]:
    """Find the weights of teachers under which the sum of their logits is calibrated best.

    Args:
        logits: Of each teacher. *Shape:* (reviews, teachers)
        labels: 0 or 1. *Shape:* (reviews,)

    Returns:
        A weight per teacher, what is added to the sum, and each review's label by weights fitted on the other folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    scale = logits.std(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1_000)
    folds = min(_FOLDS, *np.bincount(labels, minlength=2).tolist())
    held_out = cross_val_predict(model, logits / scale, labels, cv=folds) if folds > 1 else np.full(len(labels), -1)
    model.fit(logits / scale, labels)
    return (model.coef_[0] / scale).astype(np.float32), float(model.intercept_[0]), held_out


def _texts(reviews: Reviews) -> tuple[list[str], list[str], list[str]]:
    assert reviews.unlabeled is not None
    train, validation, unlabeled = (part["text"][:] for part in (reviews.train, reviews.validation, reviews.unlabeled))
    return train, validation, unlabeled


def _words(texts: Iterable[str]) -> Iterator[list[str]]:
    return split_words(texts, scheme="words")


def _ngrams(words: list[str], joint: str = " ") -> Iterator[str]:
    for n in (1, 2, 3):
        for start in range(len(words) - n + 1):
            yield joint.join(words[start : start + n])
