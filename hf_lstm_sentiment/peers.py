"""What a user might pick instead of this package's models: classifiers that a benchmark compares them with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .utils.imports import require

# Of texts, numbers that are above 0 for POSITIVE.
Score = Callable[[Sequence[str]], NDArray[np.float64]]


def naive_bayes_svm(texts: Sequence[str], labels: Sequence[int]) -> Score:
    """Fit NBSVM: words and pairs of words, weighted by their naive-Bayes log-count ratio, under a linear SVM.

    Wang and Manning 2012, "Baselines and Bigrams".

    Args:
        texts: Reviews to fit it on.
        labels: 0 or 1 per review.

    Returns:
        A function from texts to their distances from the deciding plane, above 0 for POSITIVE.
    """
    require("scipy", "sklearn", extra="train")
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.svm import LinearSVC

    counts = CountVectorizer(ngram_range=(1, 2), min_df=2, binary=True)
    features, y = counts.fit_transform(texts), np.asarray(labels)
    positive, negative = (1 + np.asarray(features[y == label].sum(0)).ravel() for label in (1, 0))
    ratio = np.log((positive / positive.sum()) / (negative / negative.sum()))
    svm = LinearSVC(C=0.1).fit(csr_matrix(features.multiply(ratio)), y)

    def score(some: Sequence[str]) -> NDArray[np.float64]:
        distances: Any = svm.decision_function(csr_matrix(counts.transform(some).multiply(ratio)))
        return np.asarray(distances, dtype=np.float64)

    return score


def vader() -> Score:
    """VADER (Hutto and Gilbert 2014), a lexicon without training.

    Returns:
        A function from texts to VADER's compound scores, -1 to 1.

    Raises:
        ModuleNotFoundError: VADER is not installed.
    """
    require("vaderSentiment", extra="benchmark")
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()

    def score(some: Sequence[str]) -> NDArray[np.float64]:
        return np.array([analyzer.polarity_scores(text)["compound"] for text in some], dtype=np.float64)

    return score
