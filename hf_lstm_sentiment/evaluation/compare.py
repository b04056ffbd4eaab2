"""Several presets, several seeds, one table: the study as one call."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from ..data.reviews import Reviews
from ..data.run_reviews import SPLIT, load_run_reviews
from ..inference.classifier import Classifier
from ..training.presets import DEFAULTS, Preset, find_preset
from ..training.train import train
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path, write_json
from ..utils.imports import require
from .comparison_plots import plot_comparison, plot_padding_lesson
from .comparison_tables import markdown, page
from .padding_experiment import padding_lesson
from .scored import ScoredReviews, score_reviews
from .statistics import bootstrap_difference, mcnemar, spread

logger = logging.getLogger(__name__)

# Of a recipe, what names it; everything else is one of its settings.
_LABELS = ("name", "description", "seed", "disable_tqdm")
TEST_LOGITS = "test_logits.safetensors"


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        directory: Where it was written: `comparison.json`, the tables as `comparison.md`, all of it as
            `comparison.html`, and pictures.
        results: The content of `comparison.json`.
    """

    directory: Path
    results: Mapping[str, Any]

    def summary(self) -> str:
        """The tables, as Markdown."""
        return markdown(self.results)


def compare(
    presets: Sequence[str | Preset] = ("v0_naive", "v1", "v2_glove", "v3_glove_frozen"),
    *,
    seeds: Sequence[int] = (42, 43, 44),
    one_seed: Sequence[str] = (),
    runs_dir: str | os.PathLike[str] = "runs",
    recorded: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    **training: Any,
) -> Comparison:
    """Train presets under several seeds, or take up what is trained already, and compare them.

    A finished run is taken as it is, a stopped one is continued, one that was trained by another recipe is refused.

    Args:
        presets: What to compare, in the order in which neighbours are tested against each other.
        seeds: Seeds of each preset.
        one_seed: Presets that get the first seed only.
        runs_dir: Holds a run directory `PRESET-seedSEED` for each run.
        recorded: A folder of results without weights, `PRESET/seed-SEED/metrics.json` as in `model_cards`. Runs that
            it holds and `runs_dir` does not are taken from there and not trained. Tests of neighbours use those of
            them whose `test_logits.safetensors` is there.
        output_dir: Where to write the comparison; `comparison` in `runs_dir` where None.
        training: Whatever else :func:`train` takes, the same for all.

    Raises:
        ValueError: An unknown preset, no seeds, or the same one twice; recorded results of other data.
        FileExistsError, ModuleNotFoundError, OSError: As :func:`train`.
    """
    require("accelerate", "datasets", "evaluate", "jinja2", "matplotlib", "scipy", "sklearn", extra="train")
    recipes = [find_preset(preset) for preset in presets]
    names = [recipe.name for recipe in recipes]
    for what, values in (("presets", names), ("seeds", list(seeds))):
        if not values or len({*values}) < len(values):
            raise ValueError(f"{what} are {values}; allowed: at least one, each once")
    if unknown := set(one_seed) - set(names):
        raise ValueError(f"one_seed names {', '.join(sorted(unknown))}; allowed: {', '.join(names)}")
    folder = user_path(runs_dir).resolve()
    directory = user_path(output_dir, "the output").resolve() if output_dir is not None else folder / "comparison"
    plan = [(recipe, seed) for recipe in recipes for seed in (seeds[:1] if recipe.name in one_seed else seeds)]
    results = []
    for number, (recipe, seed) in enumerate(plan, start=1):
        run = folder / f"{recipe.name}-seed{seed}"
        record = None if recorded is None else user_path(recorded) / recipe.name / f"seed-{seed}"
        if record is not None and (record / runs.METRICS).is_file() and not run.exists():
            logger.info(f"run {number} of {len(plan)}: {recipe.name}, seed {seed}, from {record}")
            known = replace(recipe, dataset=os.fspath(training.get("dataset") or recipe.dataset))
            results.append(_Result(known, seed, record, has_weights=False))
        else:
            logger.info(f"run {number} of {len(plan)}: {recipe.name}, seed {seed}")
            train(recipe, seed=seed, output_dir=run, resume=True, **training)
            results.append(_Result(recipe, seed, run, has_weights=True))
    # The other processes of a launch have trained with this one, and have nothing more to do.
    return _analyse(results, directory) if int(os.environ.get("RANK", "0")) == 0 else Comparison(directory, {})


class _Result:
    """A finished run, or what is recorded of one."""

    def __init__(self, preset: Preset, seed: int, path: Path, *, has_weights: bool) -> None:
        self.name, self.seed, self.path, self.has_weights = preset.name, seed, path, has_weights
        self.metrics = read_json(path / runs.METRICS)
        self.recipe: Mapping[str, Any] = (
            {**DEFAULTS, **runs.read_recipe(path)}
            if has_weights
            else {**asdict(preset), "seed": seed, **self.metrics["options"]}
        )

    def settings(self) -> dict[str, Any]:
        """The recipe, with data and vectors by their names and not by the places where they lay."""
        glove = self.metrics.get("glove", {}).get("source")
        return {**self.recipe, "dataset": self.metrics["dataset"]["source"], "glove": glove}

    def check_data(self, first: _Result) -> None:
        """Refuse results on other reviews than those of the first result."""
        mine, its = self.metrics["dataset"], first.metrics["dataset"]
        for key in SPLIT:
            if mine[key] != its[key]:
                raise ValueError(
                    f"{self.path} has {key} {mine[key]!r} and {first.path} {its[key]!r}; only runs on the same "
                    "reviews can be compared"
                )

    def correct(self, reviews: Reviews, scored: ScoredReviews | None) -> NDArray[np.bool_] | None:
        """Whether each test review is decided right; None where that is not recorded. *Shape:* (n,)."""
        if scored is not None:
            correct = scored.correct
        else:
            path = self.path / TEST_LOGITS
            if not path.is_file():
                return None
            correct = (load_file(path)["logits"] > 0) == (np.asarray(reviews.test["label"][:]) == 1)
        check_accuracy(self.path, self.metrics, correct)
        return correct


def check_accuracy(path: Path, metrics: Mapping[str, Any], correct: NDArray[np.bool_]) -> None:
    """Check that a run decides its test reviews as well as its `metrics.json` says.

    Args:
        path: The run directory.
        metrics: The content of its `metrics.json`.
        correct: Whether each test review is decided right. *Shape:* (n,)

    Raises:
        ValueError: It does not.
    """
    accuracy, stated = float(correct.mean()), metrics["test"]["accuracy"]
    # Sums in another order may turn a logit that is zero but for rounding.
    if abs(accuracy - stated) > 2.5 / len(correct):
        raise ValueError(
            f"{path} gets {accuracy:.4%} of the test reviews right, its metrics.json says {stated:.4%}; the reviews or "
            "the weights were changed since it was trained"
        )


def _analyse(results: Sequence[_Result], directory: Path) -> Comparison:
    """Everything that finished runs tell, written down."""
    directory.mkdir(parents=True, exist_ok=True)
    for result in results:
        result.check_data(results[0])
    trained = [result for result in results if result.has_weights]
    reviews = load_run_reviews((trained or results)[0].recipe)
    scored = {(r.name, r.seed): score_run(r.path, reviews, directory / "predictions") for r in trained}
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
        "presets": {name: _summarise([r for r in results if r.name == name]) for name in names},
        "neighbours": [_neighbours(a, b, correct) for a, b in pairwise(names) if correct.get(a) and correct.get(b)],
    }
    plot_comparison(found["presets"], directory / "accuracy.png")
    naive = [r for r in trained if r.recipe["naive_padding"]]
    packed = [r for r in trained if not r.recipe["naive_padding"] and r.recipe["pooling"] == "last"]
    if naive and packed:
        a, b = naive[0], packed[0]
        lesson = padding_lesson(a.path, b.path, scored[a.name, a.seed], scored[b.name, b.seed])
        found["padding"] = lesson
        plot_padding_lesson(lesson, directory / "padding.png", names=(a.name, b.name))
    write_json(found, directory / "comparison.json")
    (directory / "comparison.md").write_text(markdown(found) + "\n", encoding="utf-8")
    (directory / "comparison.html").write_text(page(found, directory), encoding="utf-8")
    return Comparison(directory, json.loads(json.dumps(found)))


def score_run(run: Path, reviews: Reviews, predictions: Path) -> ScoredReviews:
    """The test reviews with a run's logits, computed once and then read.

    Args:
        run: A finished run directory.
        reviews: From `load_run_reviews`.
        predictions: Folder in which the logits are kept.
    """
    classifier = Classifier.from_pretrained(run)
    texts, labels = list(reviews.test["text"]), np.asarray(reviews.test["label"][:])
    path = predictions / f"{run.name}.safetensors"
    # A digest of all weights, so made once.
    fingerprint = classifier.fingerprint()
    logits = _stored(path, fingerprint, len(texts))
    if logits is None:
        logger.info(f"scoring {len(texts):,} test reviews with {run.name}")
        logits = classifier.logits(texts)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        save_file({"logits": logits}, temporary, metadata={"fingerprint": fingerprint})
        temporary.replace(path)
    return score_reviews(classifier, texts, labels, training_texts=reviews.train["text"][:], logits=logits)


def _stored(path: Path, fingerprint: str, count: int) -> NDArray[np.float32] | None:
    if not path.is_file():
        return None
    with safe_open(path, framework="numpy") as file:
        if (file.metadata() or {}).get("fingerprint") != fingerprint:
            return None
        logits: NDArray[np.float32] = file.get_tensor("logits")
    return logits if len(logits) == count else None


def _settings(recipes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all runs share, and what differs between them, by preset."""
    keys = sorted({key for recipe in recipes.values() for key in recipe} - set(_LABELS))
    differs = [key for key in keys if len({json.dumps(recipe.get(key)) for recipe in recipes.values()}) > 1]
    return {
        "same": {key: next(iter(recipes.values())).get(key) for key in keys if key not in differs},
        "differs": {key: {name: recipe.get(key) for name, recipe in recipes.items()} for key in differs},
    }


def _summarise(results: Sequence[_Result]) -> dict[str, Any]:
    metrics = [result.metrics for result in results]
    confusions = [m["test"]["confusion_matrix"] for m in metrics]
    summary: dict[str, Any] = {
        "seeds": [result.seed for result in results],
        "validation_accuracy": spread([m["validation"]["accuracy"] for m in metrics]),
        "test_accuracy": spread([m["test"]["accuracy"] for m in metrics]),
        "false_positives": spread([c["fp"] for c in confusions]),
        "false_negatives": spread([c["fn"] for c in confusions]),
        "expected_calibration_error": spread([m["test"]["expected_calibration_error"] for m in metrics]),
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


def _neighbours(a: str, b: str, correct: Mapping[str, Mapping[int, NDArray[np.bool_]]]) -> dict[str, Any]:
    """Two presets on the same test reviews: McNemar's test per seed, one interval over all seeds of both."""
    return {
        "a": a,
        "b": b,
        "seeds": {"a": list(correct[a]), "b": list(correct[b])},
        "mcnemar": {
            str(seed): asdict(mcnemar(correct[a][seed], correct[b][seed])) for seed in correct[a] if seed in correct[b]
        },
        # b - a
        "difference": asdict(bootstrap_difference(*(list(correct[name].values()) for name in (a, b)))),
    }
