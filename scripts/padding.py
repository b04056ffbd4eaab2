"""Measure what padding does to a network that reads it, for the study (`model_cards/STUDY.md`).

    python scripts/padding.py runs/v0_naive-seed42 runs/v1-seed42

Both runs are of two labels and on the same reviews; the second one takes its last state.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from hf_lstm_sentiment.data.encoding import pad_batch
from hf_lstm_sentiment.data.reviews import load_run_reviews
from hf_lstm_sentiment.evaluation.errors import ScoredReviews, group, score_run
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.figures import BLUE, GREY, LABEL_SIZE, ORANGE, TICK_SIZE, new_figure, style, write_figure
from hf_lstm_sentiment.utils.files import read_json, write_json

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
        name: SentimentLSTMForSequenceClassification.from_pretrained(run, use_safetensors=True).eval()
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
            name: [float(roc_auc_score(labels, _logits(model, ids, lengths, steps))) for steps in STEPS]
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


def plot_padding(found: Mapping[str, Any], path: Path, *, names: Sequence[str]) -> Path:
    """Draw what `measure_padding` found of the preset that reads its padding, and of the one that does not."""
    figure = new_figure(10, 7.6, "What padding does to a network that reads it as if it were words")
    (fade, gradient), (accuracy, curve) = figure.subplots(2, 2)
    steps, looks = found["steps"], (("naive", ORANGE, "o"), ("packed", BLUE, "s"))
    signal = f"signal left in the final state, {found['reviews']:,} test reviews"
    style(fade, signal, "steps of padding read", "area under the ROC curve")
    for (kind, color, marker), name in zip(looks, names, strict=True):
        fade.plot(steps, found["roc_auc"][kind], color=color, marker=marker, linewidth=2, label=f"weights of {name}")
    fade.axhline(0.5, color=GREY, linewidth=1, linestyle=":")
    fade.legend(fontsize=TICK_SIZE, frameon=False)
    style(gradient, "what reaches the last word, untrained weights", "steps of padding read", "gradient, relative")
    # Where nothing of it is left, there is no logarithm to draw.
    left = [(step, value) for step, value in zip(steps, found["gradient"], strict=True) if value > 0]
    gradient.plot(*zip(*left, strict=True), color=GREY, marker="o", linewidth=2)
    gradient.set_xlim(fade.get_xlim())
    gradient.set_yscale("log")
    behind, up_to = "test reviews by the padding behind them", "steps of padding up to the full length"
    style(accuracy, behind, up_to, "classified correctly, %")
    for offset, (kind, color, marker), name in zip((-0.1, 0.1), looks, names, strict=True):
        rows = found["accuracy"][kind]
        middle = np.array([100 * row["accuracy"] for row in rows])
        reach = [middle - [100 * row["low"] for row in rows], [100 * row["high"] for row in rows] - middle]
        places = np.arange(len(rows)) + offset
        accuracy.errorbar(places, middle, yerr=reach, fmt=marker, color=color, capsize=3, label=name)
    labels = [f"{row['padding'].replace(' to ', '-')}\n{row['reviews']:,}" for row in found["accuracy"]["naive"]]
    accuracy.set_xticks(range(len(labels)), labels, fontsize=TICK_SIZE - 1)
    accuracy.axhline(50, color=GREY, linewidth=1, linestyle=":")
    accuracy.legend(fontsize=TICK_SIZE, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.02), ncols=2)
    curve.axis("off")
    lines = (
        "How to read it\n",
        "Top left: after the review, so many steps of padding are",
        "read; the logit is judged by how well it still ranks",
        "positive above negative reviews (0.5: not at all).\n",
        "Top right: before any training, how strongly the loss can",
        "pull on the last word through the padding behind it",
        "(no point: not at all).\n",
        f"Bottom left: {names[0]} and {names[1]} on real test reviews,",
        "with 95 % intervals; below each group its reviews.",
    )
    curve.text(0.0, 0.95, "\n".join(lines), va="top", fontsize=LABEL_SIZE)
    return write_figure(figure, path)


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, write `padding.json` and `padding.png`."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("naive", metavar="NAIVE", type=Path, help="A finished run that reads its padding.")
    parser.add_argument("packed", metavar="PACKED", type=Path, help="One that does not.")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/comparison"), help="%(default)s.")
    options = parser.parse_args(words)
    try:
        both = (options.naive, options.packed)
        reviews = load_run_reviews(runs.read_recipe(options.packed))
        metrics = [read_json(run / runs.METRICS) for run in both]
        scored = [score_run(run, of, reviews) for run, of in zip(both, metrics, strict=True)]
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    found = measure_padding(*both, *scored)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    write_json(found, options.output_dir / "padding.json")
    plot_padding(found, options.output_dir / "padding.png", names=[of["preset"] for of in metrics])


if __name__ == "__main__":
    main()
