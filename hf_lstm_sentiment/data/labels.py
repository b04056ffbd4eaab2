"""What the labels of reviews mean, and reviews of one split as a data set whose every value is checked."""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from ..model.configuration_sentiment_lstm import NEGATIVE, POSITIVE
from ..utils.messages import listed, shown
from .columns import ReadRow, describe_column, find_column
from .readers import Rows

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_NEGATIVE = ("0", "neg", "negative", "bad", "rotten", "false", "label_0")
_POSITIVE = ("1", "pos", "positive", "good", "fresh", "true", "label_1")
# What the usual words for two sentiments mean, in lower case.
SENTIMENTS: dict[str, int | None] = {**dict.fromkeys(_NEGATIVE, 0), **dict.fromkeys(_POSITIVE, 1)}
# Reviews that are read at once.
BATCH = 1_000

_REMEDY = (
    "correct or remove the row, name the right column with --label_column, or say what each label means: "
    f"--labels {shlex.quote('1=negative 2=positive 3=')}, where rows of label 3 are left out"
)
_FRACTION = re.compile(r"[+-]?(\d*\.\d+|\d+\.?\d*e[+-]?\d+|inf(inity)?)")


class _OtherLabelError(ValueError):
    """A label that is no usual word for one of two sentiments."""


@dataclass(frozen=True)
class Labels:
    """Names of labels, whose places are the ids, and which label stands for which."""

    names: tuple[str, ...] = (NEGATIVE, POSITIVE)
    # For each label of the data, in lower case and with single spaces, its id, or None where its rows are left out.
    ids: Mapping[str, int | None] = field(default_factory=lambda: SENTIMENTS)

    def find(self, value: Any, class_names: Sequence[str] | None = None) -> int | None:
        """The id of a label, or None where its row is to be left out; a ValueError where it is not known.

        `class_names` are the names of whole numbers, where they have any.
        """
        text = _as_text(value, class_names)
        if (key := _key(text)) in self.ids:
            return self.ids[key]
        if self.ids == SENTIMENTS:
            raise _OtherLabelError(f"label {shown(text)}")
        raise ValueError(
            f"label {shown(value if class_names is None else text)} is not known; allowed: "
            f"{listed(map(repr, self.ids))}; {_REMEDY}"
        )


def parse_labels(labels: str | Mapping[str, str]) -> Labels:
    """What a user says that labels mean, such as "1=negative 2=positive 3=", where rows of label 3 are left out.

    The names are in the order in which they are said; NEGATIVE and POSITIVE where all of them mean these. A ValueError
    where it is written otherwise, one label means two names, or two names differ only in case or spaces.
    """
    problem = None
    pairs = [part.rpartition("=")[::2] for part in shlex.split(labels)] if isinstance(labels, str) else labels.items()
    meanings: dict[str, str] = {}
    for value, meaning in pairs:
        label, name = _key(_as_text(value, None)), " ".join(("" if meaning is None else str(meaning)).split())
        if not label:
            problem = problem or "one of them has no label"
        elif meanings.setdefault(label, name) != name:
            problem = f"{label!r} means {meanings[label]!r} and {name!r}"
    names = list(dict.fromkeys(filter(None, meanings.values())))
    if {_key(name) for name in names} <= SENTIMENTS.keys():
        found = {label: SENTIMENTS[_key(name)] if name else None for label, name in meanings.items()}
        names = [NEGATIVE, POSITIVE]
    else:
        found = {label: names.index(name) if name else None for label, name in meanings.items()}
    if len({_key(name) for name in names}) < len(names):
        problem = "two names differ only in case"
    elif not problem and len(names) < 2:
        problem = f"all of them mean {names[0]!r}"
    if problem or not meanings:
        raise ValueError(
            f"labels are {labels!r}: {problem or 'there are none'}; allowed: LABEL=NAME for each label of the data, "
            "two names at least, or LABEL= to leave its rows out, with a space between them"
        )
    return Labels(tuple(names), found)


class _Columns(NamedTuple):
    """Where the texts of a split stand, and the labels where it has some."""

    text: str
    label: str | None


def read_labelled(
    splits: Mapping[str, Sequence[Rows]],
    *,
    text_column: str | None,
    label_column: str | None = None,
    labels: Labels | None = None,
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Find the columns of splits, check every value and write what is read into the cache.

    Of each split the columns `text` (string), `label` (an id; not of unlabeled reviews) and `row` (from 0), and the
    names of the labels. Where it is not said what these mean, the usual words for two sentiments mean these, and any
    other labels of the training reviews are names: in the order of a ClassLabel, numbers rising, texts by the alphabet.

    A ValueError names a column that is not there, a missing text or label, a label that no training review has, a
    label without reviews, a number with a fraction or several labels of one review.
    """
    columns = {split: _find_columns(parts, split, text_column, label_column) for split, parts in splits.items()}

    def read(meant: Labels) -> dict[str, Dataset]:
        return {split: _read_split(parts, columns[split], meant) for split, parts in splits.items()}

    try:
        labels = labels or Labels()
        found = read(labels)
    except _OtherLabelError:
        labels = _find_labels(splits, columns)
        found = read(labels)
    for split, part in found.items():
        missing = [] if split == "unlabeled" else missing_labels(part, labels.names)
        # Of many labels, a split that is not trained on need not have each.
        if missing and (split == "train" or len(labels.names) == 2):
            raise ValueError(
                f"split {split!r} holds {len(part):,} reviews and none of them is {listed(missing)}; "
                + ("both classes are needed" if len(labels.names) == 2 else "every label needs some")
            )
    return found, labels.names


def _find_columns(parts: Sequence[Rows], split: str, text_column: str | None, label_column: str | None) -> _Columns:
    names = list(dict.fromkeys(column for part in parts for column in part.columns))
    if not names:
        raise ValueError(f"{parts[0].name} holds no row")
    text, label = find_column(names, text_column, "text"), None
    said = describe_column(names, text, "text")
    if split != "unlabeled":
        label = find_column(names, label_column, "label")
        said += f", {describe_column(names, label, 'label')}"
        if text == label:
            raise ValueError(f"column {text!r} cannot be both; name another --text_column or --label_column")
    logger.info(f"{split} reviews: {said}")
    return _Columns(text, label)


def _read_split(parts: Sequence[Rows], columns: _Columns, labels: Labels) -> Dataset:
    from datasets import Dataset, Features, Value
    from datasets.exceptions import DatasetGenerationError

    kinds = {"text": "string", **({} if columns.label is None else {"label": "int64"}), "row": "int64"}
    # The version is there for the cache: another release may read values differently.
    key = (version("hf_lstm_sentiment"), [part.state for part in parts], *columns, sorted(labels.ids.items()))
    try:
        return Dataset.from_generator(
            _reviews,
            features=Features({name: Value(kind) for name, kind in kinds.items()}),
            # A tuple: of a list, `datasets` would make shards.
            gen_kwargs={"parts": tuple(parts), "columns": columns, "labels": labels},
            fingerprint=hashlib.sha256(repr(key).encode()).hexdigest(),
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None


def _rows(parts: Sequence[Rows], columns: _Columns) -> Iterator[tuple[Rows, ReadRow, Sequence[str] | None]]:
    """Every row with a text, and the names of its column's whole numbers."""
    for part in parts:
        only = [column for column in columns if column is not None and column in part.columns]
        names = part.class_names.get(columns.label) if columns.label else None
        for read in part.with_text(columns.text, only=only):
            yield part, read, names


def _reviews(parts: Sequence[Rows], columns: _Columns, labels: Labels) -> Iterator[dict[str, Any]]:
    place, left = -1, 0
    for place, (part, read, names) in enumerate(_rows(parts, columns)):
        review: dict[str, Any] = {"text": read.row[columns.text], "row": place}
        if columns.label is not None:
            try:
                review["label"] = labels.find(read.row.get(columns.label), names)
            except _OtherLabelError:
                raise
            except ValueError as error:
                raise ValueError(f"{part.name}, {read.place}: {error}") from None
            if review["label"] is None:
                continue
        left += 1
        yield review
    if not left:
        raise ValueError(f"{parts[0].name} holds no row" + (", but for those left out" if place >= 0 else ""))


def _find_labels(splits: Mapping[str, Sequence[Rows]], columns: Mapping[str, _Columns]) -> Labels:
    """Take the names of labels out of the data."""
    # Of each label as it is written: how often it stands in each split, and where the first one does.
    counts: dict[str, Counter[str]] = {split: Counter() for split in splits if columns[split].label}
    first: dict[str, str] = {}
    ordered: dict[str, None] = {}
    for split, counted in counts.items():
        for part, read, names in _rows(splits[split], columns[split]):
            value = read.row.get(columns[split].label or "")
            text = _as_text(value, names)
            place = f"{part.name}, {read.place}"
            if problem := _problem(value, text, names):
                raise ValueError(f"{place}: {problem}")
            counted[text] += 1
            if text not in first:
                first[text] = place
                ordered |= dict.fromkeys(names or ())
    spelled: dict[str, str] = {}
    twins = [(spelled[key], text) for text in first if spelled.setdefault(key := _key(text), text) != text]
    for one, other in twins:
        raise ValueError(
            f"labels {shown(one)} and {shown(other)} ({first[other]}) differ only in case or white space; correct "
            f"them, or make them one: --labels {_all_said([name.strip() for name in spelled.values()])}"
        )
    trained = counts["train"]
    for split, counted in counts.items():
        for text in (text for text in counted if text not in trained):
            raise ValueError(
                f"{counted[text]:,} reviews of split {split!r} have the label {shown(text)} ({first[text]}), which no "
                f"training review has; correct or remove them, or say what each label means, where those that mean "
                f"nothing are left out: --labels {_all_said([name for name in first if name != text], drop=text)}"
            )
    if len(trained) < 2:
        raise ValueError(
            f"all {trained.total():,} training reviews have the label {shown(next(iter(trained)))}; at least two "
            "labels are needed; add reviews, or name the right column with --label_column"
        )
    odd = {text: count for text, count in trained.items() if _key(text) not in SENTIMENTS}
    meant = {SENTIMENTS[_key(text)] for text in trained.keys() - odd.keys()}
    # A slip among two sentiments is no third label.
    if len(meant) == 2 and odd and sum(odd.values()) <= max(1, trained.total() // 100):
        text = next(iter(odd))
        raise ValueError(
            f"{first[text]}: label {shown(text)} is not known; allowed: 0 or 1, neg or pos, negative or positive, bad "
            f"or good, rotten or fresh, false or true, LABEL_0 or LABEL_1 (upper or lower case); {_REMEDY}"
        )
    if lone := [text for text, count in trained.items() if count < 2]:
        raise ValueError(
            f"{first[lone[0]]}: label {shown(lone[0])} stands in one training review only"
            + (f", and so do {len(lone) - 1:,} more of the {len(trained):,} labels" if len(lone) > 1 else "")
            + f"; every label needs several; {_REMEDY}"
        )
    numbers = all(re.fullmatch(r"-?[0-9]+", text) for text in trained)
    ranks = {name: rank for rank, name in enumerate(ordered)}
    names = sorted(trained, key=lambda text: (ranks.get(text, len(ranks)), int(text) if numbers else 0, _key(text)))
    return Labels(tuple(name.strip() for name in names), {_key(name): place for place, name in enumerate(names)})


def _as_text(value: Any, names: Sequence[str] | None) -> str:
    """A label as a text: by its name, and whole numbers without a decimal point."""
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    text = str(int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value)
    # A column of whole numbers with a gap comes out of many programs with decimal points.
    digits = text.strip().removesuffix(".0")
    return digits if digits.removeprefix("-").isdigit() else text


def _key(text: str) -> str:
    return " ".join(text.split()).lower()


def _problem(value: Any, text: str, names: Sequence[str] | None) -> str | None:
    """Why a value is no name of a label."""
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


def _all_said(names: Sequence[str], drop: str | None = None) -> str:
    """An example of `--labels` for a message."""
    pairs = [shlex.quote(f"{name}={name}") for name in names[:8]] + (["..."] if len(names) > 8 else [])
    return shlex.quote(" ".join([*pairs, *([] if drop is None else [shlex.quote(f"{drop}=")])]))


def class_counts(part: Dataset, labels: int = 2) -> tuple[int, ...]:
    """Numbers of reviews of each label."""
    return tuple(np.bincount(whole_numbers(part, "label"), minlength=labels).tolist())


def missing_labels(part: Dataset, names: Sequence[str]) -> list[str]:
    """Names of the labels that no review has, out of the names of all labels."""
    return [name for name, count in zip(names, class_counts(part, len(names)), strict=True) if not count]


def whole_numbers(part: Dataset, name: str) -> NDArray[np.int64]:
    """A column of whole numbers; read at once, a selection of rows would take hundreds of bytes for each."""
    batches = part.select_columns([name]).with_format("numpy").iter(BATCH)
    return np.concatenate([np.empty(0, dtype=np.int64), *(batch[name] for batch in batches)])


def place_of(value: Any, names: Sequence[str]) -> int:
    """The place of a label, as it stands in the data, among names that :func:`read_labelled` found there."""
    key = _key(_as_text(value, None))
    return cast(int, SENTIMENTS[key]) if tuple(names) == Labels.names else [_key(name) for name in names].index(key)
