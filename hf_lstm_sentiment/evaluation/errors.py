"""Which reviews a classifier gets wrong: statistics over its decisions, its probabilities and its errors' words."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..inference.classifier import sigmoid
from .scored import Indices, ScoredReviews
from .statistics import check_lengths, proportion_interval

# Upper limits of the groups; a last one holds what lies above.
_LENGTH_EDGES = (100, 150, 200, 300, 400, 600)
_UNKNOWN_EDGES = (0.0, 0.02, 0.05, 0.1, 0.15)
_TAG = re.compile(r"<[a-z/][^<>]*>")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@dataclass(frozen=True)
class Group:
    """How often the decisions on a group of reviews are right.

    Attributes:
        name: Which reviews.
        reviews: How many they are, at least 1.
        correct: Right decisions.
        accuracy: Their share.
        low: Lower limit of its 95 % interval, see `proportion_interval`.
        high: Upper limit.
    """

    name: str
    reviews: int
    correct: int
    accuracy: float
    low: float
    high: float


@dataclass(frozen=True)
class WordOdds:
    """A word that stands more often in the reviews of one group than in those of another.

    Attributes:
        word: In lower case.
        in_a: Reviews of the first group that hold it.
        in_b: Reviews of the second group that hold it.
        log_odds: Logarithm of the ratio of its odds, above 0 if it marks the first group.
        z: The same in standard deviations.
    """

    word: str
    in_a: int
    in_b: int
    log_odds: float
    z: float


@dataclass(frozen=True, eq=False)
class Changes:
    """What a second classifier decides differently.

    Attributes:
        fixed: Reviews that it gets right and the first one wrong, the largest change of probability first.
        broken: Reviews that it gets wrong and the first one right, likewise.
    """

    fixed: Indices
    broken: Indices


def accuracy_by_length(scored: ScoredReviews) -> list[Group]:
    """Accuracy by length in tokens before truncation; groups without a review are left out, here and below.

    Args:
        scored: The reviews.
    """
    names = [f"{a + 1} to {b}" for a, b in itertools.pairwise(_LENGTH_EDGES)]
    names = [f"up to {_LENGTH_EDGES[0]}", *names, f"over {_LENGTH_EDGES[-1]}"]
    return _binned(scored, scored.tokens, _LENGTH_EDGES, names)


def accuracy_by_truncation(scored: ScoredReviews) -> list[Group]:
    """Accuracy on reviews that are read to their end, and on those that are cut.

    Args:
        scored: The reviews.
    """
    cut = scored.truncated
    return _groups(scored, {"read to the end": ~cut, f"cut after {scored.max_length}": cut})


def accuracy_by_unknown(scored: ScoredReviews) -> list[Group]:
    """Accuracy by the share of unknown words among the tokens read; reviews without tokens are left out.

    Args:
        scored: The reviews.
    """
    names = [f"{100 * a:g} to {100 * b:g} %" for a, b in itertools.pairwise(_UNKNOWN_EDGES)]
    return _binned(scored, scored.unknown, _UNKNOWN_EDGES, ["none", *names, f"over {100 * _UNKNOWN_EDGES[-1]:g} %"])


def accuracy_by_duplicates(scored: ScoredReviews) -> list[Group]:
    """Accuracy on reviews that the classifier was trained on word for word, and on all others.

    Args:
        scored: The reviews.
    """
    return _groups(scored, {"new": ~scored.duplicates, "also in training": scored.duplicates})


def word_log_odds(
    texts_a: Sequence[str], texts_b: Sequence[str], *, top: int = 20, min_count: int = 10
) -> list[WordOdds]:
    r"""The words that tell two groups of reviews apart, for example false positives from true negatives.

    The weighted log-odds ratio with an informative Dirichlet prior, equations 16 and 20 to 22 of Monroe, Colaresi and
    Quinn (2008), "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of Political
    Conflict", https://doi.org/10.1093/pan/mpn018. With y_w^g reviews of group g that hold w, n^g = \sum_w y_w^g:

        delta_w = log((y_w^a + alpha_w) / (n^a + alpha_0 - y_w^a - alpha_w)) - the same of b
        z_w = delta_w / sqrt(1 / (y_w^a + alpha_w) + 1 / (y_w^b + alpha_w))

    alpha_w is proportional to the reviews of both groups that hold w, and the sum alpha_0 of all is the n of the
    smaller group, so that the prior never outweighs what was seen.

    A word is a run of letters, apostrophes inside included, in lower case, and counts once a review; tags are left out.

    Args:
        texts_a: The first group.
        texts_b: The second group.
        top: Words to return for each group, at most.
        min_count: Reviews of the two groups that must hold a word.

    Returns:
        By falling z: the words of the first group, z > 0, then those of the second, z < 0.

    Raises:
        ValueError: A group without texts or without words, or a number below 1.
    """
    for name, value in (("top", top), ("min_count", min_count)):
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed: a whole number of at least 1")
    a, b = _document_frequency(texts_a, "texts_a"), _document_frequency(texts_b, "texts_b")
    n_a, n_b, strength = a.total(), b.total(), min(a.total(), b.total())
    words = sorted(word for word in {*a, *b} if a[word] + b[word] >= min_count)
    alpha = np.array([a[word] + b[word] for word in words]) * strength / (n_a + n_b)
    with_a = np.array([a[word] for word in words]) + alpha
    with_b = np.array([b[word] for word in words]) + alpha
    with np.errstate(divide="ignore"):
        delta = np.log(with_a / (n_a + strength - with_a)) - np.log(with_b / (n_b + strength - with_b))
    # A group of one word has no odds.
    delta = np.where(np.isfinite(delta), delta, 0.0)
    z = delta / np.sqrt(1 / with_a + 1 / with_b)
    order = np.argsort(-z, kind="stable")
    chosen = [*order[z[order] > 0][:top], *order[z[order] < 0][-top:]]
    return [WordOdds(words[i], a[words[i]], b[words[i]], float(delta[i]), float(z[i])) for i in chosen]


def has_words(text: str) -> bool:
    """Whether there is anything in a text that :func:`word_log_odds` would count.

    Args:
        text: A review.
    """
    return _WORD.search(_TAG.sub(" ", text.lower())) is not None


def changed_decisions(a: ScoredReviews, b: ScoredReviews) -> Changes:
    """What a second classifier fixes that a first one misses, and what it breaks.

    Args:
        a: Scored by the first one.
        b: The same reviews in the same order, scored by the second one.

    Raises:
        ValueError: Other reviews, another order or other labels.
    """
    check_lengths(a=a, b=b)
    same = np.array([x == y for x, y in zip(a.texts, b.texts, strict=True)]) & (a.labels == b.labels)
    if not same.all():
        raise ValueError(
            f"review {int(np.argmin(same))} of a and of b differ, {int((~same).sum())} of {len(a)} in all; score the "
            "same reviews, in the same order"
        )
    change = np.abs(sigmoid(b.logits) - sigmoid(a.logits))

    def rows(chosen: NDArray[np.bool_]) -> Indices:
        found = np.flatnonzero(chosen)
        return found[np.argsort(-change[found], kind="stable")]

    return Changes(fixed=rows(b.correct & ~a.correct), broken=rows(a.correct & ~b.correct))


def _binned(scored: ScoredReviews, values: NDArray[Any], edges: Sequence[float], names: Sequence[str]) -> list[Group]:
    limits = [-np.inf, *edges, np.inf]
    return _groups(scored, {name: (values > limits[i]) & (values <= limits[i + 1]) for i, name in enumerate(names)})


def _groups(scored: ScoredReviews, members: Mapping[str, NDArray[np.bool_]]) -> list[Group]:
    groups = []
    for name, mask in members.items():
        reviews, correct = int(mask.sum()), int(scored.correct[mask].sum())
        if reviews:
            groups.append(Group(name, reviews, correct, correct / reviews, *proportion_interval(correct, reviews)))
    return groups


def _document_frequency(texts: Sequence[str], name: str) -> Counter[str]:
    """Texts that hold a word, for each word."""
    counts = Counter(word for text in texts for word in set(_WORD.findall(_TAG.sub(" ", text.lower()))))
    if not counts:
        raise ValueError(f"{name} are {len(texts)} texts without a word; allowed: at least one text with a word")
    return counts
