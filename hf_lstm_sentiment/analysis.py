"""Which reviews a classifier gets wrong, and how sure one can be of a difference: statistics over its predictions.

Labels are 0 (NEGATIVE) and 1 (POSITIVE); the decision is POSITIVE if the logit is above 0, that is p > 0.5.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm  # type: ignore[import-untyped]

from .extras import require

logger = logging.getLogger(__name__)

LENGTH_EDGES = (100, 150, 200, 300, 400, 600)
UNKNOWN_EDGES = (0.0, 0.02, 0.05, 0.1, 0.15)
# A temperature outside of them says that the logits are wrong, not that they need softening.
TEMPERATURES = (0.05, 20.0)
# Reviews that are tokenized together: their token ids are Python numbers, some hundred megabytes for all of IMDB.
_WINDOW = 4_096
_TAG = re.compile(r"<[a-z/][^<>]*>")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")

Indices = NDArray[np.int64]


class Scorer(Protocol):
    """What `score_reviews` needs of an `inference.Classifier`."""

    max_length: int

    @property
    def unk_token_id(self) -> int | None:
        """Id of unknown words."""

    def logits(self, texts: Sequence[str]) -> NDArray[Any]:
        """Logit of POSITIVE per text. *Shape:* (len(texts),)."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of all tokens of each text, beyond `max_length` too."""


@dataclass(frozen=True, eq=False)
class ScoredReviews:
    """Labelled reviews with what a classifier says of them.

    Attributes:
        texts: The reviews. *Length:* n
        labels: 0 or 1. *Shape:* (n,)
        logits: Logit of POSITIVE. *Shape:* (n,)
        tokens: Length in tokens, before truncation. *Shape:* (n,)
        unknown: Share of unknown words among the tokens that are read; NaN for a review without tokens. *Shape:* (n,)
        max_length: Tokens that are read of a review, the first ones.
        duplicates: Whether the same text also stands among the training reviews. *Shape:* (n,)

    Raises:
        ValueError: No reviews, or a column of another shape or with a value that is not allowed.
    """

    texts: Sequence[str]
    labels: Indices
    logits: NDArray[np.float64]
    tokens: Indices
    unknown: NDArray[np.float64]
    max_length: int
    duplicates: NDArray[np.bool_]

    def __post_init__(self) -> None:
        kinds = {"labels": np.int64, "logits": float, "tokens": np.int64, "unknown": float, "duplicates": np.bool_}
        if not len(self.texts):
            raise ValueError("texts are empty; allowed: at least one review")
        if self.max_length < 1:
            raise ValueError(f"max_length is {self.max_length}; allowed: a whole number of at least 1")
        columns = {name: _vector(getattr(self, name), name) for name in kinds}
        _check_lengths({"texts": self.texts, **columns})
        labels, logits, tokens, unknown, duplicates = columns.values()
        _check_values("labels", labels, np.isin(labels, (0, 1)), "0 (NEGATIVE) and 1 (POSITIVE)")
        _check_values("logits", logits, np.isfinite(logits), "finite numbers")
        _check_values("tokens", tokens, (tokens >= 0) & (tokens % 1 == 0), "whole numbers of at least 0")
        missing = np.isnan(unknown.astype(float)) & (tokens == 0)
        _check_values(
            "unknown", unknown, missing | ((unknown >= 0) & (unknown <= 1)), "shares, NaN without tokens only"
        )
        _check_values("duplicates", duplicates, np.isin(duplicates, (0, 1)), "True and False")
        for name, kind in kinds.items():
            object.__setattr__(self, name, columns[name].astype(kind))

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def predicted(self) -> Indices:
        """The labels decided for. *Shape:* (n,)."""
        return (self.logits > 0).astype(np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the decision is right. *Shape:* (n,)."""
        return self.predicted == self.labels  # type: ignore[no-any-return]

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the label decided for, 0.5 to 1. *Shape:* (n,)."""
        return _sigmoid(np.abs(self.logits))

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """Whether the end of the review is not read. *Shape:* (n,)."""
        return self.tokens > self.max_length

    @property
    def false_positives(self) -> Indices:
        """NEGATIVE reviews taken for POSITIVE, the surest first."""
        return self._wrong(0)

    @property
    def false_negatives(self) -> Indices:
        """POSITIVE reviews taken for NEGATIVE, the surest first."""
        return self._wrong(1)

    def _wrong(self, label: int) -> Indices:
        rows = np.flatnonzero(~self.correct & (self.labels == label))
        # By the logit, which still tells apart what rounds to a confidence of 1.
        return rows[np.argsort(-np.abs(self.logits[rows]), kind="stable")]


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
class McNemar:
    """Two classifiers on the same reviews.

    Attributes:
        only_a: Reviews that only the first one gets right.
        only_b: Reviews that only the second one gets right.
        p_value: Two-sided, exact.
    """

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """A difference of accuracies, the second less the first.

    Attributes:
        difference: As measured.
        low: Lower limit of its interval.
        high: Upper limit.
    """

    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How well probabilities and reality agree; the smaller, the better.

    Attributes:
        expected_calibration_error: See `metrics.ExpectedCalibrationError`.
        brier: Mean squared distance of the probability of POSITIVE from the label (Brier 1950).
        nll: Mean binary cross-entropy, nats.
    """

    expected_calibration_error: float
    brier: float
    nll: float


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


def score_reviews(
    classifier: Scorer, texts: Sequence[str], labels: ArrayLike, *, training_texts: Iterable[str]
) -> ScoredReviews:
    """Let a classifier score labelled reviews; shows a bar where standard error is a terminal.

    Args:
        classifier: An `inference.Classifier`.
        texts: The reviews. *Length:* n
        labels: 0 or 1 per review. *Shape:* (n,)
        training_texts: What it was trained on, to find duplicates.

    Raises:
        ValueError: As `ScoredReviews`.
    """
    texts = list(texts)
    _check_lengths({"texts": texts, "labels": _vector(labels, "labels")})
    logits, tokens, unknown = [np.empty(0)], [], []
    with tqdm(total=len(texts), desc="Scoring", unit="review", disable=None) as bar:
        for start in range(0, len(texts), _WINDOW):
            window = texts[start : start + _WINDOW]
            logits.append(np.asarray(classifier.logits(window), dtype=np.float64))
            for ids in classifier.token_ids(window):
                read = ids[: classifier.max_length]
                tokens.append(len(ids))
                # No id is None, so that a tokenizer without such a token knows every word.
                unknown.append(read.count(classifier.unk_token_id) / len(read) if read else np.nan)  # type: ignore[arg-type]
            bar.update(len(window))
    seen = set(training_texts)
    return ScoredReviews(
        texts=texts,
        labels=np.asarray(labels),
        logits=np.concatenate(logits),
        tokens=np.array(tokens),
        unknown=np.array(unknown),
        max_length=classifier.max_length,
        duplicates=np.array([text in seen for text in texts]),
    )


def proportion_interval(k: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share that was seen k times in n, which stays sensible for few reviews and near 0 and 1.

    The score interval of Wilson (1927), "Probable Inference, the Law of Succession, and Statistical Inference".

    Args:
        k: Times it was seen.
        n: Out of so many.
        level: Probability that the interval holds the true share.

    Raises:
        ValueError: n below 1, k outside of 0 to n, or a level outside of 0 to 1.
    """
    if n < 1 or not 0 <= k <= n:
        raise ValueError(f"k is {k} and n is {n}; allowed: n of at least 1 and k from 0 to n")
    z = NormalDist().inv_cdf(0.5 + _level(level) / 2)
    centre = (k + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * (k * (n - k) / n + z**2 / 4) ** 0.5
    # The limits at 0 and n are 0 and 1; only rounding makes them otherwise.
    return (0.0 if k == 0 else centre - half, 1.0 if k == n else centre + half)


def accuracy_by_length(scored: ScoredReviews, edges: Sequence[int] = LENGTH_EDGES) -> list[Group]:
    """Accuracy by length in tokens before truncation; groups without a review are left out, here and below.

    Args:
        scored: The reviews.
        edges: Upper limits of the groups, rising; a last group holds what is longer.

    Raises:
        ValueError: Edges that do not rise, or none.
    """
    names = [f"up to {edges[0]}", *(f"{a + 1} to {b}" for a, b in itertools.pairwise(edges))] if edges else []
    return _binned(scored, scored.tokens, edges, [*names, f"over {edges[-1]}" if edges else ""])


def accuracy_by_truncation(scored: ScoredReviews) -> list[Group]:
    """Accuracy on reviews that are read to their end, and on those that are cut.

    Args:
        scored: The reviews.
    """
    cut = scored.truncated
    return _groups(scored, {"read to the end": ~cut, f"cut after {scored.max_length} tokens": cut})


def accuracy_by_unknown(scored: ScoredReviews, edges: Sequence[float] = UNKNOWN_EDGES) -> list[Group]:
    """Accuracy by the share of unknown words among the tokens read; reviews without tokens are left out.

    Args:
        scored: The reviews.
        edges: Upper limits of the groups, rising; a last group holds what lies above.

    Raises:
        ValueError: Edges that do not rise, or none.
    """
    upper = [f"{100 * edge:g}" for edge in edges]
    names = (
        [
            f"up to {upper[0]} %" if edges[0] else "none",
            *(f"{a} to {b} %" for a, b in itertools.pairwise(upper)),
        ]
        if edges
        else []
    )
    return _binned(scored, scored.unknown, edges, [*names, f"over {upper[-1]} %" if edges else ""])


def accuracy_by_duplicates(scored: ScoredReviews) -> list[Group]:
    """Accuracy on reviews that the classifier was trained on word for word, and on all others.

    Args:
        scored: The reviews.
    """
    return _groups(scored, {"new texts": ~scored.duplicates, "in the training too": scored.duplicates})


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> McNemar:
    """Test whether two classifiers are equally often right on the same reviews.

    McNemar (1947), "Note on the sampling error of the difference between correlated proportions or percentages", in
    its exact form: of the reviews that only one of them gets right, each one's number is binomial with p = 1/2.

    Args:
        correct_a: Whether the first one is right. *Shape:* (n,)
        correct_b: Whether the second one is right. *Shape:* (n,)

    Returns:
        The counts and the p-value, 1 if there is no such review.

    Raises:
        ValueError: Different lengths, no reviews, or values other than True and False.
    """
    require("scipy", extra="train")
    from scipy.stats import binomtest

    a, b = _correctness(correct_a, "correct_a"), _correctness(correct_b, "correct_b")
    _check_lengths({"correct_a": a, "correct_b": b})
    for name, values in (("correct_a", a), ("correct_b", b)):
        _check_values(name, values, np.isin(values, (0, 1)), "True and False")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    discordant = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_a, discordant).pvalue) if discordant else 1.0)


def bootstrap_difference(
    correct_a: ArrayLike, correct_b: ArrayLike, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Difference:
    """Interval of the difference of two accuracies on the same reviews: the second less the first.

    The percentile bootstrap over reviews, paired (Efron 1979, "Bootstrap Methods: Another Look at the Jackknife"). A
    resample is drawn as the multinomial counts of the distinct per-review differences, which has the same
    distribution as drawing n reviews and needs no array of their size.

    Args:
        correct_a: Whether the first one is right, or in which share of its seeds. *Shape:* (n,) or (seeds, n)
        correct_b: The same of the second one. *Shape:* (n,) or (seeds, n)
        resamples: Resamples to draw.
        level: Probability that the interval holds the true difference.
        seed: Seed of the resamples.

    Raises:
        ValueError: Different lengths, no reviews, values outside of 0 to 1, no resamples, or a level outside of 0 to 1.
    """
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: a whole number of at least 1")
    tail = (1 - _level(level)) / 2
    a, b = _correctness(correct_a, "correct_a"), _correctness(correct_b, "correct_b")
    _check_lengths({"correct_a": a, "correct_b": b})
    # Rounded, so that 2/3 - 1/3 and 1 - 2/3 count as one value.
    values, counts = np.unique(np.round(b - a, 12), return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, 4_000_000 // len(values))
    means = [
        generator.multinomial(len(a), counts / len(a), size=min(chunk, resamples - done)) @ values / len(a)
        for done in range(0, resamples, chunk)
    ]
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return Difference(float((b - a).mean()), float(low), float(high))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The T > 0 that minimises the mean binary cross-entropy of logits / T.

    Temperature scaling, section 4.2 of Guo, Pleiss, Sun and Weinberger (2017), "On Calibration of Modern Neural
    Networks", https://arxiv.org/abs/1706.04599. No decision changes. The cross-entropy is convex in 1 / T; the zero of
    its derivative is found by Brent's method.

    Args:
        logits: Logit of POSITIVE per validation review. *Shape:* (n,)
        labels: 0 or 1 per review. *Shape:* (n,)

    Returns:
        T, within `TEMPERATURES`. A limit is returned, and logged, where the minimum lies beyond it: the lower one if
        every decision is right (T would go to 0), the upper one if the logits say nothing of the labels, or the
        contrary. 1 if all logits are 0, for which every T is as good.

    Raises:
        ValueError: Different lengths, no reviews, a logit that is not finite or a label other than 0 and 1.
    """
    require("scipy", extra="train")
    from scipy.optimize import brentq

    z, y = _vector(logits, "logits").astype(np.float64), _vector(labels, "labels")
    _check_lengths({"logits": z, "labels": y})
    _check_values("logits", z, np.isfinite(z), "finite numbers")
    _check_values("labels", y, np.isin(y, (0, 1)), "0 (NEGATIVE) and 1 (POSITIVE)")
    if not z.any():
        return 1.0
    margins = np.where(y == 1, z, -z)

    def slope(inverse: float) -> float:
        return float(-(margins * _sigmoid(-inverse * margins)).mean())

    sharpest, softest = 1 / TEMPERATURES[0], 1 / TEMPERATURES[1]
    for limit, beyond in ((sharpest, slope(sharpest) <= 0), (softest, slope(softest) >= 0)):
        if beyond:
            logger.warning(f"the best temperature for {len(z)} reviews lies beyond {1 / limit:g}, which is taken")
            return 1 / limit
    return float(1 / brentq(slope, softest, sharpest, xtol=1e-12))


def calibration(scored: ScoredReviews, temperature: float) -> tuple[Calibration, Calibration]:
    """Calibration before and after temperature scaling.

    Args:
        scored: Reviews that the temperature was not fitted on.
        temperature: From `fit_temperature`.

    Raises:
        ModuleNotFoundError: What the metrics need is not installed.
        ValueError: A temperature that is not above 0.
    """
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature is {temperature}; allowed: a finite number above 0")
    # Here and not above because it brings `evaluate` along, which takes seconds to import.
    from .metrics import evaluate_logits

    def measure(logits: NDArray[np.float64]) -> Calibration:
        measured = evaluate_logits(logits, scored.labels)
        brier = float(((_sigmoid(logits) - scored.labels) ** 2).mean())
        return Calibration(measured["expected_calibration_error"], brier, measured["loss"])

    return measure(scored.logits), measure(scored.logits / temperature)


def word_log_odds(
    texts_a: Sequence[str],
    texts_b: Sequence[str],
    *,
    prior_texts: Sequence[str] | None = None,
    top: int = 20,
    min_count: int = 10,
) -> list[WordOdds]:
    r"""The words that tell two groups of reviews apart, for example false positives from true negatives.

    The weighted log-odds ratio with an informative Dirichlet prior, equations 16 and 20 to 22 of Monroe, Colaresi and
    Quinn (2008), "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of Political
    Conflict", https://doi.org/10.1093/pan/mpn018. With y_w^g reviews of group g that hold w, n^g = \sum_w y_w^g:

        delta_w = log((y_w^a + alpha_w) / (n^a + alpha_0 - y_w^a - alpha_w)) - the same of b
        z_w = delta_w / sqrt(1 / (y_w^a + alpha_w) + 1 / (y_w^b + alpha_w))

    alpha_w is proportional to the reviews that hold w in both groups and `prior_texts` together, and their sum alpha_0
    is the n of the smaller group, so that the prior never outweighs what was seen.

    A word is a run of letters, apostrophes inside included, in lower case, and counts once a review; tags are left out.

    Args:
        texts_a: The first group.
        texts_b: The second group.
        prior_texts: More reviews of the same kind, to tell how frequent words are.
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
    prior = a + b + (_document_frequency(prior_texts, "prior_texts") if prior_texts else Counter())
    n_a, n_b, strength = a.total(), b.total(), min(a.total(), b.total())
    words = sorted(word for word in {*a, *b} if a[word] + b[word] >= min_count)
    alpha = np.array([prior[word] for word in words]) * strength / prior.total()
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


def changed_decisions(a: ScoredReviews, b: ScoredReviews) -> Changes:
    """What a second classifier fixes that a first one misses, and what it breaks.

    Args:
        a: Scored by the first one.
        b: The same reviews in the same order, scored by the second one.

    Raises:
        ValueError: Other reviews, another order or other labels.
    """
    _check_lengths({"reviews of a": a.texts, "reviews of b": b.texts})
    same = np.array([x == y for x, y in zip(a.texts, b.texts, strict=True)]) & (a.labels == b.labels)
    if not same.all():
        raise ValueError(
            f"review {int(np.argmin(same))} of a and of b differ, {int((~same).sum())} of {len(a)} in all; score the same "  # noqa: E501
            "reviews, in the same order"
        )
    change = np.abs(_sigmoid(b.logits) - _sigmoid(a.logits))

    def rows(chosen: NDArray[np.bool_]) -> Indices:
        found = np.flatnonzero(chosen)
        return found[np.argsort(-change[found], kind="stable")]

    return Changes(fixed=rows(b.correct & ~a.correct), broken=rows(a.correct & ~b.correct))


def _binned(scored: ScoredReviews, values: NDArray[Any], edges: Sequence[float], names: Sequence[str]) -> list[Group]:
    if not len(edges) or not (np.diff(edges) > 0).all():
        raise ValueError(f"edges are {list(edges)}; allowed: at least one number, each above the one before")
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


def _sigmoid(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-z)) without overflow."""
    return np.exp(-np.logaddexp(0, -z))


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; allowed: above 0 and below 1")
    return level


def _correctness(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Share of right decisions per review. *Shape:* (n,) or (seeds, n) to (n,)."""
    array = np.asarray(values)
    if array.ndim == 2 and len(array):
        array = array.mean(axis=0)
    vector = _vector(array, name).astype(np.float64)
    _check_values(name, vector, (vector >= 0) & (vector <= 1), "True and False, or shares from 0 to 1")
    return vector


def _vector(values: ArrayLike, name: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{name} have shape {array.shape} and type {array.dtype}; allowed: one number per review, at least one"
        )
    return array


def _check_values(name: str, array: NDArray[Any], valid: NDArray[np.bool_], allowed: str) -> None:
    if not valid.all():
        first, count = int(np.argmin(valid)), int((~valid).sum())
        wrong = f"{array[first].item()} at position {first}, {count} wrong values in all"
        raise ValueError(f"{name} hold {wrong}; allowed: {allowed}")


def _check_lengths(columns: Mapping[str, Any]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{length} {name}" for name, length in lengths.items())
        raise ValueError(f"{listed}; allowed: the same number of each, one per review")
