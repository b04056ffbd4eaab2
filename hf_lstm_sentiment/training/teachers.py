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

from ..data.reviews import Reviews
from ..model.tokenization import split_words
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path

logger = logging.getLogger(__name__)

Logits = NDArray[np.float32]


def document_vectors(
    reviews: Reviews, *, size: int = 200, epochs: int = 8, min_count: int = 10, seed: int = 42
) -> NDArray[np.float32]:
    """A vector per review that foretells its 1-, 2- and 3-grams.

    The distributed bag of words of Le and Mikolov 2014, over n-grams as in Li et al. 2016. No label is read.

    Args:
        reviews: All parts but `test` are read.
        size: Length of the vectors.
        epochs: Passes over the texts.
        min_count: n-grams that occur less often are left out.
        seed: Of the order of the reviews and of the vectors.

    Returns:
        Of the training, then the validation, then the unlabeled reviews. *Shape:* (reviews, size)
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
    return vectors


def ngrams_and_vectors(
    reviews: Reviews,
    vectors: NDArray[np.float32],
    *,
    smoothing: float = 1.0,
    vector_weight: float = 0.3,
    inverse_penalty: float = 0.3,
) -> tuple[Logits, Logits]:
    """One logistic regression on the n-grams of a review, weighted by naive Bayes, and on its document vector.

    Which 1-, 2- and 3-grams occur is weighted by their naive-Bayes log-count ratio (Wang and Manning 2012). Reviews
    are scaled to the same length of that vector, so that a long one is no more decided than a short one.

    Args:
        reviews: Fitted on `train`.
        vectors: As :func:`document_vectors` returns them.
        smoothing: Added to every count.
        vector_weight: Standard deviation of each coordinate of the document vectors.
        inverse_penalty: C of the logistic regression.

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
    positive, negative = present[0].T @ labels + smoothing, present[0].T @ (1 - labels) + smoothing
    ratio = diags(np.log((positive / positive.sum()) / (negative / negative.sum())).astype(np.float32))
    weighted = [part @ ratio for part in present]
    length = np.sqrt(weighted[0].multiply(weighted[0]).sum(axis=1)).mean()
    scaler = StandardScaler().fit(vectors[: len(labels)])
    borders = np.cumsum([part.shape[0] for part in present])[:-1]
    features = [
        hstack([normalize(ngrams) * length, csr_matrix(scaler.transform(part) * vector_weight)]).tocsr()
        for ngrams, part in zip(weighted, np.split(vectors, borders), strict=True)
    ]
    model = LogisticRegression(C=inverse_penalty, solver="liblinear", dual=True, max_iter=1_000, random_state=0)
    model.fit(features[0], labels)
    known, unknown = (model.decision_function(part).astype(np.float32) for part in features[1:])
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
    from ..inference.classifier import Classifier

    trained, here = read_json(user_path(run, "the run") / runs.METRICS)["dataset"], reviews.summary()
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
