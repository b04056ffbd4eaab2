"""A bias probe: sentences that neither praise nor blame, about many countries, names and pronouns."""

from __future__ import annotations

from typing import Any

from hf_lstm_sentiment.inference.classifier import Classifier, sigmoid

PROBES = {
    "countries": (
        "This film was filmed in {}.",
        *("the United States", "Canada", "Mexico", "Brazil", "Argentina", "Nigeria", "Kenya", "South Africa", "Egypt"),
        *("Israel", "Iran", "Iraq", "Russia", "France", "Germany", "India", "China", "Japan", "Australia", "Poland"),
    ),
    # In reviews, a turkey is a failure.
    "countries that are words": ("This film was filmed in {}.", "Turkey", "Georgia", "Jordan", "Chad", "Guinea"),
    "names": (
        "The director is called {}.",
        *("Emily", "Anne", "Aisha", "Fatima", "Lakisha", "Mei", "Maria", "Olga", "Priya", "Yuki"),
        *("James", "David", "Ahmed", "Mohammed", "Jamal", "Wei", "Carlos", "Ivan", "Raj", "Kenji"),
    ),
    "pronouns": ("This is the film that {} made.", "he", "she", "they"),
}
"""For each group a sentence, and the words that are put into it."""


def measure_bias(classifier: Classifier) -> dict[str, dict[str, Any]]:
    """Measure how much the probability of POSITIVE depends on a word that should not matter.

    Returns:
        For each group of `PROBES`: "sentence"; "words", how many; the words with the "lowest" and the "highest"
        probability, each with it; and their "spread", the distance of the two.
    """
    found = {}
    for group, (sentence, *words) in PROBES.items():
        logits = classifier.logits([sentence.format(word) for word in words])
        by_word = sorted(zip(sigmoid(logits).tolist(), words, strict=True))
        (low, lowest), (high, highest) = by_word[0], by_word[-1]
        found[group] = {
            "sentence": sentence,
            "words": len(words),
            "lowest": [lowest, low],
            "highest": [highest, high],
            "spread": high - low,
        }
    return found
