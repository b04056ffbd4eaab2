"""What a user might pick instead of this package's models, measured on the same reviews; for `benchmark.py`."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import pipeline

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.utils.imports import require

# Of texts, numbers that are above 0 for POSITIVE.
Score = Callable[[Sequence[str]], NDArray[np.float64]]


class Peer(NamedTuple):
    """How good and how fast a classifier is, from raw strings to labels.

    Attributes:
        name: What it is.
        accuracy: Share of the reviews that it labels correctly.
        rate: Reviews per second.
    """

    name: str
    accuracy: float
    rate: float


def _once(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def times(call: Callable[[], object], *, repeats: int) -> list[float]:
    """Seconds of each of several calls, after one that warms up."""
    return [_once(call) for _ in range(repeats + 1)][1:]


def timed(call: Callable[[], object], *, repeats: int) -> float:
    """Median seconds of a call, after one that warms up."""
    return median(times(call, repeats=repeats))


def interleaved(calls: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, float]:
    """Median seconds of calls that take turns, so that a slow moment meets all of them; the first round warms up."""
    rounds = [{name: _once(call) for name, call in calls.items()} for _ in range(repeats + 1)][1:]
    return {name: median(one[name] for one in rounds) for name in calls}


def ours(name: str, classifier: Classifier, test: list[str], truth: list[int]) -> Peer:
    """A model of this package through its fast path."""
    classifier(test[:64])
    start = time.perf_counter()
    logits = classifier.logits(test)
    seconds = time.perf_counter() - start
    right = sum((z > 0) == bool(label) for z, label in zip(logits, truth, strict=True))
    return Peer(name, right / len(test), len(test) / seconds)


def unsorted(
    name: str, logits: Callable[[Tensor, Tensor], Tensor], tokenizer: Any, test: list[str], truth: list[int]
) -> Peer:
    """Batches of 64 as they come, as a tutorial classifies them."""
    start = time.perf_counter()
    right = 0
    with torch.inference_mode():
        for i in range(0, len(test), 64):
            inputs = tokenizer(test[i : i + 64], truncation=True, padding=True, return_tensors="pt")
            z = logits(inputs["input_ids"], inputs["attention_mask"].bool())
            right += int(((z > 0) == torch.tensor(truth[i : i + 64]).bool()).sum())
    return Peer(name, right / len(test), len(test) / (time.perf_counter() - start))


def naive_bayes_svm(texts: Sequence[str], labels: Sequence[int]) -> Score:
    """Fit NBSVM: words and pairs of words, weighted by their naive-Bayes log-count ratio, under a linear SVM.

    Wang and Manning 2012, "Baselines and Bigrams". The scores are distances from the deciding plane.
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


def vader_score() -> Score:
    """VADER (Hutto and Gilbert 2014), a lexicon without training, with its compound scores from -1 to 1."""
    require("vaderSentiment", extra="benchmark")
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    analyzer = SentimentIntensityAnalyzer()

    def score(some: Sequence[str]) -> NDArray[np.float64]:
        return np.array([analyzer.polarity_scores(text)["compound"] for text in some], dtype=np.float64)

    return score


def linear(train: list[str], labels: list[int], test: list[str], truth: list[int]) -> list[Peer]:
    """TF-IDF with logistic regression, and NBSVM (Wang and Manning 2012), both on words and pairs of words."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    made = []
    tfidf = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    regression = LogisticRegression(C=10, max_iter=300).fit(tfidf.fit_transform(train), labels)
    start = time.perf_counter()
    right = float(np.mean(regression.predict(tfidf.transform(test)) == truth))
    made.append(Peer("TF-IDF 1-2-grams, logistic regression", right, len(test) / (time.perf_counter() - start)))

    score = naive_bayes_svm(train, labels)
    start = time.perf_counter()
    right = float(np.mean((score(test) > 0) == np.asarray(truth)))
    made.append(Peer("NBSVM 1-2-grams", right, len(test) / (time.perf_counter() - start)))
    return made


def vader(test: list[str], truth: list[int]) -> list[Peer]:
    """VADER (Hutto and Gilbert 2014), a lexicon without training."""
    try:
        score = vader_score()
    except ModuleNotFoundError as error:
        print(f"VADER is left out: {error}")
        return []
    start = time.perf_counter()
    right = sum((z > 0) == bool(label) for z, label in zip(score(test), truth, strict=True))
    return [Peer("VADER", right / len(test), len(test) / (time.perf_counter() - start))]


def distilbert_rate(corpus: list[str], texts: list[str], max_length: int, *, repeats: int) -> float:
    """Reviews per second of a DistilBERT-base pipeline with random weights and a WordPiece trained on the corpus."""
    from tokenizers import BertWordPieceTokenizer
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

    pieces = BertWordPieceTokenizer()
    pieces.train_from_iterator(corpus[:2_000], vocab_size=30_522, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces._tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=max_length
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    classify = pipeline(
        "text-classification", model=DistilBertForSequenceClassification(DistilBertConfig()).eval(), tokenizer=tokenizer
    )
    return len(texts) / timed(lambda: classify(texts, batch_size=16, truncation=True), repeats=repeats)
