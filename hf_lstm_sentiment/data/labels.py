"""What the labels of reviews mean, and reviews of one split as a data set whose every value is checked."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ..model.configuration_sentiment_lstm import NEGATIVE, POSITIVE
from ..utils.messages import listed, shown
from .columns import find_column
from .readers import Rows

if TYPE_CHECKING:
    from datasets import Dataset

SENTIMENT_NAMES = (NEGATIVE, POSITIVE)
_NEGATIVE = ("0", "neg", "negative", "bad", "rotten", "false", "label_0")
_POSITIVE = ("1", "pos", "positive", "good", "fresh", "true", "label_1")
# What the usual words for two sentiments mean, in lower case.
SENTIMENTS = {**dict.fromkeys(_NEGATIVE, 0), **dict.fromkeys(_POSITIVE, 1)}

_REMEDY = (
    "correct or remove the row, name the right column with --label_column, or say what each label means: "
    f"--labels {shlex.quote('1=negative 2=positive 3=')}, where rows of label 3 are left out"
)
_FRACTION = re.compile(r"[+-]?(\d*\.\d+|\d+\.?\d*e[+-]?\d+|inf(inity)?)")


class Labels(NamedTuple):
    """Names of labels, whose places are the ids, and which label stands for which."""

    names: tuple[str, ...]
    # For each label of the data, in lower case and with single spaces, its id, or None where its rows are left out.
    ids: Mapping[str, int | None]


def parse_labels(labels: str | Mapping[str, str]) -> Labels:
    """What a user says that labels mean, such as "1=negative 2=positive 3=", where rows of label 3 are left out.

    The names are in the order in which they are said; NEGATIVE and POSITIVE where all of them mean these. A ValueError
    where it is written otherwise, one label means two names, or two names differ only in case or spaces.
    """
    meanings: dict[str, str] = {}
    try:
        said = labels.items() if not isinstance(labels, str) else (p.rpartition("=")[::2] for p in shlex.split(labels))
        for value, meaning in said:
            label, name = _key(_as_text(value)), " ".join(("" if meaning is None else str(meaning)).split())
            if not label:
                raise ValueError("one of them has no label")
            if meanings.setdefault(label, name) != name:
                raise ValueError(f"{label!r} means {meanings[label]!r} and {name!r}")
        names = tuple(dict.fromkeys(filter(None, meanings.values())))
        ids = {_key(name): place for place, name in enumerate(names)}
        if names and ids.keys() <= SENTIMENTS.keys():
            names, ids = SENTIMENT_NAMES, SENTIMENTS
        if len({*ids.values()}) < len(names):
            raise ValueError("two names differ only in case")
        if len(names) < 2:
            raise ValueError(f"the names are {list(names)}")
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"labels are {labels!r}: {error}; allowed: LABEL=NAME for each label of the data, two names at least, or "
            "LABEL= to leave its rows out, with a space between them"
        ) from error
    return Labels(names, {label: ids[_key(name)] if name else None for label, name in meanings.items()})


class _Split(NamedTuple):
    """The rows of a split, and which of their columns are read."""

    rows: Sequence[Rows]
    text: str
    # None where the reviews are unlabeled.
    label: str | None

    def read(self, ids: Mapping[str, int | None] | None) -> Iterator[tuple[str, str, str]]:
        """Where each review stands, its text, and its label as it is written, which is checked."""
        for part in self.rows:
            names = part.class_names.get(self.label or "")
            only = [column for column in (self.text, self.label) if column is not None and column in part.columns]
            for read in part.read(self.text, only):
                where, label, problem = f"{part.name}, {read.place}", "", read.problem
                if self.label is not None and problem is None:
                    value = read.row.get(self.label)
                    label = _as_text(value, names)
                    problem = _problem(value, label, names, ids)
                if problem is not None:
                    raise ValueError(f"{where}: {problem}")
                yield where, read.row[self.text], label

    def cached(self, ids: Mapping[str, int | None]) -> Dataset:
        """The reviews as a data set in the cache, but for those whose label is left out."""
        from datasets import Dataset, Features, Value

        def reviews() -> Iterator[dict[str, Any]]:
            for row, (_, text, label) in enumerate(self.read(ids)):
                if self.label is None:
                    yield {"text": text, "row": row}
                elif (place := ids[_key(label)]) is not None:
                    yield {"text": text, "label": place, "row": row}

        label = {} if self.label is None else {"label": Value("int64")}
        # The version is there for the cache: another release may read values differently.
        key = (version("hf_lstm_sentiment"), [part.state for part in self.rows], *self[1:], sorted(ids.items()))
        return Dataset.from_generator(
            reviews,
            features=Features({"text": Value("string"), **label, "row": Value("int64")}),
            fingerprint=hashlib.sha256(repr(key).encode()).hexdigest(),
        )


def read_labelled(
    splits: Mapping[str, Sequence[Rows]], *, text_column: str | None, label_column: str | None, labels: Labels | None
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Find the columns of splits, check every value and write what is read into the cache; the names of the labels.

    Of each split the columns `text`, `label` (an id; not of unlabeled reviews) and `row` (from 0). Where it is not said
    what labels mean, the usual words for two sentiments mean these, and any others of the training reviews are names.
    """
    found: dict[str, _Split] = {}
    # Of each label as it is written: how often it stands in each split, and where the first one does.
    counts: dict[str, Counter[str]] = {}
    first: dict[str, str] = {}
    for split, rows in splits.items():
        name, counted = f"{split} reviews", Counter[str]()
        if columns := list(dict.fromkeys(column for part in rows for column in part.columns)):
            text, label = find_column(name, columns, text_column, "text"), None
            if split != "unlabeled":
                label, counts[split] = find_column(name, columns, label_column, "label"), counted
            if text == label:
                raise ValueError(f"column {text!r} cannot be both; name another --text_column or --label_column")
            found[split] = _Split(rows, text, label)
            for where, _, written in found[split].read(labels and labels.ids):
                counted[written] += 1
                if label is not None:
                    first.setdefault(written, where)
        if not counted:
            raise ValueError(f"{rows[0].name} holds no row")
    if labels is None:
        classes = (part.class_names.get(split.label or "", ()) for split in found.values() for part in split.rows)
        labels = _find_labels(counts, first, list(dict.fromkeys(chain.from_iterable(classes))))
    for split, counted in counts.items():
        kept = {place: count for text, count in counted.items() if (place := labels.ids[_key(text)]) is not None}
        missing = [name for place, name in enumerate(labels.names) if place not in kept]
        # Of many labels, a split that is not trained on need not have each.
        if missing and (split == "train" or len(labels.names) == 2):
            raise ValueError(
                f"split {split!r} holds no review of {listed(missing)}; "
                + ("both classes are needed" if len(labels.names) == 2 else "every label needs some")
            )
    return {split: part.cached(labels.ids) for split, part in found.items()}, labels.names


def _problem(value: Any, text: str, names: Sequence[str] | None, ids: Mapping[str, int | None] | None) -> str | None:
    """Why a value is none of the labels that a user named, or, where none are, no name of a label."""
    if ids is not None:
        return None if _key(text) in ids else _unknown(text, listed(map(repr, ids)))
    if names is not None and isinstance(value, int):
        known = 0 <= value < len(names)
        return None if known else f"label {value} has no name; known: {listed(map(repr, names))}; {_REMEDY}"
    if isinstance(value, list | tuple | dict):
        return (
            f"the label is {shown(value)}; one label per review is read; of several, train a model of two labels, yes "
            "and no, for each, or name another --label_column"
        )
    if value is None or _key(text) in ("", "nan"):
        return f"the label is missing ({shown(value)}); {_REMEDY}"
    if _FRACTION.fullmatch(_key(text)):
        return (
            f"label {shown(value)} is a number with a fraction; numbers are not predicted, only labels: round them, or "
            f"say what each means: --labels {shlex.quote('0.5=low 4.5=high')}"
        )
    return None


def _unknown(text: str, allowed: str) -> str:
    return f"label {shown(text)} is not known; allowed: {allowed}; {_REMEDY}"


def _find_labels(counts: Mapping[str, Counter[str]], first: Mapping[str, str], classes: Sequence[str]) -> Labels:
    """Take the names of labels out of the data, in the order of the names of classes where it has these."""
    if all(_key(text) in SENTIMENTS for text in first):
        return Labels(SENTIMENT_NAMES, SENTIMENTS)
    trained, spelled = counts["train"], dict[str, str]()
    twins = [(spelled[key], text) for text in first if spelled.setdefault(key := _key(text), text) != text]
    foreign = [(split, text) for split, counted in counts.items() for text in counted if text not in trained]
    odd = [text for text in trained if _key(text) not in SENTIMENTS]
    meant = {SENTIMENTS[key] for key in map(_key, trained) if key in SENTIMENTS}
    lone = [text for text, count in trained.items() if count < 2]
    if twins:
        one, other = twins[0]
        problem = (
            f"labels {shown(one)} and {shown(other)} ({first[other]}) differ only in case or white space; correct "
            f"them, or make them one: --labels {_all_said([name.strip() for name in spelled.values()])}"
        )
    elif foreign:
        split, text = foreign[0]
        problem = (
            f"{counts[split][text]:,} reviews of split {split!r} have the label {shown(text)} ({first[text]}), which "
            "no training review has; correct or remove them, or say what each label means, where those that mean "
            f"nothing are left out: --labels {_all_said([name for name in first if name != text], drop=text)}"
        )
    elif len(trained) < 2:
        problem = (
            f"all {trained.total():,} training reviews have the label {shown(next(iter(trained)))}; at least two "
            "labels are needed; add reviews, or name the right column with --label_column"
        )
    # A slip among two sentiments is no third label.
    elif len(meant) == 2 and sum(trained[text] for text in odd) <= max(1, trained.total() // 100):
        problem = f"{first[odd[0]]}: {_unknown(odd[0], '0 or 1, neg or pos, good or bad, and such')}"
    elif lone:
        few = f"{len(lone):,} of the {len(trained):,} labels stand in one training review only, as {shown(lone[0])}"
        problem = f"{first[lone[0]]}: {few}; every label needs several; {_REMEDY}"
    else:
        numbers = all(re.fullmatch(r"-?[0-9]+", text) for text in trained)
        ranks = {name: rank for rank, name in enumerate(classes)}
        names = sorted(trained, key=lambda text: (ranks.get(text, len(ranks)), int(text) if numbers else 0, _key(text)))
        return Labels(tuple(name.strip() for name in names), {_key(name): place for place, name in enumerate(names)})
    raise ValueError(problem)


def _as_text(value: Any, names: Sequence[str] | None = None) -> str:
    """A label as a text: by its name, and whole numbers without a decimal point."""
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    text = str(int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value)
    # A column of whole numbers with a gap comes out of many programs with decimal points.
    digits = text.strip().removesuffix(".0")
    return digits if digits.removeprefix("-").isdigit() else text


def _key(text: str) -> str:
    return " ".join(text.split()).lower()


def _all_said(names: Sequence[str], drop: str | None = None) -> str:
    """An example of `--labels` for a message."""
    pairs = [shlex.quote(f"{name}={name}") for name in names[:8]] + (["..."] if len(names) > 8 else [])
    return shlex.quote(" ".join([*pairs, *([] if drop is None else [shlex.quote(f"{drop}=")])]))


def place_of(value: Any, names: Sequence[str]) -> int:
    """The place of a label, as it stands in the data, among names that :func:`read_labelled` found there."""
    key = _key(_as_text(value))
    return SENTIMENTS[key] if tuple(names) == SENTIMENT_NAMES else [_key(name) for name in names].index(key)
