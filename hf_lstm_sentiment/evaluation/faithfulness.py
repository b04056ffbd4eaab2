"""Faithfulness of attributions: what deleting the tokens that they point at does to the decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..inference.classifier import probabilities
from ..inference.explain import Explainer


@dataclass(frozen=True)
class DeletionFaithfulness:
    """How much deleting the tokens of the highest attributions hurts, against deleting any.

    Attributes:
        texts: Reviews measured; those without a token are not.
        share: Part of the tokens of each review that was deleted, at least one token.
        drop_top: Mean drop in the probability of the decided label without the tokens of the highest attributions.
        drop_random: The same without as many tokens drawn at random.
        difference: `drop_top - drop_random`.
        interval: Where the difference lies with 95 % confidence: 1.96 standard errors of the paired differences.
    """

    texts: int
    share: float
    drop_top: float
    drop_random: float
    difference: float
    interval: tuple[float, float]


def deletion_faithfulness(
    explainer: Explainer, texts: Sequence[str], *, share: float = 0.1, seed: int = 0
) -> DeletionFaithfulness:
    """Measure whether the attributions point at the tokens that the decision rests on.

    Of the tokens that the model reads, those with the highest attributions towards the decision are deleted, and in
    their place as many random ones. "Comprehensiveness" of DeYoung et al. (2020), https://arxiv.org/abs/1911.03429,
    with random tokens for comparison.

    Args:
        explainer: The model.
        texts: Reviews.
        share: Part of the tokens of each that is deleted, at least one token.
        seed: Seed of the random tokens.

    Raises:
        ValueError: The share is none, or fewer than two of the texts have a token.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; allowed: 0 < share <= 1")
    generator = np.random.default_rng(seed)
    classifier = explainer.classifier
    drops = []
    for text in texts:
        ids = classifier.token_ids([text])[0][: classifier.max_length]
        if not ids:
            continue
        explanation = explainer(text)
        sign = 1 if explanation.label == explanation.target else -1
        attributions = np.array([word.contribution for word in explanation.words[: len(ids)]])
        count = max(1, round(share * len(ids)))
        top = np.argsort(-sign * attributions, kind="stable")[:count]
        random = generator.choice(len(ids), count, replace=False)
        after = classifier.logits_of_ids([np.delete(ids, places).tolist() for places in (top, random)])
        drops.append(explanation.score - probabilities(after)[:, classifier.labels.index(explanation.label)])
    if len(drops) < 2:
        raise ValueError(f"{len(drops)} of {len(texts)} texts have a token; an interval needs at least 2")
    drop_top, drop_random = np.mean(drops, axis=0)
    paired = np.subtract(*np.transpose(drops))
    margin = 1.96 * float(paired.std(ddof=1)) / math.sqrt(len(paired))
    mean = float(paired.mean())
    return DeletionFaithfulness(
        len(drops), share, float(drop_top), float(drop_random), mean, (mean - margin, mean + margin)
    )
