"""Explain a decision token by token: `python scripts/explain.py "Slow at first."`.

`--picture FILE.png` and `--html FILE.html` draw it. `--faithfulness DATASET` measures whether the tokens of the highest
attributions are those that the decision rests on: it deletes the top tenth of the tokens of some test reviews, and as
many random ones.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from hf_lstm_sentiment import Explainer
from hf_lstm_sentiment.inference.classifier import sigmoid
from hf_lstm_sentiment.inference.explanation import Explanation


def main() -> None:
    """Parse the command line, explain, measure, print."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="?", default="Slow at first, but worth it in the end.", help="The review.")
    parser.add_argument(
        "--model", help="A run directory or a repository of the Hub; the one in the package by default."
    )
    parser.add_argument("--picture", metavar="FILE", help="Draw the probabilities and the attributions, a PNG file.")
    parser.add_argument("--html", metavar="FILE", help="Write a page of its own.")
    parser.add_argument("--json", metavar="FILE", help="Write the explanation, and what was measured.")
    parser.add_argument("--faithfulness", metavar="DATASET", help="Measure on test reviews of what train.py takes.")
    parser.add_argument("--reviews", type=int, default=500, help="Test reviews to measure on.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the reviews and of the random tokens.")
    parser.add_argument("--num_threads", type=int, help="CPU threads; all cores by default.")
    arguments = parser.parse_args()
    try:
        run(arguments)
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")


def run(arguments: argparse.Namespace) -> None:
    """Do what the command line asks for."""
    if arguments.num_threads is not None:
        if arguments.num_threads < 1:
            raise ValueError(f"num_threads is {arguments.num_threads}; allowed: at least 1")
        torch.set_num_threads(arguments.num_threads)
    explainer = Explainer.from_pretrained(arguments.model)
    explanation = explainer(arguments.text)
    show(explanation)
    found = {"explanation": explanation.to_dict()}
    if arguments.picture:
        explanation.plot(arguments.picture)
    if arguments.html:
        Path(arguments.html).write_text(explanation.to_html(), encoding="utf-8")
    if arguments.faithfulness:
        from hf_lstm_sentiment import load_reviews

        if arguments.reviews < 2:
            raise ValueError(f"reviews is {arguments.reviews}; allowed: at least 2")
        reviews = load_reviews(arguments.faithfulness, max_test_samples=arguments.reviews, split_seed=arguments.seed)
        measured = deletion_faithfulness(explainer, reviews.test["text"], seed=arguments.seed)
        low, high = measured.interval
        print(
            f"\nfaithfulness, {measured.texts} test reviews of {reviews.source}, seed {arguments.seed}: without "
            f"{100 * measured.share:.0f} % of the tokens, the probability of the decision drops by\n"
            f"  {100 * measured.drop_top:6.2f} points  tokens of the highest attributions\n"
            f"  {100 * measured.drop_random:6.2f} points  random tokens\n"
            f"  {100 * measured.difference:6.2f} points  difference (95 %: {100 * low:.2f} to {100 * high:.2f})"
        )
        found["faithfulness"] = {**asdict(measured), "source": reviews.source, "seed": arguments.seed}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
        sign = 1 if explanation.logit > 0 else -1
        attributions = np.array([word.contribution for word in explanation.words[: len(ids)]])
        count = max(1, round(share * len(ids)))
        top = np.argsort(-sign * attributions, kind="stable")[:count]
        random = generator.choice(len(ids), count, replace=False)
        after = classifier.logits_of_ids([np.delete(ids, places).tolist() for places in (top, random)])
        drops.append(explanation.score - sigmoid(sign * after))
    if len(drops) < 2:
        raise ValueError(f"{len(drops)} of {len(texts)} texts have a token; an interval needs at least 2")
    drop_top, drop_random = np.mean(drops, axis=0)
    paired = np.subtract(*np.transpose(drops))
    margin = 1.96 * float(paired.std(ddof=1)) / math.sqrt(len(paired))
    mean = float(paired.mean())
    return DeletionFaithfulness(
        len(drops), share, float(drop_top), float(drop_random), mean, (mean - margin, mean + margin)
    )


def show(explanation: Explanation) -> None:
    """Print a line per token: its attribution, the probability after it, and a bar that starts at 50 %."""
    print(f"{explanation.label} {100 * explanation.score:.1f} %")
    for word in explanation.words:
        if word.contribution is None or word.probability is None:
            break
        mark = "?" if word.unknown else " "
        filled = round(40 * word.probability)
        bar = "".join("█" if min(filled, 20) <= i < max(filled, 20) else "|" if i == 20 else " " for i in range(40))
        print(f"{word.text[:20]:>20}{mark} {word.contribution:+7.3f}  {100 * word.probability:5.1f} %  {bar.rstrip()}")
    unread = sum(word.truncated for word in explanation.words) + explanation.words_left_out
    if unread:
        print(f"{unread:,} more tokens are not read")


if __name__ == "__main__":
    main()
