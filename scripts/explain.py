"""See what a model thinks of a review, word by word: `python scripts/explain.py "Slow at first."`.

`--picture FILE.png` and `--html FILE.html` draw it. `--faithfulness DATASET` measures whether the words that it points
at are those that the decision rests on: it deletes the top tenth of the words of some test reviews, and as many random
ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from hf_lstm_sentiment import Explainer
from hf_lstm_sentiment.inference.explain import deletion_faithfulness
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
    parser.add_argument("--picture", metavar="FILE", help="Draw the curve and the contributions, a PNG file.")
    parser.add_argument("--html", metavar="FILE", help="Write a page of its own.")
    parser.add_argument("--json", metavar="FILE", help="Write the explanation, and what was measured.")
    parser.add_argument("--faithfulness", metavar="DATASET", help="Measure on test reviews of what train.py takes.")
    parser.add_argument("--reviews", type=int, default=500, help="Test reviews to measure on.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the reviews and of the random words.")
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
            f"{100 * measured.share:.0f} % of the words, the probability of the decision drops by\n"
            f"  {100 * measured.drop_top:6.2f} points  words of the highest contributions\n"
            f"  {100 * measured.drop_random:6.2f} points  random words\n"
            f"  {100 * measured.difference:6.2f} points  difference (95 %: {100 * low:.2f} to {100 * high:.2f})"
        )
        found["faithfulness"] = {**asdict(measured), "source": reviews.source, "seed": arguments.seed}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def show(explanation: Explanation) -> None:
    """Print a line per word: its share, the opinion after it, and a bar that starts at 50 %."""
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
        print(f"{unread:,} more words are not read")


if __name__ == "__main__":
    main()
