"""Padding read by a recurrent network, measured: why v0 of the study fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.encoding import pad_batch
from ..inference.classifier import Classifier
from ..model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from .errors import ScoredReviews, group

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 192)
# Upper limits of the groups of reviews by the padding behind them.
_EDGES = (0, 64, 128, 160, 192)
_REVIEWS = 1_000
_BATCH = 50


def measure_padding(
    naive: Path, packed: Path, naive_scored: ScoredReviews, packed_scored: ScoredReviews
) -> dict[str, Any]:
    """Measure how the signal in the final state fades with every step of padding that is read as if it were words.

    Returns:
        JSON-ready. "roc_auc" of the logit after each of "steps" of padding, for the weights of either run; "gradient",
        the norm of the gradient of the final logit for the last word's vector in an untrained model, relative to that
        without padding; "accuracy" of both runs on the test reviews, in groups by the padding behind them.
    """
    torch.manual_seed(0)
    models = {
        name: SentimentLSTMForSequenceClassification.from_pretrained(run).eval()
        for name, run in (("naive", naive), ("packed", packed))
    }
    ids, lengths, labels = _sample(packed, packed_scored)
    untrained = SentimentLSTMForSequenceClassification(models["packed"].config)
    untrained.train(False)
    gradients = [_gradient(untrained, ids[:256], lengths[:256], steps) for steps in STEPS]
    return {
        "reviews": len(labels),
        "steps": list(STEPS),
        "roc_auc": {
            name: [_auc(labels, _logits(model, ids, lengths, steps)) for steps in STEPS]
            for name, model in models.items()
        },
        "gradient": [norm / gradients[0] for norm in gradients],
        "accuracy": {"naive": _by_padding(naive_scored), "packed": _by_padding(packed_scored)},
    }


def _sample(run: Path, scored: ScoredReviews) -> tuple[Tensor, Tensor, np.ndarray]:
    """Token ids, lengths and labels of some reviews. *Shape:* (reviews, longest), (reviews,), (reviews,)."""
    classifier = Classifier.from_pretrained(run)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(scored.tokens > 0))[:_REVIEWS]
    reviews = [ids[: scored.max_length] for ids in classifier.token_ids([scored.texts[i] for i in chosen])]
    ids, mask = pad_batch(reviews, int(classifier.config.pad_token_id or 0))
    return ids, mask.sum(1), scored.labels[chosen]


def _padded(ids: Tensor, lengths: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Reviews with so many steps of padding behind each, and a mask that has them read."""
    padded = torch.nn.functional.pad(ids, (0, steps))
    return padded, (torch.arange(padded.size(1)) < (lengths + steps)[:, None]).long()


def _logits(model: SentimentLSTMForSequenceClassification, ids: Tensor, lengths: Tensor, steps: int) -> np.ndarray:
    # The mask says what is read; without this, a naive model would read the padding of the batch too.
    model.config.naive_padding = False
    padded, mask = _padded(ids, lengths, steps)
    with torch.inference_mode():
        parts = [
            model(input_ids=padded[i : i + _BATCH], attention_mask=mask[i : i + _BATCH]).logits[:, 1]
            for i in range(0, len(ids), _BATCH)
        ]
    return np.asarray(torch.cat(parts))


def _gradient(model: SentimentLSTMForSequenceClassification, ids: Tensor, lengths: Tensor, steps: int) -> float:
    """Norm of the gradient of the logit for the vector of the last word, mean over reviews."""
    padded, mask = _padded(ids, lengths, steps)
    vectors = model.get_input_embeddings()(padded).detach().requires_grad_()
    logit = model(inputs_embeds=vectors, attention_mask=mask).logits[:, 1].sum()
    (gradient,) = torch.autograd.grad(logit, vectors)
    return float(gradient[torch.arange(len(ids)), lengths - 1].norm(dim=-1).mean())


def _auc(labels: np.ndarray, logits: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, logits))


def _by_padding(scored: ScoredReviews) -> list[dict[str, Any]]:
    padding = scored.max_length - np.minimum(scored.tokens, scored.max_length)
    groups = np.searchsorted(_EDGES, padding)
    rows = []
    for place in np.unique(groups):
        chosen = groups == place
        lower = 0 if place == 0 else _EDGES[place - 1] + 1
        upper = _EDGES[place] if place < len(_EDGES) else scored.max_length
        found = group("", int(scored.correct[chosen].sum()), int(chosen.sum()))
        kept = {name: found[name] for name in ("reviews", "accuracy", "low", "high")}
        rows.append({"padding": f"{lower}" if lower == upper else f"{lower} to {upper}", **kept})
    return rows
