"""Parts of labelled reviews, drawn by class and seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .labels import class_counts, whole_numbers

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray


def _stratified(part: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` reviews with the classes in the proportions of the whole, in rising order."""
    from sklearn.utils import resample

    labels = whole_numbers(part, "label")
    return np.sort(resample(np.arange(len(part)), replace=False, n_samples=count, stratify=labels, random_state=seed))


def split_off(part: Dataset, fraction: float, seed: int) -> tuple[Dataset, Dataset]:
    """Take a stratified share off reviews.

    Args:
        part: The reviews.
        fraction: The share, above 0 and below 1.
        seed: Of the draw.

    Returns:
        What remains, and the share.

    Raises:
        ValueError: There are too few reviews for both classes on both sides.
    """
    rarer = min(class_counts(part))
    count = round(fraction * len(part))
    if round(fraction * rarer) < 1 or round((1 - fraction) * rarer) < 1:
        raise ValueError(
            f"{len(part)} reviews, {rarer} of the rarer class, are too few to split off {fraction:.0%} with both "
            f"classes on both sides; at least {math.ceil(1 / min(fraction, 1 - fraction))} of each class are needed"
        )
    taken = _stratified(part, count, seed)
    rest = np.setdiff1d(np.arange(len(part)), taken)
    return part.select(rest), part.select(taken)


def stratified_sample(part: Dataset, count: int, seed: int, key: str) -> Dataset:
    """Draw reviews with the classes in the proportions of the whole.

    Args:
        part: The reviews.
        count: How many to draw.
        seed: Of the draw.
        key: What the part is called, for the message.

    Raises:
        ValueError: Too few for both classes.
    """
    if count < 2:
        raise ValueError(f"max_{key}_samples is {count}; allowed: at least 2, one review of each class")
    sample = part.select(_stratified(part, count, seed))
    if not all(class_counts(sample)):
        raise ValueError(f"a sample of {count} out of {len(part)} reviews misses a class; raise max_{key}_samples")
    return sample
