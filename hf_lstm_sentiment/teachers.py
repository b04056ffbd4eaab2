"""The teachers: what each one is fitted on, and the logits that it gives validation and unlabeled reviews."""

from __future__ import annotations

import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import runs
from .data import Reviews
from .tokenization import split_words

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]


def naive_bayes_ngrams(
    reviews: Reviews, *, smoothing: float = 1.0, inverse_penalty: float = 0.3
) -> tuple[Logits, Logits]:
    """Which 1-, 2- and 3-grams occur, weighted by their naive-Bayes log-count ratio, under a logistic regression.

    The weighting is that of Wang and Manning 2012, "Baselines and Bigrams".

    Args:
        reviews: Fitted on `train`.
        smoothing: Added to every count.
        inverse_penalty: C of the logistic regression.

    Returns:
        Logits of the validation and of the unlabeled reviews.
    """
    from scipy.sparse import diags
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train, validation, unlabeled = (_words(part) for part in _texts(reviews))
    counter = CountVectorizer(analyzer=lambda words: set(_ngrams(words)), min_df=3, dtype=np.float32)
    present = counter.fit_transform(train)
    labels = np.asarray(reviews.train["label"][:], dtype=np.float32)
    positive, negative = present.T @ labels + smoothing, present.T @ (1 - labels) + smoothing
    ratio = diags(np.log((positive / positive.sum()) / (negative / negative.sum())).astype(np.float32))
    model = LogisticRegression(C=inverse_penalty, solver="liblinear", dual=True, max_iter=1_000, random_state=0)
    model.fit(present @ ratio, labels)
    known, unknown = (
        model.decision_function(counter.transform(part) @ ratio).astype(np.float32) for part in (validation, unlabeled)
    )
    return known, unknown


def document_vectors(
    reviews: Reviews, *, size: int = 200, epochs: int = 8, min_count: int = 10, seed: int = 42
) -> tuple[Logits, Logits]:
    """A vector per review that foretells its 1-, 2- and 3-grams, under a logistic regression.

    The distributed bag of words of Le and Mikolov 2014, over n-grams as in Li et al. 2016. The vectors are learnt from
    the texts of training, validation and unlabeled reviews; the regression from the training labels.

    Args:
        reviews: Fitted on `train`; the texts of the other parts but `test` are read too.
        size: Length of the vectors.
        epochs: Passes over the texts.
        min_count: n-grams that occur less often are left out.
        seed: Of the order of the reviews and of the vectors.

    Returns:
        Logits of the validation and of the unlabeled reviews.
    """
    from gensim.models.doc2vec import Doc2Vec
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

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
            vector_size=size,
            negative=5,
            sample=1e-4,
            alpha=0.05,
            min_alpha=0.001,
            min_count=1,
            epochs=epochs,
            workers=1,
            seed=seed,
        )
    vectors = np.empty((len(texts), size), dtype=np.float32)
    vectors[order] = model.dv.vectors
    first, second = len(reviews.train), len(reviews.train) + len(reviews.validation)
    scaler = StandardScaler().fit(vectors[:first])
    regression = LogisticRegression(C=0.01, max_iter=1_000).fit(
        scaler.transform(vectors[:first]), reviews.train["label"][:]
    )
    known, unknown = (
        regression.decision_function(scaler.transform(part)).astype(np.float32)
        for part in (vectors[first:second], vectors[second:])
    )
    return known, unknown


def student(reviews: Reviews, *, run: str | os.PathLike[str]) -> tuple[Logits, Logits]:
    """An earlier student, which teaches the next one (Furlanello et al. 2018).

    Args:
        reviews: What it is asked about; it must not have been trained on the validation reviews.
        run: Its run directory.

    Returns:
        Logits of the validation and of the unlabeled reviews.

    Raises:
        ValueError: It was trained on another split, and so on validation reviews.
    """
    from .inference import Classifier

    trained, here = runs.read_json(Path(run).expanduser() / runs.METRICS)["dataset"], reviews.summary()
    for key in ("split_seed", "train", "validation"):
        if trained.get(key) != here[key]:
            raise ValueError(
                f"student {run} was trained with {key} {trained.get(key)}, these reviews have {here[key]}; it may have "
                "seen the validation reviews. Train it on this split"
            )

    classifier = Classifier.from_pretrained(run)
    _, validation, unlabeled = _texts(reviews)
    return classifier.logits(validation), classifier.logits(unlabeled)


def weigh(logits: Logits, labels: NDArray[np.int64]) -> tuple[Logits, float]:
    """Weights of teachers under which the sum of their logits is calibrated best.

    Args:
        logits: Of each teacher. *Shape:* (reviews, teachers)
        labels: 0 or 1. *Shape:* (reviews,)

    Returns:
        A weight per teacher, and what is added to the sum.
    """
    from sklearn.linear_model import LogisticRegression

    scale = logits.std(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1_000).fit(logits / scale, labels)
    return (model.coef_[0] / scale).astype(np.float32), float(model.intercept_[0])


def sigmoid(logits: Logits) -> Logits:
    """Probabilities of logits."""
    from scipy.special import expit

    return np.asarray(expit(logits), dtype=np.float32)


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
