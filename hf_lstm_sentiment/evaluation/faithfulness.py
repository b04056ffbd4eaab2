"""Faithfulness of attributions: what deleting the tokens that they point at does to the decision."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..inference.classifier import probabilities
from ..inference.explain import Explainer

_SHARE = 0.1


def deletion_faithfulness(explainer: Explainer, texts: Sequence[str], *, seed: int = 0) -> dict[str, Any]:
    """Measure whether the attributions point at the tokens that the decision rests on.

    Of the tokens that the model reads, the tenth with the highest attributions towards the decision are deleted, at
    least one, and in their place as many random ones. "Comprehensiveness" of DeYoung et al. (2020),
    https://arxiv.org/abs/1911.03429, with random tokens for comparison. Texts without a token are not measured.

    Returns:
        "texts", how many, and the "share" of their tokens that was deleted; "drop_top" and "drop_random", the mean
        drops of the probability of the decided label; their "difference", and its "interval" of 1.96 standard errors
        of the paired differences.
    """
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
        count = max(1, round(_SHARE * len(ids)))
        top = np.argsort(-sign * attributions, kind="stable")[:count]
        random = generator.choice(len(ids), count, replace=False)
        after = classifier.logits_of_ids([np.delete(ids, places).tolist() for places in (top, random)])
        drops.append(explanation.score - probabilities(after)[:, classifier.labels.index(explanation.label)])
    if len(drops) < 2:
        raise ValueError(f"{len(drops)} of {len(texts)} texts have a token; an interval needs at least 2")
    drop_top, drop_random = np.mean(drops, axis=0).tolist()
    paired = np.subtract(*np.transpose(drops))
    mean, margin = float(paired.mean()), 1.96 * float(paired.std(ddof=1)) / len(paired) ** 0.5
    return {
        "texts": len(drops),
        "share": _SHARE,
        "drop_top": drop_top,
        "drop_random": drop_random,
        "difference": mean,
        "interval": (mean - margin, mean + margin),
    }
