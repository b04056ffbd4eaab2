"""Reviews of one split as a data set of the columns text, label and row, whose every value is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..utils.messages import first_cause, shown
from .columns import TEXT_COLUMNS, find_column
from .json_rows import JsonFiles

if TYPE_CHECKING:
    from datasets import Dataset, Features
    from numpy.typing import NDArray

_LABEL_COLUMNS = ("label", "labels", "sentiment", "polarity", "target", "class")
_LABELS = {"0": 0, "neg": 0, "negative": 0, "1": 1, "pos": 1, "positive": 1}
_ALLOWED_LABELS = "0 or 1, neg or pos, negative or positive (upper or lower case)"
# Reviews that are read at once.
BATCH = 1_000

Columns = Mapping[str, list[Any]]


def labelled_reviews(
    part: Dataset | JsonFiles, split: str, text_column: str | None, label_column: str | None
) -> Dataset:
    """Find the columns of a split and check every value.

    Args:
        part: What was read.
        split: Its name, for messages.
        text_column: Column of the texts; found by its name where None.
        label_column: Column of the labels; found by its name where None.

    Returns:
        The columns `text` (string), `label` (0 NEGATIVE, 1 POSITIVE) and `row` (from 0).

    Raises:
        ValueError: A column that is not there, a missing text, an unknown label, a class without reviews.
    """
    from datasets import ClassLabel, Features, Value

    text_column = find_column(part.column_names, text_column, TEXT_COLUMNS, "text")
    label_column = find_column(part.column_names, label_column, _LABEL_COLUMNS, "label")
    if text_column == label_column:
        raise ValueError(f"column {text_column!r} cannot be both; name another --text_column or --label_column")
    names = None
    if not isinstance(part, JsonFiles) and isinstance(feature := part.features[label_column], ClassLabel):
        # Names in another order than ours turn every label around; names that say nothing leave the numbers.
        names = feature.names if all(name.strip().lower() in _LABELS for name in feature.names) else None
    reviews = _each_batch(
        part,
        _label_batch,
        Features({"text": Value("string"), "label": Value("int64"), "row": Value("int64")}),
        f"Reading {split} reviews",
        {"columns": (text_column, label_column), "names": names, "split": split},
    )
    counts = class_counts(reviews)
    for label, name in enumerate(("NEGATIVE", "POSITIVE")):
        if not counts[label]:
            raise ValueError(
                f"split {split!r} holds {len(reviews):,} reviews and none of them is {name}; both classes are needed"
            )
    return reviews


def unlabeled_reviews(part: Dataset | JsonFiles, text_column: str | None) -> Dataset:
    """Find the texts of a split without labels and check them.

    Args:
        part: What was read.
        text_column: Column of the texts; found by its name where None.

    Returns:
        The columns `text` (string) and `row` (from 0).

    Raises:
        ValueError: The column is not there, or a text is missing.
    """
    from datasets import Features, Value

    name = find_column(part.column_names, text_column, TEXT_COLUMNS, "text")
    return _each_batch(
        part,
        _text_batch,
        Features({"text": Value("string"), "row": Value("int64")}),
        "Reading unlabeled reviews",
        {"columns": (name,), "split": "unlabeled"},
    )


def parse_label(value: Any, names: Sequence[str] | None, where: str) -> int:
    """What a label means: 0 NEGATIVE, 1 POSITIVE.

    Args:
        value: What stands in the data.
        names: Names of the whole numbers, where they have any.
        where: Where it stands, for the message.

    Raises:
        ValueError: It is none of the labels that are understood.
    """
    if names is not None and isinstance(value, int) and 0 <= value < len(names):
        value = names[value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    key = str(int(value) if isinstance(value, bool) else value).strip().lower()
    # A column of whole numbers with a gap comes out of many programs with decimal points.
    key = {"0.0": "0", "1.0": "1"}.get(key, key)
    if key not in _LABELS:
        raise ValueError(
            f"{where}: label {shown(value)} is not known; allowed: {_ALLOWED_LABELS}; correct or remove the row, or "
            "name the right column with --label_column"
        )
    return _LABELS[key]


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


def _each_batch(
    part: Dataset | JsonFiles,
    function: Callable[..., dict[str, list[Any]]],
    features: Features,
    description: str,
    options: Mapping[str, Any],
) -> Dataset:
    """What a function makes of a split, written into the cache batch by batch."""
    # The version is there for the cache: another release may read values differently.
    options = {**options, "version": version("hf_lstm_sentiment")}
    if not isinstance(part, JsonFiles):
        return part.map(
            function,
            batched=True,
            with_indices=True,
            remove_columns=part.column_names,
            features=features,
            fn_kwargs=options,
            desc=description,
        )
    from datasets import Dataset

    # So is the state of the files.
    state = tuple((str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in part.paths)
    try:
        return Dataset.from_generator(
            _rows, features=features, gen_kwargs={"state": state, "function": function, "options": options}
        )
    except Exception as error:
        if (cause := first_cause(error)) is error:
            raise
        raise cause from None


def _rows(
    state: tuple[tuple[str, int, int], ...],
    function: Callable[..., dict[str, list[Any]]],
    options: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    rows = enumerate(JsonFiles([Path(name) for name, _, _ in state]))
    while batch := list(islice(rows, BATCH)):
        columns = {name: [row.get(name) for _, row in batch] for name in options["columns"]}
        done = function(columns, [number for number, _ in batch], **options)
        yield from (dict(zip(done, values, strict=True)) for values in zip(*done.values(), strict=True))


def _text_batch(
    batch: Columns, rows: list[int], *, columns: Sequence[str], split: str, version: str
) -> dict[str, list[Any]]:
    texts = batch[columns[0]]
    for row, text in zip(rows, texts, strict=True):
        if not isinstance(text, str):
            raise ValueError(
                f"split {split!r}, row {row}: the text is {shown(text)}; every row needs a string in column "
                f"{columns[0]!r}; correct or remove it, or name the right column with --text_column"
            )
    return {"text": texts, "row": rows}


def _label_batch(
    batch: Columns,
    rows: list[int],
    *,
    columns: Sequence[str],
    names: Sequence[str] | None,
    split: str,
    version: str,
) -> dict[str, list[Any]]:
    texts = _text_batch(batch, rows, columns=columns, split=split, version=version)["text"]
    values = zip(rows, batch[columns[1]], strict=True)
    labels = [parse_label(value, names, f"split {split!r}, row {row}") for row, value in values]
    return {"text": texts, "label": labels, "row": rows}
