"""Files and directories: as a user names them, replaced whole, written by one process at a time."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def user_path(name: str | os.PathLike[str], kind: str = "a file or directory") -> Path:
    """Return the path of a name that a user gave, with `~` as the home directory; `kind` is for the message.

    An empty name, as that of a variable that a shell does not know, would silently stand for the current directory.
    """
    if not os.fspath(name):
        raise ValueError(f"{kind} is named '', which is no name; the current directory is called '.'")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name}: there is no such home directory; write the whole path") from error


def empty_folder(name: str | os.PathLike[str]) -> Path:
    """Return the path of a folder to be written; a FileExistsError where something lies there."""
    target = user_path(name)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is there already and not an empty folder; name another one")
    return target


def local_path(name: str, kind: str, *, allowed: str, suffixes: tuple[str, ...] = ()) -> Path | None:
    """Return the path of a name that may also be a repository's on the Hub, or None where it can only be that.

    A name that ends in one of the suffixes is a file's. `kind` and `allowed` are for the message.
    """
    path = user_path(name, kind)
    if path.exists():
        return path
    if path.suffix.lower() in suffixes or not HUB_ID.fullmatch(name):
        raise FileNotFoundError(f"{kind} {name}: no such file or directory; allowed: {allowed}")
    return None


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its place once it is whole: a killed process leaves the old file or the new one.

    Where the block raises, nothing takes its place. What a kill leaves behind beside it is called `.NAME.*.tmp`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def only_writer(path: Path) -> Iterator[None]:
    """Refuse a second process that writes the same file or directory; the system releases a killed process's lock.

    The lock lies beside it, as `.NAME.lock`.
    """
    from filelock import FileLock, Timeout

    lock = path.with_name(f".{path.name}.lock")
    try:
        held = FileLock(lock).acquire(timeout=0)
    except Timeout as error:
        raise BlockingIOError(
            f"{path} is being written by another run at this moment; wait until it has ended, or name another output"
        ) from error
    with held:
        try:
            yield
        finally:
            # Windows removes no file that is open; there it goes when the lock is released.
            with suppress(OSError):
                os.remove(lock)


def file_digest(path: Path) -> str:
    """The sha256 of a file's content, as "sha256:" and 64 hexadecimal digits."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """Write a mapping as JSON; a ValueError for NaN and infinity, which JSON does not know."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing(path) as file:
        file.write(f"{text}\n".encode())


def json_ready(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a mapping as it will be read again from JSON; what JSON does not know becomes a text."""
    return dict(json.loads(json.dumps(value, default=str)))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a ValueError where the file holds anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}, expected an object")
    return value
