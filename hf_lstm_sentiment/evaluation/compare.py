"""Comparison of finished runs: several presets, several seeds, tests of neighbors, one table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ..data.reviews import SPLIT, Reviews, load_run_reviews
from ..utils import run_directory as runs
from ..utils.files import read_json, write_json
from .errors import ScoredReviews, check_accuracy, score_run
from .padding_experiment import measure_padding
from .plots import plot_comparison, plot_padding
from .report import data_uri, render
from .statistics import bootstrap_difference, count, decisions, mcnemar, p_value, percent, spread

# Of a recipe, what names it; everything else is one of its settings.
_LABELS = ("name", "description", "seed", "disable_tqdm")
TEST_LOGITS = "test_logits.safetensors"
_PLOTS = {
    "accuracy.png": (
        "Accuracy by seed, and how it grew",
        "A dot per seed and the mean of each version on the test reviews; validation accuracy by epoch, a line a seed.",
    ),
    "padding.png": (
        "What padding does to a network that reads it",
        "What is left of the signal behind padding, what of the gradient reaches the last word, and who gets it right.",
    ),
}


@dataclass(frozen=True)
class Comparison:
    """What a comparison found: the content of `comparison.json`, and the directory that holds it, pages and plots."""

    directory: Path
    results: Mapping[str, Any]

    def summary(self) -> str:
        """The tables, as Markdown."""
        return markdown(self.results)


class FinishedRun:
    """A finished run, or what is recorded of one: without weights, but maybe with `test_logits.safetensors`."""

    def __init__(self, name: str, seed: int, path: Path, recipe: Mapping[str, Any], *, has_weights: bool) -> None:
        self.name, self.seed, self.path, self.recipe, self.has_weights = name, seed, path, recipe, has_weights
        self.metrics = read_json(path / runs.METRICS)

    def settings(self) -> dict[str, Any]:
        """The recipe, with data and vectors by their names and not by the places where they lay."""
        glove = self.metrics.get("glove", {}).get("source")
        return {**self.recipe, "dataset": self.metrics["dataset"]["source"], "glove": glove}

    def check_data(self, first: FinishedRun) -> None:
        """Refuse results on other reviews than those of the first result."""
        mine, its = self.metrics["dataset"], first.metrics["dataset"]
        for key in (*SPLIT, "labels"):
            if mine.get(key) != its.get(key):
                raise ValueError(
                    f"{self.path} has {key} {mine.get(key)!r} and {first.path} {its.get(key)!r}; only runs on the same "
                    "reviews can be compared"
                )

    def correct(self, reviews: Reviews, scored: ScoredReviews | None) -> NDArray[np.bool_] | None:
        """Whether each test review is classified correctly; None where that is not recorded. *Shape:* (n,)."""
        if scored is not None:
            return scored.correct
        path = self.path / TEST_LOGITS
        if not path.is_file():
            return None
        correct: NDArray[np.bool_] = decisions(load_file(path)["logits"]) == np.asarray(reviews.test["label"][:])
        check_accuracy(self.path, self.metrics, correct)
        return correct


def compare(results: Sequence[FinishedRun], directory: Path) -> Comparison:
    """Compare finished runs of the same reviews, neighboring presets in pairs, and write what is found."""
    directory.mkdir(parents=True, exist_ok=True)
    for result in results:
        result.check_data(results[0])
    trained = [result for result in results if result.has_weights]
    reviews = load_run_reviews((trained or results)[0].recipe)
    scored = {(r.name, r.seed): score_run(r.path, r.metrics, reviews, directory / "predictions") for r in trained}
    correct: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for r in results:
        right = r.correct(reviews, scored.get((r.name, r.seed)))
        if right is not None:
            correct.setdefault(r.name, {})[r.seed] = right
    names = list(dict.fromkeys(r.name for r in results))
    found: dict[str, Any] = {
        "dataset": results[0].metrics["dataset"],
        "versions_of_packages": results[0].metrics["versions"],
        "settings": _settings({r.name: r.settings() for r in results}),
        "presets": {name: _summary([r for r in results if r.name == name]) for name in names},
        "neighbours": [_neighbors(a, b, correct) for a, b in pairwise(names) if correct.get(a) and correct.get(b)],
    }
    plot_comparison(found["presets"], directory / "accuracy.png", chance=1 / len(reviews.label_names))
    naive = [r for r in trained if r.recipe["naive_padding"]]
    packed = [r for r in trained if not r.recipe["naive_padding"] and r.recipe["pooling"] == "last"]
    # It ranks reviews by the logit of the second of two labels.
    if naive and packed and len(reviews.label_names) == 2:
        a, b = naive[0], packed[0]
        found["padding"] = measure_padding(a.path, b.path, scored[a.name, a.seed], scored[b.name, b.seed])
        plot_padding(found["padding"], directory / "padding.png", names=(a.name, b.name))
    write_json(found, directory / "comparison.json")
    (directory / "comparison.md").write_text(markdown(found) + "\n", encoding="utf-8")
    (directory / "comparison.html").write_text(_page(found, directory), encoding="utf-8")
    return Comparison(directory, json.loads(json.dumps(found)))


def _settings(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all runs share, and what differs between them, by preset."""
    keys = sorted({key for recipe in recipes.values() for key in recipe} - set(_LABELS))
    differs = [key for key in keys if len({json.dumps(recipe.get(key)) for recipe in recipes.values()}) > 1]
    return {
        "same": {key: next(iter(recipes.values())).get(key) for key in keys if key not in differs},
        "differs": {key: {name: recipe.get(key) for name, recipe in recipes.items()} for key in differs},
    }


def _summary(results: Sequence[FinishedRun]) -> dict[str, Any]:
    metrics = [result.metrics for result in results]
    tests = [m["test"] for m in metrics]
    if "macro_f1" in tests[0]:
        errors = {"macro_f1": spread([test["macro_f1"] for test in tests])}
    else:
        kinds = {"false_positives": "fp", "false_negatives": "fn"}
        errors = {name: spread([test["confusion_matrix"][key] for test in tests]) for name, key in kinds.items()}
    summary: dict[str, Any] = {
        "seeds": [result.seed for result in results],
        "validation_accuracy": spread([m["validation"]["accuracy"] for m in metrics]),
        "test_accuracy": spread([test["accuracy"] for test in tests]),
        **errors,
        "expected_calibration_error": spread([test["expected_calibration_error"] for test in tests]),
        "best_epoch": [m["best_epoch"] for m in metrics],
        "epochs": [m["epochs"] for m in metrics],
        "train_seconds": spread([m["train_seconds"] for m in metrics]),
        "train_cpu_seconds": spread([m["train_cpu_seconds"] for m in metrics]),
        "threads": sorted({m["threads"] for m in metrics}),
        "device": sorted({m["device"] for m in metrics}),
        "parameters": metrics[0]["parameters"],
        "histories": [m["history"] for m in metrics],
    }
    if "glove" in metrics[0]:
        summary["glove"] = metrics[0]["glove"]
    return summary


def _neighbors(a: str, b: str, correct: Mapping[str, Mapping[int, NDArray[np.bool_]]]) -> dict[str, Any]:
    """Two presets on the same test reviews: McNemar's test per seed, one interval over all seeds of both."""
    return {
        "a": a,
        "b": b,
        "seeds": {"a": list(correct[a]), "b": list(correct[b])},
        "mcnemar": {
            str(seed): mcnemar(correct[a][seed], correct[b][seed]) for seed in correct[a] if seed in correct[b]
        },
        # b - a
        "difference": bootstrap_difference(*(list(correct[name].values()) for name in (a, b))),
    }


class Table(NamedTuple):
    """A table of a comparison: what it shows, how to read it, names of the columns, cells."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def _tables(results: Mapping[str, Any]) -> list[Table]:
    return [_versions(results), _neighbor_table(results), _differences(results)]


def _versions(results: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in results["presets"].items():
        glove = found.get("glove")
        epochs = ", ".join(f"{best} of {n}" for n, best in zip(found["epochs"], found["best_epoch"], strict=True))
        rows.append(
            {
                "version": name,
                "seeds": _listed(found["seeds"]),
                "best validation": percent(found["validation_accuracy"]),
                "test": percent(found["test_accuracy"]),
                **{
                    name: show(found[key])
                    for name, key, show in (
                        ("macro F1", "macro_f1", percent),
                        ("false positives", "false_positives", count),
                        ("false negatives", "false_negatives", count),
                    )
                    if key in found
                },
                "best epoch": epochs,
                "GloVe": "{:,} of {:,}".format(glove["matched"], glove["vocabulary"]) if glove else "none",
                "training": f"{found['train_cpu_seconds']['mean'] / 60:.0f} min",
            }
        )
    dataset = results["dataset"]
    return Table(
        "The versions",
        f"{dataset['test']:,} test reviews, {dataset['validation']:,} validation reviews of {dataset['source']}; mean "
        "± standard deviation over seeds. The time is that of the processor in training steps, mean of a run.",
        list(rows[0]),
        [list(row.values()) for row in rows],
    )


def _neighbor_table(results: Mapping[str, Any]) -> Table:
    rows = []
    for pair in results["neighbours"]:
        d = pair["difference"]
        tests = [
            f"{seed}: {test['only_a']:,} / {test['only_b']:,}, {p_value(test['p_value'])}"
            for seed, test in pair["mcnemar"].items()
        ]
        rows.append(
            [
                f"{pair['a']} to {pair['b']}",
                f"{100 * d['difference']:+.2f} points ({100 * d['low']:+.2f} to {100 * d['high']:+.2f})",
                f"{_listed(pair['seeds']['a'])} to {_listed(pair['seeds']['b'])}",
                "; ".join(tests) or "no seed of both",
            ]
        )
    return Table(
        "Neighbors, on the same test reviews",
        "The difference of the mean accuracies with its 95 % interval from a paired bootstrap over reviews, of the "
        "seeds named; McNemar's exact test by seed, with the reviews that only the first and only the second one gets "
        "right.",
        ["from, to", "difference on test", "seeds", "McNemar"],
        rows,
    )


def _differences(results: Mapping[str, Any]) -> Table:
    names = list(results["presets"])
    return Table(
        "What differs",
        "Every setting of the recipes that is not the same for all; the others follow below.",
        ["setting", *names],
        [[key, *(str(values[name]) for name in names)] for key, values in results["settings"]["differs"].items()],
    )


def _same(results: Mapping[str, Any]) -> str:
    """The settings that all versions share, in one sentence."""
    return ", ".join(f"{key} {value}" for key, value in results["settings"]["same"].items()) + "."


def markdown(results: Mapping[str, Any]) -> str:
    """Write the tables of a `comparison.json` as Markdown."""
    blocks = []
    for table in _tables(results):
        lines = [table.head, ["---"] * len(table.head), *table.rows]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks.append(f"{table.title}. {table.note}\n\n{body}")
    return "\n\n".join([*blocks, f"The same for all: {_same(results)}"])


def _page(results: Mapping[str, Any], directory: Path) -> str:
    """The comparison as one page that needs no other file."""
    plots = [
        {"title": title, "note": note, "source": data_uri(directory / name)}
        for name, (title, note) in _PLOTS.items()
        if (directory / name).is_file()
    ]
    names = list(results["presets"])
    return render(
        "comparison.html",
        title=f"Comparison: {', '.join(names)}",
        lead="The same reviews, split, lengths and optimizer for all; what differs is listed below.",
        tables=_tables(results),
        plots=plots,
        same=_same(results),
        versions=", ".join(f"{name} {number}" for name, number in results["versions_of_packages"].items()) + ".",
    )


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
