"""The word `explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .console import input_lines, new_parser, parsed, say

if TYPE_CHECKING:
    from ..inference.explanation import Explanation

_TEXT = "Slow at first, but worth it in the end."


def explain(words: Sequence[str]) -> None:
    """Explain a decision token by token: the probability after each one, and its attribution.

    --faithfulness measures whether the tokens of the highest attributions are those that the decision rests on: it
    deletes the top tenth of the tokens of some test reviews, and as many random ones.
    """
    examples = (f'% "{_TEXT}"', '% "A moving film." --html moving.html --model runs/mine')
    parser = new_parser("explain", explain.__doc__, *examples, usage="[TEXT | -]")
    parser.add_argument("text", nargs="?", default=_TEXT, help="The review; - for standard input.")
    given = parsed(
        parser,
        words,
        "model",
        ("label", "NAME", None, "Explain this label; of two the second, of more the answer."),
        ("picture", "FILE", None, "Draw the probabilities and the attributions, a PNG file."),
        ("html", "FILE", None, "Write a page of its own."),
        ("json", "FILE", None, "Write the explanation, and what was measured."),
        ("faithfulness", "DATASET", None, "Measure on test reviews of what train takes."),
        ("reviews", "N", 500, "Test reviews to measure on; %(default)s."),
        ("seed", "SEED", 0, "Of the reviews and of the random tokens."),
        "num_threads",
    )
    from ..inference.explain import Explainer
    from ..utils.threads import use_cpu_threads

    for path in filter(None, (given["html"], given["json"])):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    use_cpu_threads(given["num_threads"], processes=1)
    explainer = Explainer.from_pretrained(given["model"])
    text = "\n".join(input_lines()).rstrip() if given["text"] == "-" else given["text"]
    explanation = explainer(text, label=given["label"])
    _show(explanation)
    found = {"explanation": explanation.to_dict()}
    if given["picture"]:
        explanation.plot(given["picture"])
    if given["html"]:
        Path(given["html"]).write_text(explanation.to_html(), encoding="utf-8")
    if given["faithfulness"]:
        from ..data.reviews import load_reviews
        from ..evaluation.faithfulness import deletion_faithfulness

        if given["reviews"] < 2:
            raise ValueError(f"reviews is {given['reviews']}; allowed: at least 2")
        reviews = load_reviews(given["faithfulness"], max_test_samples=given["reviews"], split_seed=given["seed"])
        measured = deletion_faithfulness(explainer, reviews.test["text"], seed=given["seed"])
        low, high = measured["interval"]
        say(
            f"\nfaithfulness, {measured['texts']} test reviews of {reviews.source}, seed {given['seed']}: without "
            f"{100 * measured['share']:.0f} % of the tokens, the probability of the decision drops by\n"
            f"  {100 * measured['drop_top']:6.2f} points  tokens of the highest attributions\n"
            f"  {100 * measured['drop_random']:6.2f} points  random tokens\n"
            f"  {100 * measured['difference']:6.2f} points  difference (95 %: {100 * low:.2f} to {100 * high:.2f})"
        )
        found["faithfulness"] = {**measured, "source": reviews.source, "seed": given["seed"]}
    if given["json"]:
        Path(given["json"]).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _show(explanation: Explanation) -> None:
    """Print a line per token: its attribution, the probability after it, and a bar that starts at 50 %."""
    from ..inference.explanation import shorten

    say(f"{explanation.label} {100 * explanation.score:.1f} %")
    say(f"attributions to, and probabilities of, {explanation.target}:")
    for word in explanation.words:
        if word.contribution is None or word.probability is None:
            break
        mark = "?" if word.unknown else " "
        filled = round(40 * word.probability)
        bar = "".join("█" if min(filled, 20) <= i < max(filled, 20) else "|" if i == 20 else " " for i in range(40))
        name = f"{shorten(word.text, 20):>20}{mark}"
        say(f"{name} {word.contribution:+7.3f}  {100 * word.probability:5.1f} %  {bar.rstrip()}")
    if unread := sum(word.truncated for word in explanation.words):
        say(f"{unread:,} more tokens are not read")
