"""Reviews of one split as a data set of the columns text, label and row, whose every value is checked."""

from __future__ import annotations

import hashlib
import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ..utils.messages import shown
from .columns import describe_column, find_column
from .readers import Rows

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_NEGATIVE = ("0", "neg", "negative", "bad", "rotten", "false", "label_0")
_POSITIVE = ("1", "pos", "positive", "good", "fresh", "true", "label_1")
# What labels mean, in lower case.
LABELS: dict[str, int] = {**dict.fromkeys(_NEGATIVE, 0), **dict.fromkeys(_POSITIVE, 1)}
# Reviews that are read at once.
BATCH = 1_000


def parse_labels(labels: str | Mapping[str, str]) -> dict[str, int | None]:
    """What a user says that labels mean.

    Args:
        labels: Such as "1=negative 2=positive 3=", or a mapping; rows of a label that means nothing are left out.

    Returns:
        0 NEGATIVE, 1 POSITIVE or None for each label, in lower case.

    Raises:
        ValueError: It is written otherwise, or means something else.
    """
    pairs = dict(part.rpartition("=")[::2] for part in shlex.split(labels)) if isinstance(labels, str) else labels
    meanings: dict[str, int | None] = {}
    for label, meaning in pairs.items():
        if str(label) == "" or (meaning and meaning.lower() not in LABELS):
            raise ValueError(
                f"labels are {labels!r}; allowed: LABEL=negative, LABEL=positive, or LABEL= to leave its rows out, "
                "with a space between them"
            )
        meanings[str(label).strip().lower()] = LABELS[meaning.lower()] if meaning else None
    return meanings


def read_reviews(
    parts: Sequence[Rows],
    split: str,
    *,
    text_column: str | None,
    label_column: str | None = None,
    labels: Mapping[str, int | None] | None = None,
) -> Dataset:
    """Find the columns of a split, check every value and write what is read into the cache.

    Args:
        parts: What is read, one after the other.
        split: Its name, for messages; "unlabeled" reviews need no labels.
        text_column: Column of the texts; found by its name where None.
        label_column: Column of the labels; found by its name where None.
        labels: What the labels mean, where they are not the usual ones.

    Returns:
        The columns `text` (string), `label` (0 NEGATIVE, 1 POSITIVE; not of unlabeled reviews) and `row` (from 0).

    Raises:
        ValueError: A column that is not there, a missing text, an unknown label, a class without reviews.
    """
    from datasets import Dataset, Features, Value
    from datasets.exceptions import DatasetGenerationError

    columns = list(dict.fromkeys(column for part in parts for column in part.columns))
    if not columns:
        raise ValueError(f"{parts[0].name} holds no row")
    texts = find_column(columns, text_column, "text")
    said, kinds = [describe_column(columns, texts, "text")], {"text": "string", "row": "int64"}
    chosen = None
    if split != "unlabeled":
        chosen = find_column(columns, label_column, "label")
        said.append(describe_column(columns, chosen, "label"))
        kinds = {"text": "string", "label": "int64", "row": "int64"}
        if texts == chosen:
            raise ValueError(f"column {texts!r} cannot be both; name another --text_column or --label_column")
    logger.info(f"{split} reviews: {', '.join(said)}")
    # The version is there for the cache: another release may read values differently.
    key = (version("hf_lstm_sentiment"), [part.state for part in parts], texts, chosen, sorted((labels or {}).items()))
    try:
        reviews = Dataset.from_generator(
            _reviews,
            features=Features({name: Value(kind) for name, kind in kinds.items()}),
            # A tuple: of a list, `datasets` would make shards.
            gen_kwargs={"parts": tuple(parts), "texts": texts, "chosen": chosen, "labels": labels},
            fingerprint=hashlib.sha256(repr(key).encode()).hexdigest(),
        )
    except DatasetGenerationError as error:
        raise error.__cause__ or error from None
    if chosen is not None:
        counts = class_counts(reviews)
        for label, name in enumerate(("NEGATIVE", "POSITIVE")):
            if not counts[label]:
                raise ValueError(
                    f"split {split!r} holds {len(reviews):,} reviews and none of them is {name}; both classes are "
                    "needed"
                )
    return reviews


def _reviews(
    parts: Sequence[Rows], texts: str, chosen: str | None, labels: Mapping[str, int | None] | None
) -> Iterator[dict[str, Any]]:
    place, left = -1, 0
    for part in parts:
        only = [column for column in (texts, chosen) if column is not None and column in part.columns]
        names = part.class_names.get(chosen) if chosen else None
        for place, read in enumerate(part.with_text(texts, only=only), start=place + 1):  # noqa: B020
            left += 1
            if chosen is None:
                yield {"text": read.row[texts], "row": place}
                continue
            try:
                label = parse_label(read.row.get(chosen), names, labels)
            except ValueError as error:
                raise ValueError(f"{part.name}, {read.place}: {error}") from None
            if label is None:
                left -= 1
            else:
                yield {"text": read.row[texts], "label": label, "row": place}
    if not left:
        raise ValueError(f"{parts[0].name} holds no row" + (", but for those left out" if place >= 0 else ""))


def parse_label(
    value: Any, names: Sequence[str] | None = None, meanings: Mapping[str, int | None] | None = None
) -> int | None:
    """What a label means: 0 NEGATIVE, 1 POSITIVE.

    Args:
        value: What stands in the data.
        names: Names of the whole numbers, where they have any.
        meanings: From `parse_labels`; the usual ones where None.

    Returns:
        None where the row is to be left out.

    Raises:
        ValueError: It is none of the labels that are understood.
    """
    key = str(int(value) if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()) else value)
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        key = names[value]
    # A column of whole numbers with a gap comes out of many programs with decimal points.
    key = key.strip().lower()
    key = key.removesuffix(".0") if key.removesuffix(".0").isdigit() else key
    known: Mapping[str, int | None] = LABELS if meanings is None else meanings
    if key not in known:
        allowed = "0 or 1, neg or pos, negative or positive, bad or good, rotten or fresh, false or true, LABEL_0 or "
        allowed = f"{allowed}LABEL_1 (upper or lower case)" if meanings is None else ", ".join(map(repr, meanings))
        raise ValueError(
            f"label {shown(value if names is None else key)} is not known; allowed: {allowed}; correct or remove the "
            "row, name the right column with --label_column, or say what each label means: "
            f"--labels {shlex.quote('1=negative 2=positive 3=')}, where rows of label 3 are left out"
        )
    return known[key]


def class_counts(part: Dataset) -> tuple[int, int]:
    """Numbers of negative and of positive reviews.

    Args:
        part: Reviews with the column `label`.
    """
    positive = int(whole_numbers(part, "label").sum())
    return len(part) - positive, positive


def whole_numbers(part: Dataset, name: str) -> NDArray[np.int64]:
    """A column of whole numbers; read at once, a selection of rows would take hundreds of bytes for each.

    Args:
        part: The data set.
        name: The column.
    """
    batches = part.select_columns([name]).with_format("numpy").iter(BATCH)
    return np.concatenate([np.empty(0, dtype=np.int64), *(batch[name] for batch in batches)])
