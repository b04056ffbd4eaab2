"""Files and directories as a user names them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(name: str | os.PathLike[str], kind: str = "a file or directory") -> Path:
    """A file or directory under the name that a user gave it, with `~` as the home directory.

    Args:
        name: The name.
        kind: What it is the name of, for the message.

    Raises:
        ValueError: It is empty, as that of a variable that a shell does not know, which would silently stand for the
            current directory; or it begins with a `~` and there is no such home directory.
    """
    if not os.fspath(name):
        raise ValueError(f"{kind} is named '', which is no name; the current directory is called '.'")
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{name}: there is no such home directory; write the whole path") from error
