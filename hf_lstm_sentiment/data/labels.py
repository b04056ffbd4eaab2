"""What the labels of reviews mean, and reviews of one split as a data set whose every value is checked."""

from __future__ import annotations

import hashlib
import logging
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..model.configuration_sentiment_lstm import NEGATIVE, POSITIVE
from ..utils.messages import listed, shown
from .columns import describe_column, find_column
from .readers import Rows

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

SENTIMENT_NAMES = (NEGATIVE, POSITIVE)
_NEGATIVE = ("0", "neg", "negative", "bad", "rotten", "false", "label_0")
_POSITIVE = ("1", "pos", "positive", "good", "fresh", "true", "label_1")
# What the usual words for two sentiments mean, in lower case.
SENTIMENTS = {**dict.fromkeys(_NEGATIVE, 0), **dict.fromkeys(_POSITIVE, 1)}
# Reviews that are read at once.
BATCH = 1_000

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
    problem = None
    try:
        said = (
            [pair.rpartition("=")[::2] for pair in shlex.split(labels)] if isinstance(labels, str) else labels.items()
        )
    except (ValueError, AttributeError) as error:
        said, problem = [], f"{error}".lower()
    for value, meaning in said:
        label, name = _key(_as_text(value)), " ".join(("" if meaning is None else str(meaning)).split())
        if not label:
            problem = problem or "one of them has no label"
        elif meanings.setdefault(label, name) != name:
            problem = f"{label!r} means {meanings[label]!r} and {name!r}"
    names = tuple(dict.fromkeys(filter(None, meanings.values())))
    ids = {_key(name): place for place, name in enumerate(names)}
    if ids.keys() <= SENTIMENTS.keys():
        names, ids = SENTIMENT_NAMES, SENTIMENTS
    elif len(ids) < len(names):
        problem = "two names differ only in case"
    elif len(names) < 2:
        problem = problem or f"all of them mean {names[0]!r}"
    if problem or not meanings:
        raise ValueError(
            f"labels are {labels!r}: {problem or 'there are none'}; allowed: LABEL=NAME for each label of the data, "
            "two names at least, or LABEL= to leave its rows out, with a space between them"
        )
    return Labels(names, {label: ids[_key(name)] if name else None for label, name in meanings.items()})


def read_labelled(
    splits: Mapping[str, Sequence[Rows]], *, text_column: str | None, label_column: str | None, labels: Labels | None
) -> tuple[dict[str, Dataset], tuple[str, ...]]:
    """Find the columns of splits, check every value and write what is read into the cache.

    Of each split the columns `text` (string), `label` (an id; not of unlabeled reviews) and `row` (from 0), and the
    names of the labels. Where it is not said what these mean, the usual words for two sentiments mean these, and any
    other labels of the training reviews are names: in the order of a ClassLabel, numbers rising, texts by the alphabet.

    A ValueError names a column that is not there, a missing text or label, a label that no training review has, a
    label without reviews, a number with a fraction or several labels of one review.
    """
    found: dict[str, Dataset] = {}
    # Names that the labels' columns have for whole numbers.
    classes: dict[str, None] = {}
    for split, parts in splits.items():
        text, label = _find_columns(parts, split, text_column, label_column)
        found[split] = _read_split(parts, text, label, labels and labels.ids)
        classes |= dict.fromkeys(name for part in parts for name in part.class_names.get(label or "", ()))
    labels = labels or _find_labels(found, splits, list(classes))
    for split, part in found.items():
        if split == "unlabeled":
            continue
        numbers = np.fromiter((labels.ids[_key(text)] for text in _written(part)), np.int64, len(part))
        part = part.remove_columns("label").add_column("label", numbers).select_columns(["text", "label", "row"])
        found[split] = part
        missing = missing_labels(part, labels.names)
        # Of many labels, a split that is not trained on need not have each.
        if missing and (split == "train" or len(labels.names) == 2):
            raise ValueError(
                f"split {split!r} holds {len(part):,} reviews and none of them is {listed(missing)}; "
                + ("both classes are needed" if len(labels.names) == 2 else "every label needs some")
            )
    return found, labels.names


def _find_columns(
    parts: Sequence[Rows], split: str, text_column: str | None, label_column: str | None
) -> tuple[str, str | None]:
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
    return text, label


def _read_split(parts: Sequence[Rows], text: str, label: str | None, ids: Mapping[str, int | None] | None) -> Dataset:
    """The reviews of a split with their labels as they are written, but for those that are to be left out."""
    from datasets import Dataset, Features, Value
    from datasets.exceptions import DatasetGenerationError

    def reviews(parts: tuple[Rows]) -> Iterator[dict[str, Any]]:
        place = left = 0
        for part in parts:
            names = None if label is None else part.class_names.get(label)
            only = [column for column in (text, label) if column is not None and column in part.columns]
            for read in part.with_text(text, only=only):
                review = {"text": read.row[text], "row": place}
                place += 1
                if label is not None:
                    value = read.row.get(label)
                    written = review["label"] = _as_text(value, names)
                    if problem := _problem(value, written, names, ids):
                        raise ValueError(f"{part.name}, {read.place}: {problem}")
                    if ids is not None and ids[_key(written)] is None:
                        continue
                left += 1
                yield review
        if not left:
            raise ValueError(f"{parts[0].name} holds no row" + (", but for those left out" if place else ""))

    kinds = {"text": "string", **({} if label is None else {"label": "string"}), "row": "int64"}
    # The version is there for the cache: another release may read values differently.
    known = ids and sorted(ids.items())
    key = (version("hf_lstm_sentiment"), "as written", [part.state for part in parts], text, label, known)
    try:
        return Dataset.from_generator(
            reviews,
            features=Features({name: Value(kind) for name, kind in kinds.items()}),
            # A tuple: of a list, `datasets` would make shards.
            gen_kwargs={"parts": tuple(parts)},
            fingerprint=hashlib.sha256(repr(key).encode()).hexdigest(),
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None


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


def _written(part: Dataset) -> Iterator[str]:
    """Labels as they are written."""
    return chain.from_iterable(batch["label"] for batch in part.select_columns(["label"]).iter(BATCH))


def _find_labels(found: Mapping[str, Dataset], splits: Mapping[str, Sequence[Rows]], classes: Sequence[str]) -> Labels:
    """Take the names of labels out of the data."""
    # Of each label as it is written: how often it stands in each split, and where the first one does.
    counts: dict[str, Counter[str]] = {split: Counter() for split in found if split != "unlabeled"}
    first: dict[str, tuple[str, int]] = {}
    for split, counted in counts.items():
        for row, text in enumerate(_written(found[split])):
            counted[text] += 1
            first.setdefault(text, (split, row))
    if all(_key(text) in SENTIMENTS for text in first):
        return Labels(SENTIMENT_NAMES, SENTIMENTS)

    def where(text: str) -> str:
        split, row = first[text]
        rows = ((part, read) for part in splits[split] for read in part.read(None))
        part, read = next(islice(rows, row, None))
        return f"{part.name}, {read.place}"

    spelled: dict[str, str] = {}
    twins = [(spelled[key], text) for text in first if spelled.setdefault(key := _key(text), text) != text]
    for one, other in twins:
        raise ValueError(
            f"labels {shown(one)} and {shown(other)} ({where(other)}) differ only in case or white space; correct "
            f"them, or make them one: --labels {_all_said([name.strip() for name in spelled.values()])}"
        )
    trained = counts["train"]
    for split, counted in counts.items():
        for text in (text for text in counted if text not in trained):
            raise ValueError(
                f"{counted[text]:,} reviews of split {split!r} have the label {shown(text)} ({where(text)}), which no "
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
            f"{where(text)}: "
            + _unknown(
                text,
                "0 or 1, neg or pos, negative or positive, bad or good, rotten or fresh, false or true, LABEL_0 or "
                "LABEL_1 (upper or lower case)",
            )
        )
    if lone := [text for text, count in trained.items() if count < 2]:
        raise ValueError(
            f"{where(lone[0])}: label {shown(lone[0])} stands in one training review only"
            + (f", and so do {len(lone) - 1:,} more of the {len(trained):,} labels" if len(lone) > 1 else "")
            + f"; every label needs several; {_REMEDY}"
        )
    numbers = all(re.fullmatch(r"-?[0-9]+", text) for text in trained)
    ranks = {name: rank for rank, name in enumerate(classes)}
    names = sorted(trained, key=lambda text: (ranks.get(text, len(ranks)), int(text) if numbers else 0, _key(text)))
    return Labels(tuple(name.strip() for name in names), {_key(name): place for place, name in enumerate(names)})


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
    key = _key(_as_text(value))
    return SENTIMENTS[key] if tuple(names) == SENTIMENT_NAMES else [_key(name) for name in names].index(key)
