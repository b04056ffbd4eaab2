"""The files of a directory that are read here as single files are, and not as `datasets` would read them.

Its readers take a review "null" for a missing one and "007" for a number, and of a json file that begins with null
the process ends.
"""

from __future__ import annotations

from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .json_rows import SUFFIXES

if TYPE_CHECKING:
    from datasets import DatasetBuilder

_KINDS = (set(SUFFIXES), {".csv"}, {".tsv"}, {".txt"})
_NAMES = ("name", "version", "description", "data_dir", "data_files")


def plain_files(builder: DatasetBuilder) -> dict[str, list[Path]]:
    """The files of each split of a directory, where they are json and jsonl files, or all csv, tsv or txt files.

    Args:
        builder: What `datasets` would read the directory with.

    Returns:
        Nothing where the directory holds files of other or several kinds, compressed ones, or a card that says how
        they are to be read.
    """
    splits = {str(split): [Path(name) for name in names] for split, names in (builder.config.data_files or {}).items()}
    every = list(chain.from_iterable(splits.values()))
    suffixes = {path.suffix.lower() for path in every}
    if not any(suffixes <= kind for kind in _KINDS) or not all(path.is_file() for path in every):
        return {}
    usual = type(builder).BUILDER_CONFIG_CLASS(**({"sep": "\t"} if suffixes == {".tsv"} else {}))
    return splits if _settings(builder.config) == _settings(usual) else {}


def _settings(config: Any) -> dict[str, Any]:
    return {field.name: getattr(config, field.name) for field in fields(config) if field.name not in _NAMES}
