"""A bag of words as a teacher: one logistic regression on n-grams and document vectors."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.reviews import Reviews
from ..model.tokenization import split_words

Logits = NDArray[np.float32]


def document_vectors(reviews: Reviews, *, epochs: int = 8, min_count: int = 10, seed: int = 42) -> NDArray[np.float32]:
    """A vector per review that predicts its 1-, 2- and 3-grams.

    The distributed bag of words of Le and Mikolov 2014, over n-grams as in Li et al. 2016, without those that occur
    less often than `min_count`. No label is read. *Shape:* (training, then validation, then unlabeled reviews, 200)
    """
    from gensim.models.doc2vec import Doc2Vec

    texts = [text for part in teaching_texts(reviews) for text in part]
    counts: Counter[str] = Counter()
    for words in split_words(texts, scheme="words"):
        counts.update(_ngrams(words, joint="_"))
    kept = {gram for gram, count in counts.items() if count >= min_count}
    del counts
    order = np.random.default_rng(seed).permutation(len(texts))
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.txt"
        with corpus.open("w", encoding="utf-8") as file:
            for words in split_words((texts[i] for i in order), scheme="words"):
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


def ngrams_and_vectors(reviews: Reviews, vectors: NDArray[np.float32]) -> dict[str, Logits]:
    """Logits of validation and unlabeled reviews, by one logistic regression on n-grams and document vectors.

    Which 1-, 2- and 3-grams occur is weighted by their naive-Bayes log-count ratio (Wang and Manning 2012). Reviews
    are scaled to the same length of that vector, so that a long one is no more decided than a short one.
    """
    from scipy.sparse import csr_matrix, diags, hstack
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler, normalize

    words = [split_words(part, scheme="words") for part in teaching_texts(reviews)]
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
    logits = (model.decision_function(part).astype(np.float32) for part in features[1:])
    return dict(zip(("validation", "unlabeled"), logits, strict=True))


def teaching_texts(reviews: Reviews) -> tuple[list[str], list[str], list[str]]:
    """The texts of the training, the validation and the unlabeled reviews."""
    assert reviews.unlabeled is not None
    train, validation, unlabeled = (part["text"][:] for part in (reviews.train, reviews.validation, reviews.unlabeled))
    return train, validation, unlabeled


def _ngrams(words: list[str], joint: str = " ") -> Iterator[str]:
    for n in (1, 2, 3):
        for start in range(len(words) - n + 1):
            yield joint.join(words[start : start + n])
