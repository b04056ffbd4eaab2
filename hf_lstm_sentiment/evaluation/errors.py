"""Errors of a classifier: reviews with their scores, groups of them, and the words that mark errors.

Labels are the places of their names. Of two, the second one is predicted if its logit is above 0, that is p > 0.5.
"""

import itertools
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.labels import SENTIMENT_NAMES
from ..data.reviews import Reviews
from ..inference.classifier import Classifier, decisions, probabilities
from .calibration import certainty, probabilities_of
from .statistics import proportion_interval

logger = logging.getLogger(__name__)

Indices = NDArray[np.int64]
Row = dict[str, Any]
# Upper limits of the groups; a last one holds what lies above.
_LENGTHS = (100, 150, 200, 300, 400, 600)
_UNKNOWN = (0.0, 0.02, 0.05, 0.1, 0.15)
# Of more than two labels, those whose errors are shown apart, and how many are listed at most.
_KINDS, _LISTED = 4, 20
# Words that mark errors: how many, and in how many reviews at least.
_MARKING, _MIN_COUNT = 15, 20
_TAG = re.compile(r"<[a-z/][^<>]*>")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


@dataclass(frozen=True, eq=False)
class ScoredReviews:
    """Labeled reviews with what a classifier says of them.

    Attributes:
        texts: The reviews. *Length:* n
        labels: The place of each one's label. *Shape:* (n,)
        logits: Logit of the second of two labels, or of each. *Shape:* (n,) or (n, K)
        tokens: Length in tokens, before truncation. *Shape:* (n,)
        unknown: Share of unknown words among the tokens that are read; NaN for a review without tokens. *Shape:* (n,)
        max_length: Tokens that are read of a review, the first ones.
        duplicates: Whether the same text also stands among the training reviews. *Shape:* (n,)
        names: Those of the labels.
    """

    texts: Sequence[str]
    labels: Indices
    logits: NDArray[np.float64]
    tokens: Indices
    unknown: NDArray[np.float64]
    max_length: int
    duplicates: NDArray[np.bool_]
    names: Sequence[str] = SENTIMENT_NAMES

    @property
    def predicted(self) -> Indices:
        """The predicted labels. *Shape:* (n,)."""
        return decisions(self.logits)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """Whether the prediction is right. *Shape:* (n,)."""
        return self.predicted == self.labels  # type: ignore[no-any-return]

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Probability of the second of two labels, or of each. *Shape:* (n,) or (n, K)."""
        return probabilities_of(self.logits)

    @property
    def kinds(self) -> dict[str, int]:
        """Kinds of errors, each by the label of its reviews; of many labels, of those with the most errors."""
        if len(self.names) == 2:
            return {"false positives": 0, "false negatives": 1}
        counts = np.bincount(self.labels[~self.correct], minlength=len(self.names))
        return {f"misclassified {self.names[i]}": i for i in np.argsort(-counts, kind="stable")[:_KINDS] if counts[i]}

    def errors(self, label: int) -> Indices:
        """Places of misclassified reviews of a label, the surest first."""
        rows = np.flatnonzero(~self.correct & (self.labels == label))
        # By the logit, where there is one, which still tells apart what rounds to a probability of 1.
        sure = np.abs(self.logits) if self.logits.ndim == 1 else certainty(self.probabilities)
        return rows[np.argsort(-sure[rows], kind="stable")]


def score_run(run: Path, metrics: Mapping[str, Any], reviews: Reviews) -> ScoredReviews:
    """Score the test reviews with a finished run, whose `metrics.json` must state the accuracy that is found."""
    classifier = Classifier.from_pretrained(run)
    texts = list(reviews.test["text"])
    logger.info(f"scoring {len(texts):,} test reviews with {run.name}")
    ids, unknown = classifier.token_ids(texts), classifier.unk_token_id
    read = [review[: classifier.max_length] for review in ids]
    scored = ScoredReviews(
        texts=texts,
        labels=np.asarray(reviews.test["label"][:]),
        logits=classifier.logits_of_ids(ids).astype(np.float64),
        tokens=np.array([len(review) for review in ids]),
        # A tokenizer without such a token knows every word.
        unknown=np.array([np.mean([token == unknown for token in review]) if review else np.nan for review in read]),
        max_length=classifier.max_length,
        duplicates=np.isin(reviews.test["row"][:], reviews.overlap["test"]),
        names=classifier.labels,
    )
    check_accuracy(run, metrics, scored.correct)
    return scored


def check_accuracy(path: Path, metrics: Mapping[str, Any], correct: NDArray[np.bool_]) -> None:
    """Refuse results whose `metrics.json` states another test accuracy than these predictions have."""
    accuracy, stated = float(correct.mean()), metrics["test"]["accuracy"]
    # Sums in another order may turn a logit that is zero but for rounding.
    if abs(accuracy - stated) > 2.5 / len(correct):
        raise ValueError(
            f"{path} gets {accuracy:.4%} of the test reviews right, its metrics.json says {stated:.4%}; the reviews or "
            "the weights were changed since it was trained"
        )


def group(name: str, correct: int, reviews: int) -> Row:
    """How often a group of reviews, at least one, is classified correctly, with the limits of its 95 % interval."""
    low, high = proportion_interval(correct, reviews)
    row = {"name": name, "reviews": reviews, "correct": correct, "accuracy": correct / reviews}
    return {**row, "low": low, "high": high}


def accuracy_by_group(scored: ScoredReviews) -> dict[str, list[Row]]:
    """Measure accuracy by length, unknown words, truncation, duplicates and label; empty groups are left out."""
    lengths = [f"{a + 1} to {b}" for a, b in itertools.pairwise(_LENGTHS)]
    cut = f"cut after {scored.max_length}"
    shares = [f"{100 * a:g} to {100 * b:g} %" for a, b in itertools.pairwise(_UNKNOWN)]
    members: dict[str, tuple[NDArray[Any], Sequence[float], list[str]]] = {
        "all": (scored.tokens, (), ["test reviews"]),
        "words in the review": (scored.tokens, _LENGTHS, [f"up to {_LENGTHS[0]}", *lengths, f"over {_LENGTHS[-1]}"]),
        "share of unknown words": (scored.unknown, _UNKNOWN, ["none", *shares, f"over {100 * _UNKNOWN[-1]:g} %"]),
        "truncated or not": (scored.tokens, (scored.max_length,), ["read to the end", cut]),
        "duplicates of training reviews": (scored.duplicates, (0,), ["new", "also in training"]),
    }
    if len(scored.names) <= _LISTED:
        members["label"] = (scored.labels, range(len(scored.names) - 1), list(scored.names))
    found = {}
    for title, (values, edges, names) in members.items():
        masks = [(values > a) & (values <= b) for a, b in itertools.pairwise([-np.inf, *edges, np.inf])]
        found[title] = [
            group(name, int(scored.correct[mask].sum()), int(mask.sum()))
            for name, mask in zip(names, masks, strict=True)
            if mask.any()
        ]
    return found


def marking_words(words: Sequence[str], a: Indices, b: Indices) -> list[Row]:
    r"""Find the words that mark the first of two groups of reviews, from how many reviews of either hold each word.

    The weighted log-odds ratio with an informative Dirichlet prior, equations 16 and 20 to 22 of Monroe, Colaresi and
    Quinn (2008), "Fightin' Words: Lexical Feature Selection and Evaluation for Identifying the Content of Political
    Conflict", https://doi.org/10.1093/pan/mpn018. With y_w^g reviews of group g that hold w, n^g = \sum_w y_w^g:

        delta_w = log((y_w^a + alpha_w) / (n^a + alpha_0 - y_w^a - alpha_w)) - the same of b
        z_w = delta_w / sqrt(1 / (y_w^a + alpha_w) + 1 / (y_w^b + alpha_w))

    alpha_w is proportional to the reviews of both groups that hold w, and the sum alpha_0 of all is the n of the
    smaller group, so that the prior never outweighs what was seen.

    Of the words in at least 20 reviews, the 15 with the largest z > 0: "word", "in_a" and "in_b", the reviews of
    either group that hold it, "log_odds", the delta, and "z".
    """
    n_a, n_b, strength = a.sum(), b.sum(), min(a.sum(), b.sum())
    alpha = (a + b) * strength / (n_a + n_b)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = [np.log((y + alpha) / (n + strength - y - alpha)) for y, n in ((a, n_a), (b, n_b))]
        delta = odds[0] - odds[1]
        z = np.where(a + b >= _MIN_COUNT, delta / np.sqrt(1 / (a + alpha) + 1 / (b + alpha)), 0.0)
    # A group of one word has no odds.
    order = np.argsort(-np.where(np.isfinite(z), z, 0.0), kind="stable")[:_MARKING]
    columns = {"word": words, "in_a": a.tolist(), "in_b": b.tolist(), "log_odds": delta.tolist(), "z": z.tolist()}
    return [{name: column[i] for name, column in columns.items()} for i in order if 0 < z[i] < np.inf]


def error_words(scored: ScoredReviews) -> dict[str, list[Row]]:
    """Find the words that tell errors from correctly classified reviews of the same label, as far as they were read.

    A word is a run of letters, apostrophes inside included, in lower case; tags are none.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    found = {}
    right_of = {"false positives": " against true negatives", "false negatives": " against true positives"}
    for kind, label in scored.kinds.items():
        places = np.flatnonzero(scored.labels == label)
        # In words between white space.
        texts = (scored.texts[place].lower().split()[: scored.max_length] for place in places.tolist())
        read, correct = [_TAG.sub(" ", " ".join(words)) for words in texts], scored.correct[places]
        if correct.all() or not correct.any() or not any(map(_WORD.search, read)):
            continue
        counter = CountVectorizer(binary=True, lowercase=False, token_pattern=_WORD.pattern)
        held = counter.fit_transform(read)
        wrong, right = (np.asarray(held[chosen].sum(axis=0)).ravel() for chosen in (~correct, correct))
        if words := marking_words(counter.get_feature_names_out().tolist(), wrong, right):
            found[kind + right_of.get(kind, "")] = words
    return found


def changed_decisions(a: ScoredReviews, b: ScoredReviews) -> tuple[Indices, Indices]:
    """Find what classifier b fixes that a misses, and what it breaks, of the same reviews, the largest change first."""
    actual = np.arange(len(a.labels)), a.labels
    change = np.abs(probabilities(b.logits)[actual] - probabilities(a.logits)[actual])
    largest = np.argsort(-change, kind="stable")
    return largest[(b.correct & ~a.correct)[largest]], largest[(a.correct & ~b.correct)[largest]]
