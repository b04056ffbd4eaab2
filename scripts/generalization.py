"""What a model was not trained for: sentences of another source, and minimal pairs; for `measure.py` and the card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_peers import naive_bayes_svm, vader_score
from numpy.typing import ArrayLike, NDArray

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.data.sources import load_sentences
from hf_lstm_sentiment.inference.classifier import Classifier

PAIRS: dict[str, list[tuple[str, str]]] = json.loads(
    Path(__file__).with_name("minimal_pairs.json").read_text(encoding="utf-8")
)
"""For each group, texts of nearly the same words that praise and blame: what a bag of words gets wrong."""


def measure_generalization(classifiers: Mapping[str, Classifier], reviews: Reviews) -> dict[str, Any]:
    """Measure models, VADER and an NBSVM fitted on the training reviews on what none of them saw in training.

    Args:
        classifiers: Our models, by name.
        reviews: The NBSVM is fitted on their training part.

    Returns:
        "sentences", their number, and "models", for each one "model", "accuracy" on the sentences, and "pairs" as
        `score_pairs` returns it. VADER's 0, which is neither, counts as NEGATIVE.

    Raises:
        FileNotFoundError, ModuleNotFoundError: As `load_sentences` and `vader_score`.
    """
    lexicon = vader_score()
    texts, labels = load_sentences()
    scores: dict[str, Callable[[Sequence[str]], ArrayLike]] = {
        **{name: classifier.logits for name, classifier in classifiers.items()},
        "VADER": lexicon,
        "NBSVM 1-2-grams": naive_bayes_svm(reviews.train["text"][:], reviews.train["label"][:]),
    }
    return {
        "sentences": len(texts),
        "models": [
            {
                "model": name,
                "accuracy": float(np.mean((np.asarray(score(texts)) > 0) == np.asarray(labels))),
                "pairs": score_pairs(score),
            }
            for name, score in scores.items()
        ],
    }


def score_pairs(score: Callable[[Sequence[str]], ArrayLike]) -> dict[str, dict[str, Any]]:
    """Measure a classifier on the minimal pairs.

    Args:
        score: Gives each text a number that is above 0 for POSITIVE, such as `Classifier.logits`.

    Returns:
        For each group and for "all": "accuracy", the share of right decisions on single texts, "ordered", the share of
        pairs whose positive text has the higher score, and "pairs", their number.
    """
    texts = [text for pairs in PAIRS.values() for pair in pairs for text in pair]
    scores = np.asarray(score(texts), dtype=np.float64).reshape(-1, 2)
    groups = np.array([group for group, pairs in PAIRS.items() for _ in pairs])
    return {group: _share(scores if group == "all" else scores[groups == group]) for group in (*PAIRS, "all")}


def _share(scores: NDArray[np.float64]) -> dict[str, Any]:
    right = np.concatenate([scores[:, 0] > 0, scores[:, 1] <= 0])
    return {
        "accuracy": float(right.mean()),
        "ordered": float((scores[:, 0] > scores[:, 1]).mean()),
        "pairs": len(scores),
    }
