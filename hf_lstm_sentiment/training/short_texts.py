"""Short texts for a transformer to label: verdicts made from templates, and cuts of reviews."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

_SOURCE: Mapping[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
PAIRS = "generated pairs"
_FIELD = re.compile(r"\{(\w+)(\+?)\}")
_BREAK = re.compile(r"\s*<br\s*/?>\s*", re.IGNORECASE)
_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]?[A-Z0-9])")
_SWAPPED = {word: kind for kind, words in _SOURCE["swap"].items() for word in words}
_SWAP = re.compile(rf"\b({'|'.join(sorted(_SWAPPED, key=len, reverse=True))})\b", re.IGNORECASE)
# Of the labeled texts of 4 to 40 words, what `cut_reviews` calls a sentence.
_LENGTHS = range(4, 41)


def make_passages(reviews: Sequence[str], count: int, *, seed: int) -> dict[str, list[str]]:
    """Cut and generate so many texts for a transformer to label, by kind; an eighth as many pairs come on top, last."""
    cuts = cut_reviews(reviews, count * 7 // 10, seed=seed)
    return {
        "cut from unlabeled reviews": cuts,
        "moved to other things": move_to_other_things(cuts, count // 5, seed=seed),
        "generated passages": generate_passages(count // 10, seed=seed + 2),
        PAIRS: [text for pair in generate_pairs(count // 8, seed=seed + 3) for text in pair],
    }


def generate_pairs(count: int, *, seed: int) -> list[tuple[str, str]]:
    """Make pairs of verdicts of nearly the same words, from `short_texts.json`: one praises, the other one blames.

    They are about films, products, restaurants, services and more, and hold negation, contrast, concession, comparison,
    irrealis and later verdicts.
    """
    rng = Random(seed)  # noqa: S311
    return [_pair(rng, rng.choice(list(_SOURCE["domains"]))) for _ in range(count)]


def generate_passages(count: int, *, seed: int) -> list[str]:
    """Make texts of two to five verdicts on one thing, which may contradict each other; whoever labels them decides."""
    rng = Random(seed)  # noqa: S311
    passages = []
    for _ in range(count):
        domain, leaning = rng.choice(list(_SOURCE["domains"])), rng.choice((0.1, 0.3, 0.7, 0.9))
        verdicts = [_pair(rng, domain)[rng.random() > leaning] for _ in range(rng.randint(2, 5))]
        passages.append(" ".join(verdicts))
    return passages


def cut_reviews(texts: Sequence[str], count: int, *, seed: int) -> list[str]:
    """Cut sentences of 4 to 40 words, and for every third of them a passage of two to six sentences, out of reviews.

    There are at most `count` cuts, and no two are equal.
    """
    rng = Random(seed)  # noqa: S311
    sentences: set[str] = set()
    passages: set[str] = set()
    for text in texts:
        found = [part for line in _BREAK.split(text) for part in _END.split(line) if part]
        sentences.update(part for part in found if len(part.split()) in _LENGTHS)
        if len(found) > 2:
            size = rng.randint(2, 6)
            start = rng.randrange(max(len(found) - size, 1))
            passages.add(" ".join(found[start : start + size]))
    # Sorted, for the order of a set changes from one process to the next.
    few = rng.sample(sorted(passages), min(len(passages), count // 4))
    return [*rng.sample(sorted(sentences), min(len(sentences), count - len(few))), *few]


def move_to_other_things(cuts: Sequence[str], count: int, *, seed: int) -> list[str]:
    """Put products, places and services, and what they have, where cuts of film reviews speak of a film."""
    rng = Random(seed)  # noqa: S311
    domains = [domain for domain in _SOURCE["domains"] if domain != "films"]
    speaking = [cut for cut in cuts if _SWAP.search(cut)]

    def moved(cut: str) -> str:
        words = _SOURCE["domains"][rng.choice(domains)]
        chosen: dict[str, str] = {}

        def swap(found: re.Match[str]) -> str:
            kind = _SWAPPED[found[0].lower()]
            # One film is one thing to the end of the text.
            key = kind if kind == "thing" else found[0].lower()
            return chosen.setdefault(key, rng.choice(words[f"{kind}s"]))

        return _SWAP.sub(swap, cut)

    return [moved(cut) for cut in rng.sample(speaking, min(count, len(speaking)))]


def fill_verdict(template: str, rng: Random) -> str:
    """Put things of one kind, drawn at random, into the places of a template from `short_texts.json`'s words."""
    return _filled(template, _values(rng, rng.choice(list(_SOURCE["domains"]))))


def _pair(rng: Random, domain: str) -> tuple[str, str]:
    template, values = rng.choice(_SOURCE["pairs"]), _values(rng, domain)
    praise, blame = (_filled(text, values) for text in template)
    style = rng.random()
    if style < 0.1:
        return praise.lower().rstrip("."), blame.lower().rstrip(".")
    if style < 0.2:
        return praise.replace(".", "!"), blame.replace(".", "!")
    return praise, blame


def _values(rng: Random, domain: str) -> dict[str, str]:
    words = _SOURCE["domains"][domain]
    values = {name: rng.choice(words[name]) for name in ("failure", "success")}
    values["thing"] = rng.choice(words["things"])
    values["aspect"], values["aspect2"] = rng.sample(words["aspects"], 2)
    for name in ("good", "bad"):
        # Half of them the domain's own.
        values[name], values[f"{name}2"] = rng.sample(words[name] if rng.random() < 0.5 else _SOURCE[name], 2)
        values[f"comparative_{name}"] = rng.choice(_SOURCE[f"comparative_{name}"])
    values["very"], values["time"] = rng.choice(_SOURCE["very"]), rng.choice(_SOURCE["time"])
    return values


def _filled(template: str, values: Mapping[str, str]) -> str:
    text = _FIELD.sub(lambda found: _capital(values[found[1]]) if found[2] else values[found[1]], template)
    return _capital(text).replace(" a a", " an a").replace(" a e", " an e").replace(" a i", " an i").replace("  ", " ")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
