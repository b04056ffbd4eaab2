"""Explain a decision token by token: the probability after each one, and its attribution.

--faithfulness measures whether the tokens of the highest attributions are those that the decision rests on: it deletes
the top tenth of the tokens of some test reviews, and as many random ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .console import add_threads, described, say, typed, use_threads

if TYPE_CHECKING:
    from ..inference.explanation import Explanation


def main(words: Sequence[str]) -> None:
    """Parse the command line, explain, measure, print."""
    examples = (
        '% "Slow at first, but worth it in the end."',
        '% "A moving film." --html moving.html --model runs/mine',
    )
    parser = argparse.ArgumentParser(**described("explain", __doc__, *examples, usage="[TEXT | -]"))
    parser.add_argument(
        "text", nargs="?", default="Slow at first, but worth it in the end.", help="The review; - for standard input."
    )
    parser.add_argument("--model", metavar="RUN_OR_REPO", help="Run directory or Hub repository; the package's own.")
    parser.add_argument("--label", metavar="NAME", help="Explain this label; of two the second, of more the answer.")
    parser.add_argument("--picture", metavar="FILE", help="Draw the probabilities and the attributions, a PNG file.")
    parser.add_argument("--html", metavar="FILE", help="Write a page of its own.")
    parser.add_argument("--json", metavar="FILE", help="Write the explanation, and what was measured.")
    parser.add_argument("--faithfulness", metavar="DATASET", help="Measure on test reviews of what train takes.")
    parser.add_argument(
        "--reviews", metavar="N", type=int, default=500, help="Test reviews to measure on; %(default)s."
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="Of the reviews and of the random tokens.")
    add_threads(parser)
    arguments = parser.parse_args(typed(parser, words))

    from ..inference.explain import Explainer

    use_threads(arguments.num_threads)
    explainer = Explainer.from_pretrained(arguments.model)
    text = sys.stdin.buffer.read().decode("utf-8").rstrip() if arguments.text == "-" else arguments.text
    explanation = explainer(text, label=arguments.label)
    _show(explanation)
    found = {"explanation": explanation.to_dict()}
    if arguments.picture:
        explanation.plot(arguments.picture)
    if arguments.html:
        Path(arguments.html).write_text(explanation.to_html(), encoding="utf-8")
    if arguments.faithfulness:
        from ..data.reviews import load_reviews
        from ..evaluation.faithfulness import deletion_faithfulness

        if arguments.reviews < 2:
            raise ValueError(f"reviews is {arguments.reviews}; allowed: at least 2")
        reviews = load_reviews(arguments.faithfulness, max_test_samples=arguments.reviews, split_seed=arguments.seed)
        measured = deletion_faithfulness(explainer, reviews.test["text"], seed=arguments.seed)
        low, high = measured.interval
        say(
            f"\nfaithfulness, {measured.texts} test reviews of {reviews.source}, seed {arguments.seed}: without "
            f"{100 * measured.share:.0f} % of the tokens, the probability of the decision drops by\n"
            f"  {100 * measured.drop_top:6.2f} points  tokens of the highest attributions\n"
            f"  {100 * measured.drop_random:6.2f} points  random tokens\n"
            f"  {100 * measured.difference:6.2f} points  difference (95 %: {100 * low:.2f} to {100 * high:.2f})"
        )
        found["faithfulness"] = {**asdict(measured), "source": reviews.source, "seed": arguments.seed}
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(explanation: Explanation) -> None:
    """Print a line per token: its attribution, the probability after it, and a bar that starts at 50 %."""
    say(f"{explanation.label} {100 * explanation.score:.1f} %")
    if len(explanation.labels) > 2:
        say(f"attributions to, and probabilities of, {explanation.target}:")
    for word in explanation.words:
        if word.contribution is None or word.probability is None:
            break
        mark = "?" if word.unknown else " "
        filled = round(40 * word.probability)
        bar = "".join("█" if min(filled, 20) <= i < max(filled, 20) else "|" if i == 20 else " " for i in range(40))
        say(f"{word.text[:20]:>20}{mark} {word.contribution:+7.3f}  {100 * word.probability:5.1f} %  {bar.rstrip()}")
    unread = sum(word.truncated for word in explanation.words) + explanation.words_left_out
    if unread:
        say(f"{unread:,} more tokens are not read")
