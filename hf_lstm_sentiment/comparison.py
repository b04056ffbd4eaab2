"""Several presets, several seeds, one table: the study as one call."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from . import runs
from .comparison_plots import plot_comparison, plot_padding_lesson
from .data import Reviews, load_reviews
from .extras import require
from .inference import Classifier
from .padding import padding_lesson
from .presets import PRESETS, Preset
from .scored import ScoredReviews, score_reviews
from .significance import bootstrap_difference, mcnemar
from .training import train

logger = logging.getLogger(__name__)

# Of a recipe, what names it; everything else is one of its settings.
_LABELS = ("name", "description", "seed")
_SAMPLING = ("text_column", "label_column", "split_seed", "max_train_samples", "max_validation_samples")


@dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        directory: Where it was written: `comparison.json`, `comparison.md` and pictures.
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
        output_dir: Where to write the comparison; `comparison` in `runs_dir` where None.
        training: Whatever else :func:`train` takes, the same for all.

    Raises:
        ValueError: An unknown preset, no seeds, or the same one twice.
        FileExistsError, ModuleNotFoundError, OSError: As :func:`train`.
    """
    require("accelerate", "datasets", "evaluate", "jinja2", "matplotlib", "scipy", "sklearn", extra="train")
    recipes = [_recipe(preset) for preset in presets]
    names = [recipe.name for recipe in recipes]
    for what, values in (("presets", names), ("seeds", list(seeds))):
        if not values or len({*values}) < len(values):
            raise ValueError(f"{what} are {values}; allowed: at least one, each once")
    if unknown := set(one_seed) - set(names):
        raise ValueError(f"one_seed names {', '.join(sorted(unknown))}; allowed: {', '.join(names)}")
    folder = Path(runs_dir).expanduser().resolve()
    directory = Path(output_dir).expanduser().resolve() if output_dir is not None else folder / "comparison"
    plan = [(recipe, seed) for recipe in recipes for seed in (seeds[:1] if recipe.name in one_seed else seeds)]
    for number, (recipe, seed) in enumerate(plan, start=1):
        logger.info(f"run {number} of {len(plan)}: {recipe.name}, seed {seed}")
        train(recipe, seed=seed, output_dir=_run(folder, recipe.name, seed), resume=True, **training)
    comparison = Comparison(directory, {})
    if int(os.environ.get("RANK", "0")) == 0:
        comparison = _analyse(folder, directory, plan)
    return comparison


def _recipe(preset: str | Preset) -> Preset:
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise ValueError(f"preset {preset!r} is not known; allowed: {', '.join(PRESETS)}")
    return PRESETS[preset]


def _run(folder: Path, name: str, seed: int) -> Path:
    return folder / f"{name}-seed{seed}"


def _analyse(folder: Path, directory: Path, plan: Sequence[tuple[Preset, int]]) -> Comparison:
    """Everything that finished runs tell, written down."""
    directory.mkdir(parents=True, exist_ok=True)
    recorded = {(p.name, s): runs.read_json(_run(folder, p.name, s) / runs.METRICS) for p, s in plan}
    settings = {key: runs.read_recipe(_run(folder, *key)) for key in recorded}
    first = next(iter(settings.values()))
    reviews = _reviews(first)
    scored = {key: _score(_run(folder, *key), reviews, directory, recorded[key]) for key in recorded}
    names = list(dict.fromkeys(name for name, _ in recorded))
    results: dict[str, Any] = {
        "dataset": dict(next(iter(recorded.values()))["dataset"].items()),
        "versions_of_packages": next(iter(recorded.values()))["versions"],
        "settings": _settings(settings),
        "presets": {
            name: _summarise({seed: metrics for (other, seed), metrics in recorded.items() if other == name})
            for name in names
        },
        "neighbours": [_neighbours(a, b, scored) for a, b in pairwise(names)],
    }
    plot_comparison(results["presets"], directory / "accuracy.png")
    naive = [key for key in recorded if settings[key]["naive_padding"]]
    packed = [key for key in recorded if not settings[key]["naive_padding"] and settings[key]["pooling"] == "last"]
    if naive and packed:
        lesson = padding_lesson(_run(folder, *naive[0]), _run(folder, *packed[0]), scored[naive[0]], scored[packed[0]])
        results["padding"] = lesson
        plot_padding_lesson(lesson, directory / "padding.png", names=(naive[0][0], packed[0][0]))
    runs.write_json(results, directory / "comparison.json")
    (directory / "comparison.md").write_text(markdown(results) + "\n", encoding="utf-8")
    return Comparison(directory, json.loads(json.dumps(results)))


def _reviews(recipe: Mapping[str, Any]) -> Reviews:
    known = {name: recipe[name] for name in (*_SAMPLING, "max_test_samples") if name in recipe}
    return load_reviews(recipe["dataset"], **known)


def _score(run: Path, reviews: Reviews, directory: Path, metrics: Mapping[str, Any]) -> ScoredReviews:
    """The test reviews with a run's logits, computed once and then read."""
    classifier = Classifier.from_pretrained(run)
    texts, labels = list(reviews.test["text"]), np.asarray(reviews.test["label"][:])
    path = directory / "predictions" / f"{run.name}.safetensors"
    logits = _stored(path, classifier.fingerprint(), len(texts))
    if logits is None:
        logger.info(f"scoring {len(texts):,} test reviews with {run.name}")
        logits = classifier.logits(texts)
        path.parent.mkdir(exist_ok=True)
        temporary = path.with_suffix(".tmp")
        save_file({"logits": logits}, temporary, metadata={"fingerprint": classifier.fingerprint()})
        temporary.replace(path)
    scored = score_reviews(classifier, texts, labels, training_texts=reviews.train["text"][:], logits=logits)
    accuracy = float(scored.correct.mean())
    # Sums in another order may turn a logit that is zero but for rounding.
    if abs(accuracy - metrics["test"]["accuracy"]) > 2.5 / len(texts):
        raise ValueError(
            f"{run.name} gets {accuracy:.4%} of the test reviews right, its metrics.json says "
            f"{metrics['test']['accuracy']:.4%}; the reviews or the weights were changed since it was trained"
        )
    return scored


def _stored(path: Path, fingerprint: str, count: int) -> NDArray[np.float32] | None:
    if not path.is_file():
        return None
    with safe_open(path, framework="numpy") as file:
        if (file.metadata() or {}).get("fingerprint") != fingerprint:
            return None
        logits: NDArray[np.float32] = file.get_tensor("logits")
    return logits if len(logits) == count else None


def _settings(recipes: Mapping[tuple[str, int], Mapping[str, Any]]) -> dict[str, Any]:
    """What all runs share, and what differs between them, by preset."""
    keys = sorted({key for recipe in recipes.values() for key in recipe} - set(_LABELS))
    by_name = {name: recipe for (name, _), recipe in recipes.items()}
    differs = [key for key in keys if len({json.dumps(r.get(key)) for r in by_name.values()}) > 1]
    return {
        "same": {key: next(iter(by_name.values())).get(key) for key in keys if key not in differs},
        "differs": {key: {name: recipe.get(key) for name, recipe in by_name.items()} for key in differs},
    }


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and, of more than one, the standard deviation of a sample (n - 1)."""
    spread: dict[str, Any] = {"mean": float(np.mean(values)), "values": list(values)}
    if len(values) > 1:
        spread["standard_deviation"] = float(np.std(values, ddof=1))
    return spread


def _summarise(by_seed: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    metrics = list(by_seed.values())
    confusions = [m["test"]["confusion_matrix"] for m in metrics]
    summary: dict[str, Any] = {
        "seeds": list(by_seed),
        "validation_accuracy": _spread([m["validation"]["accuracy"] for m in metrics]),
        "test_accuracy": _spread([m["test"]["accuracy"] for m in metrics]),
        "false_positives": _spread([c["fp"] for c in confusions]),
        "false_negatives": _spread([c["fn"] for c in confusions]),
        "expected_calibration_error": _spread([m["test"]["expected_calibration_error"] for m in metrics]),
        "best_epoch": [m["best_epoch"] for m in metrics],
        "epochs": [m["epochs"] for m in metrics],
        "train_seconds": _spread([m["train_seconds"] for m in metrics]),
        "train_cpu_seconds": _spread([m["train_cpu_seconds"] for m in metrics]),
        "threads": sorted({m["threads"] for m in metrics}),
        "device": sorted({m["device"] for m in metrics}),
        "parameters": metrics[0]["parameters"],
        "histories": [m["history"] for m in metrics],
    }
    if "glove" in metrics[0]:
        summary["glove"] = metrics[0]["glove"]
    return summary


def _neighbours(a: str, b: str, scored: Mapping[tuple[str, int], ScoredReviews]) -> dict[str, Any]:
    """Two presets on the same test reviews: McNemar's test per seed, one interval over all seeds of both."""
    correct = {name: {seed: s.correct for (other, seed), s in scored.items() if other == name} for name in (a, b)}
    both = [seed for seed in correct[a] if seed in correct[b]]
    return {
        "a": a,
        "b": b,
        "seeds": {"a": list(correct[a]), "b": list(correct[b])},
        "mcnemar": {str(seed): asdict(mcnemar(correct[a][seed], correct[b][seed])) for seed in both},
        # b - a
        "difference": asdict(bootstrap_difference(*(list(correct[name].values()) for name in (a, b)))),
    }


def markdown(results: Mapping[str, Any]) -> str:
    """The tables of a comparison.

    Args:
        results: The content of `comparison.json`.
    """
    lines = [
        "| version | seeds | best validation | test | false positives | false negatives | epochs (best) | GloVe | "
        "training, processor time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in results["presets"].items():
        glove = found.get("glove")
        epochs = ", ".join(f"{n} ({best})" for n, best in zip(found["epochs"], found["best_epoch"], strict=True))
        lines.append(
            f"| {name} | {', '.join(map(str, found['seeds']))} | {percent(found['validation_accuracy'])} | "
            f"**{percent(found['test_accuracy'])}** | {count(found['false_positives'])} | "
            f"{count(found['false_negatives'])} | {epochs} | "
            f"{'{:,} of {:,}'.format(glove['matched'], glove['vocabulary']) if glove else 'none'} | "
            f"{found['train_cpu_seconds']['mean'] / 60:.0f} min |"
        )
    lines += ["", "| neighbours | difference on test, 95 % | McNemar, p per seed |", "| --- | --- | --- |"]
    for pair in results["neighbours"]:
        d = pair["difference"]
        tests = ", ".join(f"{seed}: {test['p_value']:.2g}" for seed, test in pair["mcnemar"].items())
        lines.append(
            f"| {pair['b']} - {pair['a']} | {100 * d['difference']:+.2f} points "
            f"({100 * d['low']:+.2f} to {100 * d['high']:+.2f}) | {tests} |"
        )
    names = list(results["presets"])
    lines += ["", f"| what differs | {' | '.join(names)} |", f"| --- |{' --- |' * len(names)}"]
    for key, values in results["settings"]["differs"].items():
        lines.append(f"| {key} | {' | '.join(str(values[name]) for name in names)} |")
    same = ", ".join(f"{key} {value}" for key, value in results["settings"]["same"].items())
    return "\n".join([*lines, "", f"The same for all: {same}."])


def percent(spread: Mapping[str, Any]) -> str:
    """A share as per cent, with its standard deviation where there is one."""
    deviation = spread.get("standard_deviation")
    return f"{100 * spread['mean']:.2f}" + (f" ± {100 * deviation:.2f}" if deviation is not None else "") + " %"


def count(spread: Mapping[str, Any]) -> str:
    """A count, likewise."""
    deviation = spread.get("standard_deviation")
    return f"{spread['mean']:,.0f}" + (f" ± {deviation:,.0f}" if deviation is not None else "")
