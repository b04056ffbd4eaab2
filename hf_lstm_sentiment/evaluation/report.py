"""Error report of a run: what it gets wrong, with which confidence, and by which words, as one page."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ..data.reviews import load_run_reviews
from ..inference.classifier import sigmoid
from ..inference.explain import Explainer
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path, write_json
from ..utils.imports import require
from .calibration import fit_temperature, measure_calibration
from .errors import (
    Group,
    ScoredReviews,
    WordOdds,
    accuracy_by_group,
    changed_decisions,
    error_words,
    group,
    score_run,
)
from .plots import (
    plot_confidences,
    plot_confusion_matrix,
    plot_error_words,
    plot_groups,
    plot_reliability_diagram,
    plot_training_curves,
)
from .statistics import bootstrap_difference, mcnemar, p_value

# Limits of the bands of confidence.
_BANDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_LABELS = ("NEGATIVE", "POSITIVE")


def write_report(
    run: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    dataset: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    excerpts: int = 5,
) -> Path:
    """Analyze the errors of a finished run on its test reviews.

    The temperature is fitted on the validation reviews; nothing is chosen by the test reviews.

    Args:
        run: The run directory.
        against: Another finished run on the same reviews; the report then tells what this one fixes and breaks.
        dataset: Where the reviews that it was trained and tested on lie now, if not where its recipe says.
        output_dir: Where to write `report.html`, which needs no other file, the same numbers as `report.json`, and the
            plots; `report` in the run directory where None.
        excerpts: Reviews shown of each kind of error.

    Returns:
        The path of the page.

    Raises:
        FileNotFoundError, ModuleNotFoundError: The run's recipe, or what the report needs, is missing.
        ValueError: The run is not finished, its figures do not fit its weights, `excerpts` is below 1, or `against`
            was tested on other reviews.
    """
    require("datasets", "evaluate", "jinja2", "matplotlib", "scipy", "sklearn", extra="train")
    if excerpts < 1:
        raise ValueError(f"excerpts is {excerpts}; allowed: a whole number of at least 1")
    run = user_path(run, "the run").resolve()
    other = None if against is None else user_path(against).resolve()
    for path in (run, *([other] if other else [])):
        if not runs.is_finished(path):
            raise ValueError(f"{path} is no finished run, {runs.METRICS} is missing; pass a run directory")
    metrics = read_json(run / runs.METRICS)
    directory = user_path(output_dir, "the output").resolve() if output_dir is not None else run / "report"
    directory.mkdir(parents=True, exist_ok=True)
    recipe = runs.read_recipe(run)
    reviews = load_run_reviews(recipe if dataset is None else {**recipe, "dataset": os.fspath(dataset)})
    scored = score_run(run, metrics, reviews, directory / "predictions")
    explainer = Explainer.from_pretrained(run)
    validation = explainer.classifier.logits(reviews.validation["text"][:])
    found = _analyze(scored, metrics, fit_temperature(validation, reviews.validation["label"][:]))
    fp, fn = scored.false_positives.tolist(), scored.false_negatives.tolist()
    shown: dict[str, list[int]] = {
        "False positives, the surest first": fp[:excerpts],
        "False negatives, the surest first": fn[:excerpts],
        "False positives and negatives, the least sure": fp[::-1][: excerpts // 2] + fn[::-1][: excerpts // 2],
    }
    if other is not None:
        theirs = score_run(other, read_json(other / runs.METRICS), reviews, directory / "predictions")
        changes = changed_decisions(theirs, scored)
        found["against"] = {
            "run": other.name,
            "fixed": len(changes.fixed),
            "broken": len(changes.broken),
            "p_value": mcnemar(theirs.correct, scored.correct).p_value,
            # This run less the other one.
            "accuracy": asdict(bootstrap_difference(theirs.correct, scored.correct)),
        }
        shown[f"Right here, wrong in {other.name}: the largest changes"] = changes.fixed[:excerpts].tolist()
        shown[f"Wrong here, right in {other.name}: the largest changes"] = changes.broken[:excerpts].tolist()
    rows = {name: _excerpts(explainer, scored, places) for name, places in shown.items()}
    found["excerpts"] = {
        name: [{key: value for key, value in row.items() if key != "html"} for row in of_kind]
        for name, of_kind in rows.items()
    }
    plots = _draw(scored, metrics, found, directory)
    page = render(
        "report.html",
        title=f"{metrics['preset']}, seed {metrics['seed']}: what it gets wrong",
        metrics=metrics,
        found=found,
        plots={name: data_uri(path) for name, path in plots.items()},
        excerpts=rows,
        max_length=scored.max_length,
    )
    write_json(found, directory / "report.json")
    path = directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _analyze(scored: ScoredReviews, metrics: Mapping[str, Any], temperature: float | None) -> dict[str, Any]:
    calibrations = {"as it is": measure_calibration(scored.logits, scored.labels)}
    if temperature is not None:
        calibrations["with the temperature"] = measure_calibration(scored.logits / temperature, scored.labels)
    return {
        "preset": metrics["preset"],
        "seed": metrics["seed"],
        "test": metrics["test"],
        "shares": _shares(metrics["test"]["confusion_matrix"]),
        **({} if temperature is None else {"temperature": temperature}),
        "calibration": {name: asdict(found) for name, found in calibrations.items()},
        "confidence": _by_confidence(scored),
        "groups": {name: [asdict(group) for group in found] for name, found in accuracy_by_group(scored).items()},
        "words": {name: [asdict(word) for word in words] for name, words in error_words(scored).items()},
    }


def _shares(cells: Mapping[str, int]) -> list[dict[str, Any]]:
    """What can be said in "so many of so many reviews", with 95 % intervals."""
    tn, fp, fn, tp = (cells[key] for key in ("tn", "fp", "fn", "tp"))
    counts = {
        "classified correctly (accuracy)": (tn + tp, tn + fp + fn + tp),
        "of the POSITIVE ones (recall)": (tp, tp + fn),
        "of the NEGATIVE ones (specificity)": (tn, tn + fp),
        "of those predicted POSITIVE (precision)": (tp, tp + fp),
        "of those predicted NEGATIVE": (tn, tn + fn),
    }
    return [asdict(group(name, correct, reviews)) for name, (correct, reviews) in counts.items() if reviews]


def _by_confidence(scored: ScoredReviews) -> list[dict[str, Any]]:
    """Reviews and errors by the probability of the predicted label."""
    confidence = np.maximum(scored.probabilities, 1 - scored.probabilities)
    band = np.clip(np.searchsorted(_BANDS, confidence, side="left"), 1, len(_BANDS) - 1)
    rows = []
    for upper in range(1, len(_BANDS)):
        wrong = (band == upper) & ~scored.correct
        rows.append(
            {
                "low": _BANDS[upper - 1],
                "high": _BANDS[upper],
                "reviews": int((band == upper).sum()),
                "false_positives": int((wrong & (scored.labels == 0)).sum()),
                "false_negatives": int((wrong & (scored.labels == 1)).sum()),
            }
        )
    return rows


def _draw(scored: ScoredReviews, metrics: Mapping[str, Any], found: Mapping[str, Any], folder: Path) -> dict[str, Path]:
    name = metrics["preset"]
    history = {"title": f"{name}: training", "best_epoch": metrics["best_epoch"]}
    groups = {title: [Group(**group) for group in groups] for title, groups in found["groups"].items()}
    words = {title: [WordOdds(**word) for word in words] for title, words in found["words"].items()}
    drawn = {
        "curves": plot_training_curves(metrics["history"], folder / "training_curves.png", **history),
        "confusion": plot_confusion_matrix(
            metrics["test"]["confusion_matrix"], folder / "confusion_matrix.png", title=f"{name}: test reviews"
        ),
        "confidences": plot_confidences(scored, folder / "confidences.png", title=f"{name}: confidence"),
        "reliability": plot_reliability_diagram(
            scored.probabilities, scored.labels, folder / "reliability.png", title=f"{name}: as it is"
        ),
        "groups": plot_groups(groups, folder / "groups.png", title=f"{name}: accuracy on parts of the test reviews"),
    }
    if "temperature" in found:
        softened, after = sigmoid(scored.logits / found["temperature"]), folder / "reliability_with_temperature.png"
        title = f"{name}: with temperature {found['temperature']:.2f}"
        drawn["softened"] = plot_reliability_diagram(softened, scored.labels, after, title=title)
    if words:
        drawn["words"] = plot_error_words(words, folder / "error_words.png", title=f"{name}: words that mark errors")
    return drawn


def _excerpts(explainer: Explainer, scored: ScoredReviews, places: Sequence[int]) -> list[dict[str, Any]]:
    """Reviews around the words of the largest attribution."""
    from markupsafe import Markup

    rows = []
    for place in places:
        explanation = explainer(scored.texts[place])
        rows.append(
            {
                "place": place,
                "actual": _LABELS[scored.labels[place]],
                "predicted": _LABELS[scored.predicted[place]],
                "positive": float(scored.probabilities[place]),
                "tokens": int(scored.tokens[place]),
                "truncated": bool(scored.truncated[place]),
                "duplicate": bool(scored.duplicates[place]),
                "html": Markup(explanation.to_html_fragment(*explanation.strongest_window())),  # noqa: S704 - escaped
            }
        )
    return rows


def render(template: str, **values: Any) -> str:
    """Fill a template of this room, with the look of all pages; all that is not marked as HTML is escaped."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files(__package__)
    css = Markup(folder.joinpath("page.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of this package
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f} %"
    environment.filters["p_value"] = p_value
    environment.filters["count"] = lambda number: f"{number:,}"
    text = folder.joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(css=css, **values)


def data_uri(plot: Path) -> str:
    """Put a PNG file into an address that holds all of it."""
    return "data:image/png;base64," + base64.b64encode(plot.read_bytes()).decode("ascii")
