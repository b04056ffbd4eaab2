"""Comparison of finished runs: several presets, several seeds, tests of neighbors, one table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from ..data.reviews import SPLIT, Reviews, load_run_reviews
from ..inference.classifier import Classifier, decisions
from ..utils.files import json_ready, write_json
from .errors import check_accuracy
from .plots import plot_comparison
from .report import data_uri, render
from .statistics import bootstrap_difference, count, mcnemar, p_value, percent, spread

# What of a run goes into the table where it was measured: its key, the head of the column, and how it is written.
_ERRORS = (
    ("macro_f1", "macro F1", percent),
    ("false_positives", "false positives", count),
    ("false_negatives", "false negatives", count),
)


@dataclass(frozen=True)
class Comparison:
    """What a comparison found: the content of `comparison.json`, and the directory that holds it, page and plot."""

    directory: Path
    results: Mapping[str, Any]

    def summary(self) -> str:
        """The tables, as Markdown."""
        return markdown(self.results)


class FinishedRun(NamedTuple):
    """A finished run, or what is recorded of one: without weights, but maybe with `test_logits.safetensors`."""

    name: str
    seed: int
    path: Path
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    has_weights: bool


def compare(results: Sequence[FinishedRun], directory: Path) -> Comparison:
    """Compare finished runs of the same reviews, neighboring presets in pairs, and write what is found."""
    directory.mkdir(parents=True, exist_ok=True)
    first = results[0]
    for result in results:
        ours, theirs = (_identity(one.metrics["dataset"]) for one in (result, first))
        # Runs of version 0.1.0 have no digests.
        if other := [key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]]:
            raise ValueError(
                f"{result.path} and {first.path} have other reviews ({', '.join(sorted(other))}); only runs on the "
                "same reviews can be compared"
            )
    reviews = load_run_reviews(next((result for result in results if result.has_weights), first).recipe)
    runs: dict[str, list[FinishedRun]] = {}
    correct: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for result in results:
        runs.setdefault(result.name, []).append(result)
        if (right := _correct(result, reviews)) is not None:
            correct.setdefault(result.name, {})[result.seed] = right
    found: dict[str, Any] = {
        "dataset": first.metrics["dataset"],
        "versions_of_packages": first.metrics["versions"],
        "settings": _settings(results),
        "presets": {name: _summary(seeds) for name, seeds in runs.items()},
        "neighbours": [_neighbors(a, b, correct) for a, b in pairwise(runs) if a in correct and b in correct],
    }
    plot = plot_comparison(found["presets"], directory / "accuracy.png", chance=1 / len(reviews.label_names))
    write_json(found, directory / "comparison.json")
    (directory / "comparison.md").write_text(markdown(found) + "\n", encoding="utf-8")
    page = render(
        "comparison.html",
        title=f"Comparison: {', '.join(runs)}",
        tables=_tables(found),
        plot=data_uri(plot),
        same=_same(found),
        versions=", ".join(f"{name} {number}" for name, number in found["versions_of_packages"].items()) + ".",
    )
    (directory / "comparison.html").write_text(page, encoding="utf-8")
    return Comparison(directory, json_ready(found))


def _identity(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """What tells whether reviews are the same: how many there are, their labels, their digests."""
    digests = {f"digest of {part}": digest for part, digest in dataset.get("digests", {}).items()}
    return {**{key: dataset.get(key) for key in (*SPLIT, "labels")}, **digests}


def _correct(run: FinishedRun, reviews: Reviews) -> NDArray[np.bool_] | None:
    """Whether a run classifies each test review correctly; None where that is not recorded. *Shape:* (n,)."""
    if run.has_weights:
        logits = Classifier.from_pretrained(run.path).logits(reviews.test["text"][:])
    elif (recorded := run.path / "test_logits.safetensors").is_file():
        logits = load_file(recorded)["logits"]
    else:
        return None
    correct: NDArray[np.bool_] = decisions(logits) == np.asarray(reviews.test["label"][:])
    check_accuracy(run.path, run.metrics, correct)
    return correct


def _settings(results: Sequence[FinishedRun]) -> dict[str, Any]:
    """What all runs share, and what differs between them, by preset; data and vectors by names, not by places."""
    recipes = {
        run.name: {
            **run.recipe,
            "dataset": run.metrics["dataset"]["source"],
            "glove": run.metrics.get("glove", {}).get("source"),
        }
        for run in results
    }
    # What names a recipe is none of its settings.
    keys = sorted({key for one in recipes.values() for key in one} - {"name", "description", "seed", "disable_tqdm"})
    differs = [key for key in keys if len({json.dumps(recipe.get(key)) for recipe in recipes.values()}) > 1]
    return {
        "same": {key: next(iter(recipes.values())).get(key) for key in keys if key not in differs},
        "differs": {key: {name: recipe.get(key) for name, recipe in recipes.items()} for key in differs},
    }


def _summary(seeds: Sequence[FinishedRun]) -> dict[str, Any]:
    """What was measured of a preset under its seeds."""
    metrics = [run.metrics for run in seeds]
    tests = [each["test"] for each in metrics]
    if "macro_f1" in tests[0]:
        errors = {"macro_f1": spread([test["macro_f1"] for test in tests])}
    else:
        kinds = {"false_positives": "fp", "false_negatives": "fn"}
        errors = {name: spread([test["confusion_matrix"][key] for test in tests]) for name, key in kinds.items()}
    return {
        "seeds": [run.seed for run in seeds],
        "validation_accuracy": spread([each["validation"]["accuracy"] for each in metrics]),
        "test_accuracy": spread([test["accuracy"] for test in tests]),
        **errors,
        "expected_calibration_error": spread([test["expected_calibration_error"] for test in tests]),
        **{key: [each[key] for each in metrics] for key in ("best_epoch", "epochs")},
        **{key: spread([each[key] for each in metrics]) for key in ("train_seconds", "train_cpu_seconds")},
        **{key: sorted({each[key] for each in metrics}) for key in ("threads", "device")},
        "parameters": metrics[0]["parameters"],
        "histories": [each["history"] for each in metrics],
        **({"glove": metrics[0]["glove"]} if "glove" in metrics[0] else {}),
    }


def _neighbors(a: str, b: str, correct: Mapping[str, Mapping[int, NDArray[np.bool_]]]) -> dict[str, Any]:
    """Two presets on the same test reviews: McNemar's test per seed, one interval over all seeds of both."""
    of_a, of_b = correct[a], correct[b]
    return {
        **{"a": a, "b": b},
        "seeds": {"a": list(of_a), "b": list(of_b)},
        "mcnemar": {str(seed): mcnemar(of_a[seed], of_b[seed]) for seed in of_a if seed in of_b},
        # b - a
        "difference": bootstrap_difference(list(of_a.values()), list(of_b.values())),
    }


def _tables(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tables of a comparison: "title", a "note" on how to read it, "head" and "rows" of cells."""
    dataset, presets = results["dataset"], results["presets"]
    errors = [error for error in _ERRORS if error[0] in next(iter(presets.values()))]
    versions = []
    for name, found in presets.items():
        epochs, glove = zip(found["epochs"], found["best_epoch"], strict=True), found.get("glove")
        versions.append(
            [
                name,
                _listed(found["seeds"]),
                percent(found["validation_accuracy"]),
                percent(found["test_accuracy"]),
                *(show(found[key]) for key, _, show in errors),
                _listed(f"{best} of {n}" for n, best in epochs),
                f"{glove['matched']:,} of {glove['vocabulary']:,}" if glove else "none",
                f"{found['train_cpu_seconds']['mean'] / 60:.0f} min",
            ]
        )
    pairs = []
    for pair in results["neighbours"]:
        d, tests = pair["difference"], pair["mcnemar"].items()
        both = [f"{s}: {t['only_a']:,} / {t['only_b']:,}, {p_value(t['p_value'])}" for s, t in tests]
        pairs.append(
            [
                f"{pair['a']} to {pair['b']}",
                f"{100 * d['difference']:+.2f} points ({100 * d['low']:+.2f} to {100 * d['high']:+.2f})",
                f"{_listed(pair['seeds']['a'])} to {_listed(pair['seeds']['b'])}",
                "; ".join(both) or "no seed of both",
            ]
        )
    heads = [head for _, head, _ in errors]
    return [
        {
            "title": "The versions",
            "note": f"{dataset['test']:,} test reviews, {dataset['validation']:,} validation reviews of "
            f"{dataset['source']}; mean ± standard deviation over seeds. The time is that of the processor in training "
            "steps, mean of a run.",
            "head": ["version", "seeds", "best validation", "test", *heads, "best epoch", "GloVe", "training"],
            "rows": versions,
        },
        {
            "title": "Neighbors, on the same test reviews",
            "note": "The difference of the mean accuracies with its 95 % interval from a paired bootstrap over "
            "reviews, of the seeds named; McNemar's exact test by seed, with the reviews that only the first and only "
            "the second one gets right.",
            "head": ["from, to", "difference on test", "seeds", "McNemar"],
            "rows": pairs,
        },
        {
            "title": "What differs",
            "note": "Every setting of the recipes that is not the same for all; the others follow below.",
            "head": ["setting", *presets],
            "rows": [
                [key, *(str(values[name]) for name in presets)]
                for key, values in results["settings"]["differs"].items()
            ],
        },
    ]


def _same(results: Mapping[str, Any]) -> str:
    """The settings that all versions share, in one sentence."""
    return ", ".join(f"{key} {value}" for key, value in results["settings"]["same"].items()) + "."


def markdown(results: Mapping[str, Any]) -> str:
    """Write the tables of a `comparison.json` as Markdown."""
    blocks = []
    for table in _tables(results):
        lines = [table["head"], ["---"] * len(table["head"]), *table["rows"]]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        blocks.append(f"{table['title']}. {table['note']}\n\n{body}")
    return "\n\n".join([*blocks, f"The same for all: {_same(results)}"])


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
