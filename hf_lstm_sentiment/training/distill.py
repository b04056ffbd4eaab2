"""Distillation: models too large to ship label unlabeled reviews, from which a small one learns (Hinton et al. 2015).

Each teacher is fitted on the labeled training reviews. The logits that it gives the validation and the unlabeled
reviews are kept, and so are the document vectors, so that a stopped `teach` goes on with what is missing. A logistic
regression on the validation logits weighs the teachers and calibrates them at once. Test reviews are never looked at.
"""

from __future__ import annotations

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
from safetensors.numpy import load_file, save

from ..data.reviews import Reviews, check_reviews_source, load_reviews
from ..utils import run_directory as runs
from ..utils.files import file_digest, only_writer, read_json, replacing, user_path, write_json
from ..utils.imports import require
from ..utils.messages import differences
from .inputs import PASSAGES, SOFT_LABELS, TEACHERS, refuse_if_seen, refuse_many_labels
from .ngram_teacher import Logits, document_vectors, ngrams_and_vectors, teaching_texts
from .presets import PRESETS
from .short_texts import (
    as_labeled,
    cut_reviews,
    find_names,
    generate_pairs,
    generate_passages,
    move_to_other_things,
    swap_names,
)
from .transformer_teacher import find_teacher, fit_transformer, teacher_digest, transformer_logits

logger = logging.getLogger(__name__)

_SETTINGS = "settings.json"
_FOLDS = 5
# Passes of the transformer over short texts in one over the reviews.
_SHORT_PASSES = 2
# Generated pairs that the transformer is fitted to.
_FITTED_PAIRS = 2_500
# The probability of what is so by construction, and that below which the transformer makes it doubtful.
_SURE, _DOUBTED = 0.95, 0.25


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
    teacher: str | os.PathLike[str] | None = None,
    teacher_epochs: float = 1.0,
    short_texts: str | os.PathLike[str] | None = None,
    passages: int = 160_000,
    bf16: bool = False,
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
        teacher: A transformer that is fitted too, as for `find_teacher`: an encoder or a classifier of two labels.
            It also labels short passages, which a student reads beside the reviews. None does without.
        teacher_epochs: Passes of the transformer over the labeled texts.
        short_texts: Labeled short texts, as for `load_reviews`, for the transformer and for the student; a tenth of
            them validates and calibrates it, and a tenth, the test part, is not read. Only with a teacher.
        passages: How many passages are cut from the unlabeled reviews or generated; an eighth as many pairs of
            opposite verdicts come on top.
        bf16: Let the transformer compute in bfloat16.
        seed: Seed of the document vectors, of the transformer and of the passages.
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
    if teacher is not None:
        find_teacher(teacher)
    elif short_texts is not None:
        raise ValueError(f"short_texts is {short_texts}; only a transformer learns from them, pass a teacher too")
    if short_texts is not None:
        check_reviews_source(short_texts)
    for run in students:
        if not runs.is_finished(user_path(run, "the run")):
            raise FileNotFoundError(f"student {run} is no finished run; train it first, with hf-lstm-sentiment train")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(directory):
        settings = {"dataset": source, "seed": seed, **sampling}
        known = _open(directory, settings, resume=resume)
        reviews = load_reviews(source, unlabeled=True, **sampling)  # type: ignore[arg-type]
        refuse_many_labels(reviews)
        digests = {part: digest for part, digest in reviews.digests.items() if part != "test"}
        if changed := differences(known.get("digests", digests), digests):
            raise ValueError(f"the teachers in {directory} were fitted on other reviews: {changed}; {_ELSE}")
        write_json({**settings, "digests": digests}, directory / _SETTINGS)
        transformer = None if teacher is None else _Transformer(teacher, teacher_epochs, short_texts, passages, bf16)
        metrics = _fit(reviews, directory, students, seed, transformer)
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


def _fit(
    reviews: Reviews,
    directory: Path,
    students: Sequence[str | os.PathLike[str]],
    seed: int,
    transformer: _Transformer | None,
) -> dict[str, Any]:
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
        refuse_if_seen(read_json(run / runs.METRICS)["dataset"], reviews, f"student {run}", "hf-lstm-sentiment train")
        digest = file_digest(run / runs.WEIGHTS)
        found[run.name] = kept(run.name, lambda run=run: _named(_student(reviews, run)), digest=digest)  # type: ignore[misc]

    facts: dict[str, Any] = {}
    if transformer is not None:
        found["transformer"], facts = transformer.teach(reviews, directory, seed)

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
        **facts,
        # By which a kill between the two files is noticed.
        "soft_labels": file_digest(directory / SOFT_LABELS),
        "versions": runs.versions("scikit-learn", "gensim", "numpy"),
    }


@dataclass(frozen=True)
class _Transformer:
    """A transformer among the teachers, and the short texts that it alone labels; fields as for :func:`teach`."""

    source: str | os.PathLike[str]
    epochs: float
    short_texts: str | os.PathLike[str] | None
    passages: int
    bf16: bool

    def teach(
        self, reviews: Reviews, directory: Path, seed: int
    ) -> tuple[tuple[dict[str, Logits], float], dict[str, Any]]:
        """Fit it, ask it about reviews and passages, write the passages.

        Returns:
            Its logits and seconds, as of every teacher, and what `teachers.json` says of it.
        """
        short = None if self.short_texts is None else load_short_texts(self.short_texts)
        start, folder = time.perf_counter(), directory / "transformer"
        texts = self.fit(reviews, short, folder, seed)
        seconds, digest = time.perf_counter() - start, teacher_digest(folder)
        ask = partial(transformer_logits, folder, bf16=self.bf16)
        asked = teaching_texts(reviews)[1:]
        answers = _kept(
            directory, "transformer", lambda: _named((ask(asked[0]), ask(asked[1]))), digest=digest, before=seconds
        )
        facts: dict[str, Any] = {"transformer": {"source": os.fspath(self.source), "texts": texts, "weights": digest}}
        # On short texts it is another classifier than on long ones, and is calibrated by itself.
        validation, known = answers[0]["validation"], np.asarray(reviews.validation["label"][:])
        if short is not None:
            known = np.asarray(short.validation["label"][:])
            validation = _kept(
                directory, "transformer_short", lambda: {"validation": ask(short.validation["text"][:])}, digest=digest
            )[0]["validation"]
            facts["short_texts"] = {
                **short.summary(),
                "validation_accuracy": float(np.mean((validation > 0) == known)),
            }
        weight, bias, _ = weigh(validation[:, None], known)
        facts["passages"] = self._write_passages(reviews, directory, seed, digest, short, (weight, bias))
        return answers, facts

    def fit(self, reviews: Reviews, short: Reviews | None, folder: Path, seed: int) -> int:
        """Fit it to the labeled reviews, the labeled short texts and generated pairs; the number of texts."""
        texts, labels = list(reviews.train["text"][:]), list(reviews.train["label"][:])
        if short is not None:
            texts += short.train["text"][:] * _SHORT_PASSES
            labels += short.train["label"][:] * _SHORT_PASSES
        for text, label in as_labeled(generate_pairs(_FITTED_PAIRS, seed=seed + 1)):
            texts.append(text)
            labels.append(label)
        fit_transformer(self.source, texts, labels, folder, epochs=self.epochs, seed=seed, bf16=self.bf16)
        return len(texts)

    def _write_passages(
        self,
        reviews: Reviews,
        directory: Path,
        seed: int,
        digest: str,
        short: Reviews | None,
        calibration: tuple[Logits, float],
    ) -> dict[str, Any]:
        """Write the passages with the probability of each, and say how many there are of each kind."""
        from datasets import Dataset
        from scipy.special import expit

        unlabeled = teaching_texts(reviews)[2]
        cuts = cut_reviews(unlabeled, self.passages * 7 // 10, seed=seed)
        kinds = {
            "cut from unlabeled reviews": cuts,
            "moved to other things": move_to_other_things(cuts, self.passages // 5, seed=seed),
            "generated passages": generate_passages(self.passages // 10, seed=seed + 2),
            "generated pairs": [text for pair in generate_pairs(self.passages // 8, seed=seed + 3) for text in pair],
        }
        texts = [text for group in kinds.values() for text in group]
        folder = directory / "transformer"
        logits = _kept(
            directory,
            "passages",
            lambda: {"logits": transformer_logits(folder, texts, bf16=self.bf16)},
            digest=f"{digest} {self.passages}",
        )[0]["logits"]
        weight, bias = calibration
        probabilities = np.asarray(expit(logits * weight[0] + bias), dtype=np.float32)
        # A pair says by its construction what it means; where the transformer reads it the other way, it is left out.
        made = np.resize([_SURE, 1 - _SURE], len(kinds["generated pairs"]))
        agreed = np.where(made > 0.5, probabilities[-len(made) :], 1 - probabilities[-len(made) :]) > _DOUBTED
        kept = np.concatenate([np.ones(len(texts) - len(made), dtype=bool), agreed])
        probabilities[-len(made) :] = made
        # What is cut from reviews is full of names; by few words, a model would decide by them too.
        full = len(kinds["cut from unlabeled reviews"]) + len(kinds["moved to other things"])
        texts[:full] = swap_names(texts[:full], find_names(unlabeled), seed=seed + 4)
        chosen = {"text": [t for t, keep in zip(texts, kept, strict=True) if keep], "probability": probabilities[kept]}
        counts = {kind: len(group) for kind, group in kinds.items()} | {"generated pairs": int(agreed.sum())}
        if short is not None:
            counts["labeled short texts"] = len(short.train)
            chosen["text"] += short.train["text"][:]
            chosen["probability"] = np.concatenate(
                [chosen["probability"], np.asarray(short.train["label"][:], dtype=np.float32)]
            )
        with replacing(directory / PASSAGES) as file:
            Dataset.from_dict(chosen).to_parquet(file)
        return {"kinds": counts, "digest": file_digest(directory / PASSAGES)}


def load_short_texts(source: str | os.PathLike[str]) -> Reviews:
    """Load labeled short texts and split them: eight tenths to train on, one to validate, one to test.

    Args:
        source: As for `load_reviews`.
    """
    return load_reviews(source, validation_fraction=1 / 9, test_fraction=0.1, split_seed=42)


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


def _student(reviews: Reviews, run: Path) -> tuple[Logits, Logits]:
    """Logits of an earlier student, a teacher of the next one (Furlanello et al. 2018)."""
    from ..inference.classifier import Classifier

    classifier = Classifier.from_pretrained(run)
    _, validation, unlabeled = teaching_texts(reviews)
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
