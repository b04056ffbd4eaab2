"""The reviews of a finished run, split again as they were for its training."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..training.presets import PRESETS, V1
from ..utils import run_directory as runs
from ..utils.messages import differences
from .reviews import Reviews, load_reviews

_LIMITS = ("max_train_samples", "max_validation_samples", "max_test_samples")
_SAMPLING = ("text_column", "label_column", "split_seed", *_LIMITS)
# What tells one split from another, out of the "dataset" of `metrics.json`; the source's name changes with its place.
SPLIT = ("train", "validation", "test", "split_seed", "held_out")


def load_run_reviews(recipe: Mapping[str, Any]) -> Reviews:
    """The reviews that a run was trained and tested on.

    Args:
        recipe: From `runs.read_recipe`.
    """
    known = {name: recipe[name] for name in _SAMPLING if name in recipe}
    return load_reviews(
        recipe["dataset"], validation_fraction=recipe.get("validation_fraction", V1.validation_fraction), **known
    )


def load_recorded_reviews(
    metrics: Mapping[str, Any], dataset: str | os.PathLike[str], *, of: str | os.PathLike[str]
) -> Reviews:
    """The reviews that a run was trained and tested on, by what its results say of them.

    Args:
        metrics: The content of its `metrics.json`, which a pushed run has too.
        dataset: Where the reviews lie, as for `load_reviews`.
        of: What the run is called, for messages.

    Raises:
        ValueError: The results do not say how the reviews were split, or these are others.
        FileNotFoundError, ModuleNotFoundError, ConnectionError: As `load_reviews`.
    """
    try:
        recorded, options = metrics["dataset"], metrics["options"]
        split = {name: recorded[name] for name in SPLIT}
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{runs.METRICS} of {of} does not say how its reviews were split ({error} is missing); name a run that "
            "this package trained"
        ) from error
    known = {name: options[name] for name in _SAMPLING if name in options}
    reviews = load_reviews(
        dataset,
        validation_fraction=_validation_fraction(metrics),
        **{**known, "split_seed": split["split_seed"]},
    )
    now = reviews.summary()
    if changed := differences(split, {name: now[name] for name in SPLIT}):
        raise ValueError(
            f"{dataset} does not hold the reviews of {of}: {changed}; name the source that it was read from"
        )
    return reviews


def _validation_fraction(metrics: Mapping[str, Any]) -> float:
    """The share that was split off; `metrics.json` has what came of it."""
    recorded, options = metrics["dataset"], metrics["options"]
    if not any(options.get(name) for name in _LIMITS[:2]):
        return float(recorded["validation"] / (recorded["train"] + recorded["validation"]))
    # Samples were drawn from the parts, so that their sizes do not tell.
    return PRESETS.get(metrics.get("preset", ""), V1).validation_fraction
