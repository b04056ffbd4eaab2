"""Error report of a run: what it gets wrong, with which confidence, and by which words, as one page."""

import base64
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.reviews import load_run_reviews
from ..inference.explain import Explainer
from ..inference.explanation import template
from ..utils import run_directory as runs
from ..utils.files import read_json, user_path, write_json
from ..utils.imports import require
from ..utils.messages import check_count
from .calibration import calibration_bins, fit_temperature, measure_calibration, probabilities_of
from .errors import ScoredReviews, accuracy_by_group, changed_decisions, error_words, score_run
from .plots import plot_confidences, plot_reliability_diagram, plot_rows
from .statistics import bootstrap_difference, mcnemar, p_value


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
    check_count("excerpts", excerpts)
    run = user_path(run, "the run").resolve()
    other = None if against is None else user_path(against).resolve()
    for path in (run, other or run):
        if not runs.is_finished(path):
            raise ValueError(f"{path} is no finished run, {runs.METRICS} is missing; pass a run directory")
    metrics, recipe = read_json(run / runs.METRICS), runs.read_recipe(run)
    directory = user_path(output_dir, "the output").resolve() if output_dir is not None else run / "report"
    directory.mkdir(parents=True, exist_ok=True)
    reviews = load_run_reviews(recipe if dataset is None else {**recipe, "dataset": os.fspath(dataset)})
    scored, explainer = score_run(run, metrics, reviews), Explainer.from_pretrained(run)
    validation = explainer.classifier.logits(reviews.validation["text"][:])
    temperature = fit_temperature(validation, reviews.validation["label"][:])
    logits = {"as it is": scored.logits}
    if temperature is not None:
        logits["with the temperature"] = scored.logits / temperature
    n, bins = len(scored.labels), calibration_bins(scored.probabilities, scored.labels)[:5]
    found: dict[str, Any] = {
        "preset": metrics["preset"],
        "seed": metrics["seed"],
        "test": metrics["test"],
        "labels": list(scored.names),
        **({} if temperature is None else {"temperature": temperature}),
        "calibration": {name: measure_calibration(z, scored.labels) for name, z in logits.items()},
        "confidence": [
            {"low": low, "high": high, "reviews": round(share * n), "wrong": round(share * n * (1 - right))}
            for low, high, share, _, right in np.transpose(bins).tolist()
        ],
        "groups": accuracy_by_group(scored),
        "words": error_words(scored),
    }
    errors = {kind: scored.errors(label).tolist() for kind, label in scored.kinds.items()}
    shown: dict[str, list[int]] = {f"{kind.capitalize()}, the surest first": e[:excerpts] for kind, e in errors.items()}
    unsure = "False positives and negatives" if len(scored.names) == 2 else "Misclassified"
    shown[f"{unsure}, the least sure"] = [place for e in errors.values() for place in e[::-1][: excerpts // 2]]
    if other is not None:
        theirs = score_run(other, read_json(other / runs.METRICS), reviews)
        fixed, broken = changed_decisions(theirs, scored)
        found["against"] = {
            "run": other.name,
            "fixed": len(fixed),
            "broken": len(broken),
            "p_value": mcnemar(theirs.correct, scored.correct)["p_value"],
            # This run less the other one.
            "accuracy": bootstrap_difference([theirs.correct], [scored.correct]),
        }
        shown[f"Right here, wrong in {other.name}: the largest changes"] = fixed[:excerpts].tolist()
        shown[f"Wrong here, right in {other.name}: the largest changes"] = broken[:excerpts].tolist()
    explained = {place: explainer(scored.texts[place]) for places in shown.values() for place in places}
    found["excerpts"] = {
        name: [_excerpt(scored, place, explained[place].probabilities) for place in places]
        for name, places in shown.items()
    }
    name = metrics["preset"]
    # Those that the training drew, if they were not deleted.
    plots = {"curves": run / "plots" / "training_curves.png", "confusion": run / "plots" / "confusion_matrix.png"}
    for key, (title, z) in zip(("reliability", "softened"), logits.items(), strict=False):
        p, path = probabilities_of(z), directory / f"{key}.png"
        plots[key] = plot_reliability_diagram(p, scored.labels, path, title=f"{name}: {title}")
    plots["confidences"] = plot_confidences(scored, directory / "confidences.png", title=f"{name}: confidence")
    accuracy, groups = metrics["test"]["accuracy"], {key: rows for key, rows in found["groups"].items() if key != "all"}
    title = f"{name}: accuracy of parts of the test reviews"
    plots["groups"] = plot_rows(groups, directory / "groups.png", title=title, accuracy=accuracy)
    if words := found["words"]:
        plots["words"] = plot_rows(words, directory / "error_words.png", title=f"{name}: words that mark errors")
    page = render(
        "report.html",
        title=f"{name}, seed {metrics['seed']}: what it gets wrong",
        metrics=metrics,
        found=found,
        plots={key: data_uri(path) for key, path in plots.items() if path.is_file()},
        # Around the words of the largest attribution.
        html={place: one.to_html_fragment(words=40) for place, one in explained.items()},
        max_length=scored.max_length,
    )
    write_json(found, directory / "report.json")
    path = directory / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _excerpt(scored: ScoredReviews, place: int, probabilities: Sequence[float]) -> dict[str, Any]:
    """What is said of a review that is shown."""
    actual, predicted = (scored.names[column[place]] for column in (scored.labels, scored.predicted))
    every = dict(zip(scored.names, probabilities, strict=True))
    return {
        "place": place,
        "actual": actual,
        "predicted": predicted,
        "probabilities": {name: every[name] for name in dict.fromkeys((predicted, actual))},
        "tokens": int(scored.tokens[place]),
        "truncated": bool(scored.tokens[place] > scored.max_length),
        "duplicate": bool(scored.duplicates[place]),
    }


def render(name: str, **values: Any) -> str:
    """Fill a template of this room; all that is not marked as HTML is escaped."""
    return template(Path(__file__).with_name(name)).render(p_value=p_value, **values)


def data_uri(plot: Path) -> str:
    """Put a PNG file into an address that holds all of it."""
    return "data:image/png;base64," + base64.b64encode(plot.read_bytes()).decode("ascii")
