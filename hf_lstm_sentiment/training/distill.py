"""Distillation: models too large to ship label unlabeled reviews, from which a small one learns (Hinton et al. 2015).

Each teacher is fitted on the labeled training reviews. The logits that it gives the validation and the unlabeled
reviews are kept, and so are the document vectors, so that a stopped `teach` goes on with what is missing. A logistic
regression on the validation logits weighs the teachers and calibrates them at once. Test reviews are never looked at.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save

from ..data.reviews import Reviews, load_reviews
from ..data.sources import check_reviews_source
from ..inference.classifier import Classifier
from ..utils import run_directory as runs
from ..utils.files import empty_folder, file_digest, only_writer, read_json, replacing, user_path, write_json
from ..utils.imports import require
from ..utils.messages import differences, listed
from .base_model import refuse_if_seen
from .inputs import PASSAGES, SOFT_LABELS, TEACHERS, refuse_many_labels
from .presets import PRESETS
from .short_texts import PAIRS, generate_pairs, make_passages
from .teachers import (
    Logits,
    document_vectors,
    find_teacher,
    fit_transformer,
    ngrams_and_vectors,
    teaching_texts,
    transformer_logits,
)

logger = logging.getLogger(__name__)

_SETTINGS = "settings.json"
# What is kept there under names of their own, beside what the students answer.
_FILES = ("document_vectors", "ngrams_and_vectors", "transformer", "transformer_short", "passages", "soft_labels")
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
        dataset, accuracy = self.metrics["dataset"], self.metrics["cross_validated_accuracy"]
        teachers = (
            f"{name:<22} validation accuracy {teacher['validation_accuracy']:.2%}, weight {teacher['weight']:.2f}\n"
            for name, teacher in self.metrics["teachers"].items()
        )
        return (
            f"\n{''.join(teachers)}{'all of them':<22} validation accuracy {accuracy:.2%}, cross-validated "
            f"({dataset['validation']:,} reviews)\n"
            f"Soft labels of {dataset['unlabeled']:,} reviews: {self.directory}"
        )


def teach(
    *,
    dataset: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] = "runs/teachers",
    students: Sequence[str | os.PathLike[str]] = (),
    teacher: str | os.PathLike[str] | None = None,
    short_texts: str | os.PathLike[str] | None = None,
    passages: int = 160_000,
    bf16: bool = False,
    seed: int = 42,
    resume: bool = False,
    **sampling: Any,
) -> Teaching:
    """Fit teachers on labeled reviews and write the probabilities that they give the unlabeled ones.

    Args:
        dataset: Where the reviews come from, as for `load_reviews`; it must hold unlabeled reviews. The data set of
            the preset `imdb` where None.
        output_dir: Where to write.
        students: Run directories of classifiers that are teachers, too. They must have been trained on the same split.
        teacher: A transformer that is fitted too, as for `find_teacher`: an encoder or a classifier of two labels.
            It also labels short passages, which a student reads beside the reviews. None does without.
        short_texts: Labeled short texts, as for `load_reviews`, for the transformer and for the student; a tenth of
            them validates and calibrates it, and a tenth, the test part, is not read. Only with a teacher.
        passages: How many passages are cut from the unlabeled reviews or generated; an eighth as many pairs of
            opposite verdicts come on top.
        bf16: Let the transformer compute in bfloat16.
        seed: Seed of the document vectors, of the transformer and of the passages.
        resume: Keep the teachers that are finished, and return the results if all of them are.
        sampling: How the reviews are read, split and sampled: the other arguments of `load_reviews`. `split_seed` and
            `validation_fraction`, 42 and that of the preset `imdb` where not given, must be those of the student.

    Raises:
        OSError: Another process is writing there, a student is no finished run, or there are teachers to be resumed.
        ModuleNotFoundError: An optional dependency is missing; the message holds the command that installs it.
        ValueError: Data that cannot be used, teachers that were fitted on other data, or students of another split.
    """
    require("gensim", "sklearn", "datasets", extra="teach")
    source = os.fspath(dataset or PRESETS["imdb"].dataset)
    check_reviews_source(source)
    directory = user_path(output_dir, "the output").resolve()
    trained = [user_path(run, "the run").absolute() for run in students]
    names = [*_FILES, *(run.name for run in trained)]
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two teachers are called {duplicates[0]}; rename the directory of a student")
    if teacher is not None:
        find_teacher(teacher)
    elif short_texts is not None:
        raise ValueError(f"short_texts is {short_texts}; only a transformer learns from them, pass a teacher too")
    if short_texts is not None:
        check_reviews_source(short_texts)
    for run in trained:
        if not runs.is_finished(run):
            raise FileNotFoundError(f"student {run} is no finished run; train it first, with hf-lstm-sentiment train")
    sampling = {"validation_fraction": PRESETS["imdb"].validation_fraction, "split_seed": 42, **sampling}
    settings = {"dataset": source, "seed": seed, **sampling}
    directory.parent.mkdir(parents=True, exist_ok=True)
    with only_writer(directory):
        known = read_json(directory / _SETTINGS) if (directory / _SETTINGS).is_file() else None
        if known is None:
            empty_folder(directory).mkdir(exist_ok=True)
        elif not resume:
            raise FileExistsError(f"{directory} holds teachers; pass --resume to keep them, or another --output_dir")
        reviews = load_reviews(source, unlabeled=True, **sampling)
        refuse_many_labels(reviews)
        digests = {part: digest for part, digest in reviews.digests.items() if part != "test"}
        if known and (changed := differences({**known.pop("digests", {}), **known}, {**settings, **digests})):
            raise ValueError(
                f"the teachers in {directory} were fitted on other reviews or with other settings: {changed}; pass "
                "what they were fitted with, or another --output_dir"
            )
        write_json({**settings, "digests": digests}, directory / _SETTINGS)
        found = _ask_all(reviews, directory, trained, seed)
        facts: dict[str, Any] = {}
        if teacher is not None:
            short = None if short_texts is None else load_short_texts(short_texts)
            options: dict[str, Any] = {"passages": passages, "bf16": bf16, "seed": seed}
            found["transformer"], facts = _ask_transformer(teacher, reviews, short, directory, **options)
        metrics = {**settings, **_weigh_all(found, reviews, directory / SOFT_LABELS), **facts}
        metrics["versions"] = runs.versions("scikit-learn", "gensim", "numpy")
        write_json(metrics, directory / TEACHERS)
    return Teaching(directory, metrics)


def _ask_all(reviews: Reviews, directory: Path, students: Sequence[Path], seed: int) -> dict[str, dict[str, Logits]]:
    """Fit or take up the n-grams, and ask the students; the logits of each by name."""
    kept = partial(load_or_make, directory)
    vectors = kept("document_vectors", lambda: {"vectors": document_vectors(reviews, seed=seed)})["vectors"]
    found = {"ngrams_and_vectors": kept("ngrams_and_vectors", lambda: ngrams_and_vectors(reviews, vectors))}
    for run in students:
        metrics = read_json(run / runs.METRICS)
        refuse_if_seen(metrics["dataset"], reviews, f"student {run}", "hf-lstm-sentiment train")
        if known := metrics.get("base_model", {}).get("may_know"):
            logger.warning(
                f"student {run} started from a model of {listed(known)}: reviews of these flatter its figures"
            )

        # Loaded only where its answers are not kept.
        def answers(run: Path = run) -> dict[str, Logits]:
            return _answers(Classifier.from_pretrained(run).logits, reviews)

        # A student may be a teacher of the next one (Furlanello et al. 2018).
        found[run.name] = kept(run.name, answers, digest=file_digest(run / runs.WEIGHTS))
    return found


def _weigh_all(found: Mapping[str, dict[str, Logits]], reviews: Reviews, path: Path) -> dict[str, Any]:
    """Weigh the teachers and write the soft labels; what `teachers.json` says of it."""
    from scipy.special import expit

    assert reviews.unlabeled is not None
    labels = np.asarray(reviews.validation["label"][:])
    validation, unlabeled = (
        np.stack([logits[part] for logits in found.values()], axis=1) for part in ("validation", "unlabeled")
    )
    weights, bias, held_out = weigh(validation, labels)
    rows = np.asarray(reviews.unlabeled["row"][:], dtype=np.int64)
    _save({"row": rows, "probability": np.asarray(expit(unlabeled @ weights + bias), dtype=np.float32)}, path)
    return {
        "dataset": reviews.summary(),
        "teachers": {
            name: {"validation_accuracy": float(np.mean((logits > 0) == labels)), "weight": float(weight)}
            for name, logits, weight in zip(found, validation.T, weights, strict=True)
        },
        "validation_accuracy": float(np.mean((validation @ weights + bias > 0) == labels)),
        # The weights were fitted on the reviews that the figure above is measured on; these were not.
        "cross_validated_accuracy": float(np.mean(held_out == labels)),
        "fitted_on": {"teachers": "train", "weights": "validation"},
        # By which a kill between the two files is noticed.
        "soft_labels": file_digest(path),
    }


def _ask_transformer(
    source: str | os.PathLike[str],
    reviews: Reviews,
    short: Reviews | None,
    directory: Path,
    *,
    passages: int,
    seed: int,
    bf16: bool,
) -> tuple[dict[str, Logits], dict[str, Any]]:
    """Fit a transformer, ask it about reviews, and let it label passages, which no other teacher does.

    Its logits, and what `teachers.json` says of it.
    """
    from scipy.special import expit

    folder, pairs = directory / "transformer", generate_pairs(_FITTED_PAIRS, seed=seed + 1)
    labeled = [reviews.train] if short is None else [reviews.train, short.train]
    texts = [*chain(*(part["text"][:] for part in labeled), *pairs)]
    labels = [*chain(*(part["label"][:] for part in labeled)), *[1, 0] * len(pairs)]
    fit_transformer(source, texts, labels, folder, epochs=1.0, seed=seed, bf16=bf16)
    digest, ask = file_digest(folder / runs.WEIGHTS), partial(transformer_logits, folder, bf16=bf16)
    kept = partial(load_or_make, directory)
    answers = kept("transformer", partial(_answers, ask, reviews), digest=digest)
    facts: dict[str, Any] = {"transformer": {"source": os.fspath(source), "texts": len(texts), "weights": digest}}
    # On short texts it is another classifier than on long ones, and is calibrated by itself.
    validation, known = answers["validation"], np.asarray(reviews.validation["label"][:])
    if short is not None:
        held_out, known = short.validation["text"][:], np.asarray(short.validation["label"][:])
        validation = kept("transformer_short", lambda: {"validation": ask(held_out)}, digest=digest)["validation"]
        facts["short_texts"] = {**short.summary(), "validation_accuracy": float(np.mean((validation > 0) == known))}
    weight, bias, _ = weigh(validation[:, None], known)
    kinds = make_passages(teaching_texts(reviews)[2], passages, seed=seed)
    cuts = [*chain(*kinds.values())]
    asked = kept("passages", lambda: {"logits": ask(cuts)}, digest=f"{digest} {passages}")["logits"]
    probabilities = np.asarray(expit(asked * weight[0] + bias), dtype=np.float32)
    facts["passages"] = _write_passages(directory / PASSAGES, kinds, probabilities, short)
    return answers, facts


def _write_passages(
    path: Path, kinds: Mapping[str, list[str]], probabilities: NDArray[np.float32], short: Reviews | None
) -> dict[str, Any]:
    """Write passages, the pairs of which come last, with the probability of each; how many there are of each kind."""
    from datasets import Dataset

    *labeled, read = np.split(probabilities, np.cumsum([len(group) for group in kinds.values()])[:-1])
    # A pair says by its construction what it means; where the transformer reads it the other way, it is left out.
    made = np.resize([_SURE, 1 - _SURE], len(read))
    agreed = np.where(made > 0.5, read, 1 - read) > _DOUBTED
    kinds = {**kinds, PAIRS: list(compress(kinds[PAIRS], agreed))}
    labeled.append(made[agreed])
    if short is not None:
        kinds["labeled short texts"] = short.train["text"][:]
        labeled.append(np.asarray(short.train["label"][:]))
    rows = {"text": [*chain(*kinds.values())], "probability": np.concatenate(labeled, dtype=np.float32)}
    with replacing(path) as file:
        Dataset.from_dict(rows).to_parquet(file)
    return {"kinds": {kind: len(group) for kind, group in kinds.items()}, "digest": file_digest(path)}


def load_short_texts(source: str | os.PathLike[str]) -> Reviews:
    """Load labeled short texts and split them: eight tenths to train on, one to validate, one to test."""
    return load_reviews(source, validation_fraction=1 / 9, test_fraction=0.1, split_seed=42)


def _answers(ask: Callable[[list[str]], Logits], reviews: Reviews) -> dict[str, Logits]:
    """The logits of validation and unlabeled reviews."""
    return dict(zip(("validation", "unlabeled"), map(ask, teaching_texts(reviews)[1:]), strict=True))


def _save(arrays: Mapping[str, NDArray[Any]], path: Path, **metadata: str) -> None:
    with replacing(path) as file:
        file.write(save(dict(arrays), metadata=metadata))


def load_or_make(
    directory: Path, name: str, make: Callable[[], dict[str, Logits]], *, digest: str = ""
) -> dict[str, Logits]:
    """What was made once and is kept on disk, unless the digest, of a student's weights, has changed since."""
    path = directory / f"{name}.safetensors"
    if path.is_file():
        with safe_open(path, framework="np") as file:
            known = (file.metadata() or {}).get("weights", "")
        if known == digest:
            logger.info(f"{name}: there already")
            return load_file(path)
        logger.info(f"{name}: its weights have changed since it was asked")
    logger.info(f"{name}: being made")
    made = make()
    _save(made, path, weights=digest)
    return made


def weigh(logits: Logits, labels: NDArray[np.int64]) -> tuple[Logits, float, NDArray[np.int64]]:
    """Find the weights of teachers under which the sum of their logits is calibrated best.

    *Shapes:* (reviews, teachers), (reviews,) to a weight per teacher, what is added to the sum, and each review's label
    by weights fitted on the other folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    scale = logits.std(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1_000)
    folds = min(5, *np.bincount(labels, minlength=2).tolist())
    held_out = cross_val_predict(model, logits / scale, labels, cv=folds) if folds > 1 else np.full(len(labels), -1)
    model.fit(logits / scale, labels)
    return (model.coef_[0] / scale).astype(np.float32), float(model.intercept_[0]), held_out
