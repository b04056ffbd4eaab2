"""The errors of one run as one page: what it gets wrong, how sure it was, and which words led it there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..data.run_reviews import load_run_reviews
from ..inference.classifier import sigmoid
from ..inference.explain import Explainer
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path, write_json
from ..utils.imports import require
from .calibration import fit_temperature, measure_calibration
from .compare import check_accuracy, score_run
from .error_plots import plot_confidences, plot_error_words, plot_groups
from .errors import (
    Group,
    WordOdds,
    accuracy_by_duplicates,
    accuracy_by_length,
    accuracy_by_truncation,
    accuracy_by_unknown,
    changed_decisions,
    has_words,
    word_log_odds,
)
from .pages import data_uri, render
from .plots import plot_confusion_matrix, plot_reliability_diagram, plot_training_curves
from .scored import ScoredReviews
from .statistics import bootstrap_difference, mcnemar, proportion_interval

# Limits of the bands of confidence.
_BANDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
_WORDS = 15
# Reviews that must hold a word before it is said to mark errors.
_MIN_COUNT = 20
_LABELS = ("NEGATIVE", "POSITIVE")


def write_report(
    run: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str] | None = None,
    dataset: str | os.PathLike[str] | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    excerpts: int = 5,
) -> Path:
    """Analyse the errors of a finished run on its test reviews.

    The temperature is fitted on the validation reviews; nothing is chosen by the test reviews.

    Args:
        run: The run directory.
        against: Another finished run on the same reviews; the report then tells what this one fixes and breaks.
        dataset: Where the reviews that it was trained and tested on lie now, if not where its recipe says.
        output_dir: Where to write `report.html`, which needs no other file, the same numbers as `report.json`, and the
            pictures; `report` in the run directory where None.
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
    scored = score_run(run, reviews, directory / "predictions")
    check_accuracy(run, metrics, scored.correct)
    explainer = Explainer.from_pretrained(run)
    validation = explainer.classifier.logits(reviews.validation["text"][:])
    found = _analyse(scored, metrics, fit_temperature(validation, reviews.validation["label"][:]))
    fp, fn = scored.false_positives.tolist(), scored.false_negatives.tolist()
    shown: dict[str, list[int]] = {
        "False positives, the surest first": fp[:excerpts],
        "False negatives, the surest first": fn[:excerpts],
        "False positives and negatives, the least sure": fp[::-1][: excerpts // 2] + fn[::-1][: excerpts // 2],
    }
    if other is not None:
        theirs = score_run(other, reviews, directory / "predictions")
        check_accuracy(other, read_json(other / runs.METRICS), theirs.correct)
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
    pictures = _draw(scored, metrics, found, directory)
    page = render(
        "report.html",
        title=f"{metrics['preset']}, seed {metrics['seed']}: what it gets wrong",
        metrics=metrics,
        found=found,
        pictures={name: data_uri(path) for name, path in pictures.items()},
        excerpts=rows,
        max_length=scored.max_length,
    )
    write_json(found, directory / "report.json")
    path = directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _analyse(scored: ScoredReviews, metrics: Mapping[str, Any], temperature: float | None) -> dict[str, Any]:
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
        "groups": {name: [asdict(group) for group in found] for name, found in _groups(scored).items()},
        "words": {name: [asdict(word) for word in words] for name, words in _error_words(scored).items()},
    }


def _shares(cells: Mapping[str, int]) -> list[dict[str, Any]]:
    """What can be said in "so many of so many reviews", with 95 % intervals."""
    tn, fp, fn, tp = (cells[key] for key in ("tn", "fp", "fn", "tp"))
    counts = {
        "labelled correctly (accuracy)": (tn + tp, tn + fp + fn + tp),
        "of the POSITIVE ones (recall)": (tp, tp + fn),
        "of the NEGATIVE ones (specificity)": (tn, tn + fp),
        "of those called POSITIVE (precision)": (tp, tp + fp),
        "of those called NEGATIVE": (tn, tn + fn),
    }
    return [
        asdict(Group(name, reviews, correct, correct / reviews, *proportion_interval(correct, reviews)))
        for name, (correct, reviews) in counts.items()
        if reviews
    ]


def _groups(scored: ScoredReviews) -> dict[str, list[Group]]:
    return {
        "words in the review": accuracy_by_length(scored),
        "share of unknown words": accuracy_by_unknown(scored),
        "truncated or not": accuracy_by_truncation(scored),
        "duplicates of training reviews": accuracy_by_duplicates(scored),
    }


def _by_confidence(scored: ScoredReviews) -> list[dict[str, Any]]:
    """Reviews and errors by the probability of the label decided for."""
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


def _error_words(scored: ScoredReviews) -> dict[str, list[WordOdds]]:
    """The words that tell errors from right decisions on reviews of the same label, as far as they were read."""
    found = {}
    for label, name in enumerate(("false positives against true negatives", "false negatives against true positives")):
        wrong, right = (
            [_read(scored, int(place)) for place in np.flatnonzero((scored.labels == label) & chosen)]
            for chosen in (~scored.correct, scored.correct)
        )
        if any(map(has_words, wrong)) and any(map(has_words, right)):
            words = word_log_odds(wrong, right, top=_WORDS, min_count=_MIN_COUNT)
            found[name] = [word for word in words if word.z > 0]
    return {name: words for name, words in found.items() if words}


def _read(scored: ScoredReviews, place: int) -> str:
    """What is read of a review, in words between white space."""
    return " ".join(scored.texts[place].split()[: scored.max_length])


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
        "confidences": plot_confidences(scored, folder / "confidences.png", title=f"{name}: how sure it is"),
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
    """Reviews around the words that carried the decision."""
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
