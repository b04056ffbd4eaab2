"""Records beside a run that its card reports: other seeds of its recipe, and ablations.

A folder of records, such as `model_cards`, holds for each preset `PRESET/seed-SEED/metrics.json` and, where there is
one, `PRESET/ablations.json`:

    {"note": "Four epochs each.",
     "rows": [{"change": "none", "seeds": [1, 2], "validation_accuracy": [0.92, 0.93], "test_accuracy": [0.91, 0.92]},
              {"change": "without GloVe", "seeds": [1], "validation_accuracy": [0.90]}]}

The first row is the whole recipe; accuracies are fractions, one per seed; "note" and "test_accuracy" may be left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_lstm_sentiment.data.reviews import SAMPLING, SPLIT, Reviews, load_reviews
from hf_lstm_sentiment.evaluation.statistics import percent, spread
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import read_json
from hf_lstm_sentiment.utils.messages import differences

ABLATIONS = "ablations.json"
_ACCURACIES = ("validation_accuracy", "test_accuracy")


def summarize_seeds(metrics: Mapping[str, Any], folder: Path) -> dict[str, Any] | None:
    """Compute mean and deviation over the seeds of a recipe: of a run's `metrics.json` and of the records beside it.

    None where there is no other seed. Records of another recipe or of other reviews are refused, and one that says
    something else of the run's own seed.
    """
    found: dict[int, Mapping[str, Any]] = {metrics["seed"]: metrics}
    for path in sorted(folder.glob(f"seed-*/{runs.METRICS}")):
        record = read_json(path)
        if changed := differences(_recipe(metrics), _recipe(record)):
            raise ValueError(f"{path} is of another recipe than the run: {changed}; take it away, or train it anew")
        if record["seed"] == metrics["seed"] and (changed := differences(_scores(metrics), _scores(record))):
            raise ValueError(f"{path} is of another training than the run of that seed: {changed}; replace it")
        found[record["seed"]] = record
    if len(found) == 1:
        return None
    scores = [_scores(found[seed]) for seed in sorted(found)]
    return {"seeds": sorted(found), **{key: spread([score[key] for score in scores]) for key in _ACCURACIES}}


def _recipe(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{key: metrics.get(key) for key in ("preset", "parameters", "training")},
        **{key: metrics["dataset"].get(key) for key in SPLIT},
    }


def _scores(metrics: Mapping[str, Any]) -> dict[str, float]:
    # Records are of trainings: before `neutralize.py` and `everyday.py`.
    steps = [metrics[step]["before"] for step in ("neutralized", "everyday") if step in metrics]
    metrics = steps[0] if steps else metrics
    return {"validation_accuracy": metrics["validation"]["accuracy"], "test_accuracy": metrics["test"]["accuracy"]}


def load_recorded_reviews(
    metrics: Mapping[str, Any], dataset: str | os.PathLike[str], *, of: str | os.PathLike[str]
) -> Reviews:
    """Load the reviews that a run was trained and tested on from where they lie, by what its `metrics.json` says.

    A ValueError where that does not say how the reviews were split, or these are others; what the run is called (`of`)
    is for messages.
    """
    try:
        recorded, options = metrics["dataset"], metrics["options"]
        split = {name: recorded[name] for name in SPLIT}
        # Runs of earlier releases have no digests.
        digests = {key: digest for key, digest in recorded.get("digests", {}).items() if key in split}
        known = {name: options[name] for name in SAMPLING if name in options}
        known["split_seed"] = split["split_seed"]
        known["unlabeled"] = None if "unlabeled" in recorded else False
        if "validation" in split["held_out"]:
            known["validation_fraction"] = recorded.get("validation_fraction")
            if known["validation_fraction"] is None and not any(
                options.get(name) for name in ("max_train_samples", "max_validation_samples")
            ):
                known["validation_fraction"] = recorded["validation"] / (recorded["train"] + recorded["validation"])
            if known["validation_fraction"] is None:
                raise KeyError("validation_fraction")
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"metrics.json of {of} does not say how its reviews were split ({error} is missing); name a run that "
            "this package trained"
        ) from error
    reviews = load_reviews(dataset, **known)
    now = reviews.summary()
    # Names are recorded where they are not those of two sentiments.
    changed = differences(*({name: said.get(name) for name in (*split, "labels")} for said in (recorded, now)))
    if changed := changed or differences(digests, {key: now["digests"][key] for key in digests}):
        raise ValueError(
            f"{dataset} does not hold the reviews of {of}: {changed}; name the source that it was read from"
        )
    return reviews


def read_ablations(folder: Path) -> dict[str, Any] | None:
    """Read the `ablations.json` of a recipe, checked to be as described above; None where there is none.

    Beside its content, "table": for each row what was changed, its accuracies and their differences from the first row,
    the whole recipe, and the seeds.
    """
    path = folder / ABLATIONS
    if not path.is_file():
        return None
    content = read_json(path)
    rows, note = content.get("rows"), content.get("note", "")
    if set(content) - {"note", "rows"} or not isinstance(note, str) or not isinstance(rows, list) or len(rows) < 2:
        raise ValueError(f"{path}: allowed: a text as note, and at least two rows, the whole recipe first")
    for number, row in enumerate(rows, start=1):
        if not _is_ablation(row):
            raise ValueError(
                f"{path}, row {number} is {row!r}; allowed: change, a text; seeds, a list of whole numbers, each once; "
                "validation_accuracy and perhaps test_accuracy, lists of a fraction for each seed"
            )
    return {**content, "table": [_cells(rows[0], row) for row in rows]}


def _is_ablation(row: Any) -> bool:
    if not isinstance(row, dict) or not {"change", "seeds", _ACCURACIES[0]} <= set(row) <= {
        "change",
        "seeds",
        *_ACCURACIES,
    }:
        return False
    seeds, measured = row["seeds"], [row[key] for key in _ACCURACIES if key in row]
    if not all(isinstance(column, list) for column in (seeds, *measured)):
        return False
    fractions = [value for column in measured for value in column]
    return (
        isinstance(row["change"], str)
        and bool(row["change"].strip())
        and all(type(seed) is int for seed in seeds)
        and 0 < len({*seeds}) == len(seeds)
        and all(len(column) == len(seeds) for column in measured)
        and all(type(value) in (int, float) and 0 <= value <= 1 for value in fractions)
    )


def _cells(first: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    cells = [row["change"]]
    for key in _ACCURACIES:
        cells.append(percent(spread(row[key])) if key in row else "")
        # In points, over the seeds of both, so that the difference is not one of seeds.
        before, now = (dict(zip(one["seeds"], one.get(key, ()), strict=False)) for one in (first, row))
        less = [now[seed] - before[seed] for seed in now if seed in before]
        cells.append(f"{100 * sum(less) / len(less):+.2f}" if less and row is not first else "")
    return [*cells, ", ".join(map(str, row["seeds"]))]
