"""Stratified splits and samples: every label in the proportion of the whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..utils.messages import listed
from .labels import class_counts, missing_labels, whole_numbers

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray


def _stratified(part: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` reviews with the classes in the proportions of the whole, in rising order."""
    from sklearn.utils import resample

    labels = whole_numbers(part, "label")
    return np.sort(resample(np.arange(len(part)), replace=False, n_samples=count, stratify=labels, random_state=seed))


def split_off(part: Dataset, fraction: float, seed: int, names: Sequence[str]) -> tuple[Dataset, Dataset]:
    """Take a stratified share off reviews: what remains, and the share; each has every label."""
    counts = class_counts(part, len(names))
    if min(round(share * min(counts)) for share in (fraction, 1 - fraction)) >= 1:
        taken = _stratified(part, round(fraction * len(part)), seed)
        both = part.select(np.setdiff1d(np.arange(len(part)), taken)), part.select(taken)
        if not any(missing_labels(side, names) for side in both):
            return both
    least = math.ceil(1 / min(fraction, 1 - fraction))
    few = (f"{count:,} of {name!r}" for count, name in sorted(zip(counts, names, strict=True)) if count < least)
    raise ValueError(
        f"{len(part):,} reviews, {listed(few) or f'{min(counts):,} of the rarest label'}, are too few to split off "
        f"{fraction:.0%} with every label on both sides; at least {least} of each label are needed; add reviews, or "
        "give labels one name or none with --labels"
    )


def stratified_sample(part: Dataset, count: int, seed: int, option: str, names: Sequence[str]) -> Dataset:
    """Draw reviews with the classes in the proportions of the whole."""
    if count < len(names):
        raise ValueError(f"{option} is {count}; allowed: at least {len(names)}, one review of each label")
    sample = part.select(_stratified(part, count, seed))
    if missing := [name for name in missing_labels(sample, names) if name not in missing_labels(part, names)]:
        raise ValueError(
            f"a sample of {count:,} out of {len(part):,} reviews holds none of {listed(missing)}; raise {option}"
        )
    return sample
