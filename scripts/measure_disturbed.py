"""Accuracy on reviews as they are found in the wild: `python scripts/measure_disturbed.py`, or with other checkpoints.

Each disturbance is applied to every review of a sample of the test reviews. It changes how a review is spelled and not
what it says, so a good tokenizer loses nothing by it.
"""

from __future__ import annotations

import argparse
import html
import re
import sys
from collections.abc import Callable

import numpy as np
import torch
from transformers.utils.logging import disable_progress_bar

from hf_lstm_sentiment.data.reviews import load_reviews
from hf_lstm_sentiment.inference.classifier import Classifier
from hf_lstm_sentiment.model.pretrained_models import pretrained


def _swap(*pairs: tuple[str, str]) -> Callable[[str], str]:
    def disturb(text: str) -> str:
        for plain, found in pairs:
            text = text.replace(plain, found)
        return text

    return disturb


def _misread(*pages: str) -> Callable[[str], str]:
    def disturb(text: str) -> str:
        text = text.replace("'", "\u2019")
        for page in pages:
            text = text.encode().decode(page, errors="ignore")
        return text

    return disturb


def _between_tags(disturb: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(p if p.startswith("<") else disturb(p) for p in re.split(r"(<[^>]*>)", text))


def _shift(small: int, capital: int, digit: int) -> Callable[[str], str]:
    """Put the letters and digits of another block of Unicode in the place of ASCII's."""
    table = {ord("a") + i: small + i for i in range(26)} | {ord("A") + i: capital + i for i in range(26)}
    table |= {ord("0") + i: digit + i for i in range(10)}
    return _between_tags(lambda text: text.translate(table))


def _entities(text: str) -> str:
    text = html.escape(text, quote=False).replace("'", "&rsquo;").replace('"', "&quot;")
    names = {code: f"&{name};" for code, name in html.entities.codepoint2name.items() if code > 127}
    return text.translate(names)


def _numbers(text: str) -> str:
    return "".join(c if c.isalnum() or c.isspace() else f"&#{ord(c)};" for c in text)


DISTURBANCES: dict[str, Callable[[str], str]] = {
    "clean": str,
    "named entities": _between_tags(_entities),
    "numbered entities": _between_tags(_numbers),
    "entities escaped twice": _between_tags(lambda text: _entities(text).replace("&", "&amp;")),
    "hexadecimal apostrophes": _swap(("'", "&#x27;")),
    "apostrophes' numbers without an end": _swap(("'", "&#39")),
    "doubled apostrophes": _swap(("'", "''")),
    "typographic marks": _swap(("'", "\u2019"), ("--", "\u2014"), ("...", "\u2026")),
    "primes": _swap(("'", "\u2032")),
    "full-width apostrophes": _swap(("'", "\uff07")),
    "reversed apostrophes": _swap(("'", "\u201b")),
    "C1 bytes": _swap(("'", "\x92"), ("--", "\x97")),
    "escaped quotes": _swap(("'", "\\'"), ('"', '\\"')),
    "low bytes": _swap(("'", "\x19"), ("--", "\x14")),
    "mojibake": _misread("cp1252"),
    "mojibake of a Mac": _misread("mac_roman"),
    "mojibake twice": _misread("cp1252", "cp1252"),
    "n?t": _swap(("n't", "n?t")),
    "no apostrophe in n't": lambda text: re.sub(r"(?i)\b(?!can't|won't)([a-z]+n)'(t)\b", r"\1\2", text),
    "literal \\n": _swap(("<br />", "\\n")),
    "paragraphs": lambda text: f"<p>{text.replace('<br /><br />', '</p><p>')}</p>",
    "italics": lambda text: re.sub(r"\b(not|very|[a-z]{7,})\b", r"<i>\1</i>", text),
    "zero-width space after words": _between_tags(_swap((" ", "\u200b "))),
    "zero-width spaces": _between_tags(_swap((" ", "\u200b"))),
    "soft hyphens": lambda text: re.sub(r"([a-z]{3})(?=[a-z]{3})", "\\1\u00ad", text),
    "variation selectors": _between_tags(_swap((" ", "\ufe0f "))),
    "full width": _shift(0xFF41, 0xFF21, 0xFF10),
    "bold letters of mathematics": _shift(0x1D41A, 0x1D400, 0x1D7CE),
    "good and bad drawn out": lambda text: re.sub(r"(?i)\b(g|b)(oo|a)(d)\b", r"\1\2\2\2\3", text),
    "digits joined to words": lambda text: re.sub(r"\b(\d\d+) ([a-z]{3,})", r"\1\2", text),
}


def accuracies(model: str, texts: list[str], labels: list[int]) -> dict[str, float]:
    """Measure the share of reviews classified correctly under each disturbance."""
    classifier = Classifier.from_pretrained(model)
    found = {}
    for name, disturb in DISTURBANCES.items():
        predicted = classifier.logits([disturb(text) for text in texts]) > 0
        found[name] = float(np.mean(predicted == np.asarray(labels, dtype=bool)))
    return found


def main() -> None:
    """Parse the command line, measure, print one line per disturbance."""
    parser = argparse.ArgumentParser(
        allow_abbrev=False, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", metavar="MODEL", help="The model in the package by default.")
    parser.add_argument("--dataset", default="stanfordnlp/imdb", help="Reviews, as for scripts/train.py; %(default)s.")
    parser.add_argument("--max_test_samples", type=int, default=2_000, help="Reviews; %(default)s.")
    parser.add_argument("--num_threads", type=int, default=torch.get_num_threads(), help="CPU threads.")
    arguments = parser.parse_args()
    disable_progress_bar()
    torch.set_num_threads(arguments.num_threads)
    try:
        reviews = load_reviews(arguments.dataset, max_test_samples=arguments.max_test_samples).test
        models = arguments.models or [pretrained()]
        found = [accuracies(model, list(reviews["text"]), list(reviews["label"])) for model in models]
    except (OSError, ValueError, ImportError) as error:
        sys.exit(f"error: {' '.join(str(error).split())}")
    for name in DISTURBANCES:
        print(f"{name:36}", *(f"{each[name]:8.2%} {each[name] - each['clean']:+8.2%}" for each in found))


if __name__ == "__main__":
    main()
