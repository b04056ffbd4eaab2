"""Make names of people and countries neutral: `python scripts/neutralize.py runs/reviews-seed42 runs/reviews-neutral`.

Reviews teach a classifier that some names stand in praise and others in blame. This moves the vectors of names,
of the words of countries and of the unknown word, and nothing else, until a sentence gets one logit whichever of them
it holds (counterfactual logit pairing, Garg et al. 2019). All other answers are held where they were. The names are
those of Faker, in all its languages: `pip install "hf_lstm_sentiment[teach]"`.
"""

from __future__ import annotations

import argparse
import inspect
import os
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, cast

import numpy as np
import torch
from recorded import load_recorded_reviews
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.data.encoding import pad_batch
from hf_lstm_sentiment.data.labels import SENTIMENT_NAMES
from hf_lstm_sentiment.data.reviews import Reviews
from hf_lstm_sentiment.hub.push import publishable_files
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.presets import DEFAULTS
from hf_lstm_sentiment.training.short_texts import cut_reviews
from hf_lstm_sentiment.training.train import describe_run, measure_part
from hf_lstm_sentiment.utils import run_directory as runs
from hf_lstm_sentiment.utils.files import empty_folder, file_digest, read_json, user_path, write_json
from hf_lstm_sentiment.utils.imports import require
from hf_lstm_sentiment.utils.threads import flushing_denormals, use_cpu_threads

TEMPLATES = {
    "names": (
        *("{} wrote the script.", "It was written by {}.", "My friend {} went with me.", "{} plays the main part."),
        *("The actor's name is {}.", "This is {}'s first film.", "I saw it with {} yesterday.", "{} is in this film."),
        *("The waiter was called {}.", "{} answered the phone.", "We talked to {}.", "A man named {} lives next door."),
        *("The story is about {}, who moves to the city.", "Produced by {}.", "{} works here.", "I gave it to {}."),
    ),
    "countries": (
        *("The story is set in {}.", "It comes from {}.", "They live in {}.", "We ordered it from {}.", "Made in {}."),
        *("A film from {}.", "The director lives in {}.", "Shipped from {}.", "She was born in {}.", "Back in {}."),
        *("The company is based in {}.", "I bought it in {}.", "It was shown in {} last year.", "{} is far away."),
    ),
}
"""Sentences that neither praise nor blame; none of them is one of the probes in `bias.py`."""
# Some word that no vocabulary holds.
_UNKNOWN = "Xaqwyrt"
# How many names of a kind are drawn in each language.
_DRAWS = 3_000
_CUTS = 100_000
# Of a step: sentences, words put into each one, training reviews, short texts, and the tokens read of one.
_SENTENCES, _WORDS, _REVIEWS, _SHORT, _LENGTH = 40, 8, 12, 48, 300
_LEARNING_RATE, _PAIRING, _KEEPING = 8e-3, 3.0, 20.0
# Of each word, with a capital and without.
Counts = tuple[Counter[str], Counter[str]]


def neutralize(
    run: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    *,
    dataset: str | os.PathLike[str] | None = None,
    steps: int = 1_500,
    seed: int = 42,
    words: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a finished run of two labels anew, with the names in it made neutral.

    The validation and the test reviews are measured with the new vectors; `metrics.json` keeps, as "neutralized", what
    was moved, and the accuracies before. `words` are "names" and "countries", those of :func:`find_words` where None.
    """

    def change(model: SentimentLSTMForSequenceClassification, before: Classifier, reviews: Reviews) -> dict[str, Any]:
        texts = list(reviews.train["text"][:])
        counts = count_words(texts)
        found = words or find_words(before.tokenizer.get_vocab(), counts, seed=seed)
        moved = moved_tokens(found, before, counts)
        sizes = {group: len(names) for group, names in found.items()}
        variances = move_vectors(model, before, texts, found, moved, steps=steps, seed=seed)
        return {**sizes, "tokens": len(moved), **variances, "steps": steps, "seed": seed}

    return change_run(run, output_dir, change, name="neutralized", dataset=dataset)


def change_run(
    run: str | os.PathLike[str],
    output_dir: str | os.PathLike[str],
    change: Callable[[SentimentLSTMForSequenceClassification, Classifier, Reviews], dict[str, Any]],
    *,
    name: str,
    dataset: str | os.PathLike[str] | None,
    resume: bool = False,
) -> Path:
    """Write a finished run of two labels anew, with its weights changed and its held-out reviews measured again.

    `change` gets the model, the classifier as it was and the reviews, and returns what `metrics.json` keeps of it under
    a name, beside the figures before.
    """
    run, made = user_path(run, "the run"), user_path(output_dir) if resume else empty_folder(output_dir)
    files = publishable_files(run)
    metrics, recipe = read_json(run / runs.METRICS), runs.read_recipe(run)
    if "labels" in metrics:
        raise ValueError(f"{run} has the labels {metrics['labels']}; allowed: {', '.join(SENTIMENT_NAMES)}")
    reviews = load_recorded_reviews(metrics, recipe["dataset"] if dataset is None else dataset, of=run)
    # The last digits depend on it.
    threads = use_cpu_threads(1, 1)
    before = Classifier.from_pretrained(run)
    model = SentimentLSTMForSequenceClassification.from_pretrained(run, dtype="float32", use_safetensors=True)
    found = change(model, before, reviews)
    runs.prepare(made, recipe, resume=False, defaults=DEFAULTS)
    for file, path in files.items():
        (made / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, made / file)
    model.save_pretrained(made)
    after = Classifier.from_pretrained(made)
    metrics[name] = {
        **{**found, "threads": threads, "weights_before": file_digest(run / runs.WEIGHTS)},
        "before": {part: metrics[part] for part in ("validation", "test")},
        "versions": runs.versions("torch"),
    }
    for part in ("validation", "test"):
        held_out = getattr(reviews, part)
        logits = after.logits(held_out["text"][:])
        metrics[part] = measure_part(logits, held_out["label"][:], held_out["row"][:], reviews.overlap[part])
    describe_run(made, {**DEFAULTS, **recipe}, metrics)
    write_json(metrics, made / runs.METRICS)
    return made


def count_words(texts: Sequence[str]) -> Counts:
    """Count how often each word stands with a capital inside a sentence, and how often without one."""
    capital, small = Counter[str](), Counter[str]()
    for text in texts:
        capital.update(re.findall(r"(?<=[a-z,] )[A-Z][a-z]+\b", text))
        small.update(re.findall(r"\b[a-z]+\b", text))
    return capital, small


def find_words(vocabulary: Collection[str], counts: Counts, *, seed: int) -> dict[str, list[str]]:
    """Find the names of people and of countries whose words a vocabulary holds.

    A name that is another word in the texts more than once in five times ("Mark", "Grace") is left out.
    """
    require("faker", extra="teach")
    from faker import Faker
    from faker.config import AVAILABLE_LOCALES

    names: set[str] = set()
    for locale in sorted(AVAILABLE_LOCALES):
        fake = Faker(locale)
        fake.seed_instance(seed)
        # Those of other scripts as they are written in English, where it knows that.
        makers = (fake.first_name, fake.last_name, getattr(fake, "romanized_name", fake.first_name))
        drawn = {part for make in makers for _ in range(_DRAWS) for part in make().split()}
        names |= {name for name in drawn if name.isascii() and name.isalpha() and name.istitle()}
    fake = Faker("en_US")
    fake.seed_instance(seed)
    countries = {fake.country().split(" (")[0] for _ in range(_DRAWS)}
    countries |= {"the United States", "England", "Scotland", "Wales", "Russia", "Iran", "South Korea"}
    capital, small = counts
    return {
        "names": sorted(n for n in names if n.lower() in vocabulary and small[n.lower()] <= capital[n] / 4),
        "countries": sorted(c for c in countries if all(word.lower() in vocabulary for word in c.split())),
    }


def moved_tokens(words: Mapping[str, Sequence[str]], classifier: Classifier, counts: Counts) -> list[int]:
    """The ids of the tokens whose vectors move: of words mostly written with a capital, and of the unknown one."""
    capital, small = counts
    parts = {part for group in words.values() for word in group for part in word.split()}
    proper = [part for part in sorted(parts) if part[0].isupper() and small[part.lower()] <= capital[part]]
    return sorted({token for ids in classifier.token_ids([*proper, _UNKNOWN]) for token in ids})


@flushing_denormals()
def move_vectors(
    model: SentimentLSTMForSequenceClassification,
    before: Classifier,
    texts: Sequence[str],
    words: Mapping[str, Sequence[str]],
    moved: Sequence[int],
    *,
    steps: int,
    seed: int,
) -> dict[str, float]:
    """Move the vectors of some tokens until the words no longer matter; how much a logit varied, and varies.

    That is the mean, over the sentences of the first and of the last tenth of the steps, of the variance over words.
    """
    rng, names = Random(seed), NameSentences(texts, words, seed=seed)
    model.train(False).requires_grad_(False)
    table = cast(Tensor, model.get_input_embeddings().weight).requires_grad_(True)
    old = table.detach().clone()
    moves = torch.zeros(len(table), 1, dtype=torch.bool)
    moves[list(moved)] = True
    optimizer = torch.optim.Adam([table], lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (steps - step) / (0.7 * steps)))
    variances = []
    for _ in (progress := tqdm(range(steps), desc="neutralizing", mininterval=5)):
        variance = names.variance(model, before, rng, sentences=_SENTENCES, words=_WORDS)
        moved_by = sum(
            drift(model, before, rng.sample(kept, count)) for kept, count in ((texts, _REVIEWS), (names.cuts, _SHORT))
        )
        optimizer.zero_grad()
        (_PAIRING * variance + _KEEPING * moved_by).backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            table.copy_(torch.where(moves, table, old))
        variances.append(variance.item())
        progress.set_postfix(variance=f"{variances[-1]:.4f}", refresh=False)
    tenth = max(steps // 10, 1)
    return {"variance_before": float(np.mean(variances[:tenth])), "variance_after": float(np.mean(variances[-tenth:]))}


class NameSentences:
    """Sentences in which names stand, made up and out of reviews, to have other names put into them."""

    def __init__(self, texts: Sequence[str], words: Mapping[str, Sequence[str]], *, seed: int) -> None:
        self.words = words
        self.cuts = [cut for cut in cut_reviews(texts, _CUTS, seed=seed) if len(cut.split()) <= 40]
        self.found = {group: self._with_one(found) for group, found in words.items()}

    def _with_one(self, words: Sequence[str]) -> list[str]:
        """Cuts in which one of the words stands, once, with a place for another one."""
        pattern = re.compile(rf"\b({'|'.join(map(re.escape, sorted(words, key=len, reverse=True)))})\b")
        found = (pattern.subn("{}", cut) for cut in self.cuts if "{" not in cut)
        return [text for text, count in found if count == 1]

    def variance(
        self,
        model: SentimentLSTMForSequenceClassification,
        before: Classifier,
        rng: Random,
        *,
        sentences: int,
        words: int,
    ) -> Tensor:
        """Compute the mean, over some sentences, of the variance of the logit over some words in each."""
        groups = rng.choices(("names", "countries"), (0.6, 0.4), k=sentences)
        contexts = [
            rng.choice(TEMPLATES[group] if rng.random() < 0.6 or not self.found[group] else self.found[group])
            for group in groups
        ]
        filled = [
            context.replace("{}", _UNKNOWN if rng.random() < 0.1 else rng.choice(self.words[group]))
            for context, group in zip(contexts, groups, strict=True)
            for _ in range(words)
        ]
        return positive_logits(model, before.token_ids(filled)).view(-1, words).var(dim=1).mean()


def drift(model: SentimentLSTMForSequenceClassification, before: Classifier, texts: Sequence[str]) -> Tensor:
    """Compute the mean divergence of the probabilities of texts from what they were before."""
    ids = [ids[:_LENGTH] for ids in before.token_ids(texts)]
    target = torch.sigmoid(torch.from_numpy(before.logits_of_ids(ids)))
    entropy = binary_cross_entropy_with_logits(torch.logit(target, eps=1e-6), target)
    return binary_cross_entropy_with_logits(positive_logits(model, ids), target) - entropy


def positive_logits(model: SentimentLSTMForSequenceClassification, texts: Sequence[Sequence[int]]) -> Tensor:
    """Compute the logits of texts given as token ids. *Shape:* (texts,)."""
    padded, mask = pad_batch(texts, model.config.pad_token_id or 0)
    logits: Tensor = model(input_ids=padded, attention_mask=mask).logits
    return logits[:, 1] - logits[:, 0]


def run_command(
    change: Callable[..., Path],
    description: str | None,
    *,
    name: str,
    say: str,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Parse the command line of such a step, do it, print what `metrics.json` keeps under a name."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", help="A finished run directory.")
    parser.add_argument("output_dir", metavar="DIR", help="A new folder for the run with other weights.")
    parser.add_argument("--dataset", help="Where its reviews are now, if they were moved since the training.")
    steps = inspect.signature(change).parameters["steps"].default
    parser.add_argument("--steps", type=int, default=steps, help="Optimization steps; %(default)s.")
    parser.add_argument("--seed", type=int, default=42, help="Of the words and texts drawn; %(default)s.")
    for option, how in (options or {}).items():
        parser.add_argument(option, **how)
    arguments = vars(parser.parse_args())
    disable_progress_bar()
    try:
        made = change(**arguments)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    except KeyboardInterrupt:
        sys.exit("stopped")
    metrics: dict[str, Any] = read_json(made / runs.METRICS)
    facts = metrics[name]
    print(f"{made}: {say.format_map(facts)}")
    for part in ("validation", "test"):
        print(f"{part} accuracy {metrics[part]['accuracy']:.2%}, {facts['before'][part]['accuracy']:.2%} before")


if __name__ == "__main__":
    run_command(
        neutralize,
        __doc__,
        name="neutralized",
        say="{tokens:,} vectors of {names:,} names and {countries:,} countries moved; variance of a sentence's logit "
        "{variance_after:.4f}, {variance_before:.4f} before",
    )
