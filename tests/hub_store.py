"""What the loopback Hub keeps: repositories of commits of files, and what it demands of a card."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Any

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results

LICENSES = {"apache-2.0", "mit", "openrail", "cc-by-4.0", "cc-by-sa-4.0", "cc0-1.0", "gpl-3.0", "bsd-3-clause", "other"}


@dataclass(frozen=True)
class Token:
    """Whose a token is and whether it may write."""

    user: str
    write: bool = True


@dataclass(frozen=True)
class File:
    """A file as a commit holds it."""

    content: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        """As git names it: of a large file, the small file that points at it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        content = pointer.encode() if self.lfs else self.content
        return sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def describe(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(self.content), "oid": self.oid}
        if self.lfs:
            entry["lfs"] = {"oid": self.sha256, "size": len(self.content), "pointerSize": 134}
        return entry


@dataclass(frozen=True)
class Commit:
    """A snapshot that never changes."""

    parent: str | None
    message: str
    author: str
    files: Mapping[str, File]
    date: float = field(default_factory=time.time)

    @property
    def id(self) -> str:
        tree = sorted((path, file.oid) for path, file in self.files.items())
        return sha1(repr((self.parent, self.message, self.author, tree, self.date)).encode()).hexdigest()


class Repository:
    """Commits, and the names that point at them."""

    def __init__(self, name: str, *, private: bool, author: str) -> None:
        self.name, self.private = name, private
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        files = {".gitattributes": File(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}
        self.add("main", Commit(None, "initial commit", author, files))

    def add(self, branch: str, commit: Commit) -> str:
        self.commits[commit.id] = commit
        self.branches[branch] = commit.id
        return commit.id

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag, a pull request or a hash of at least 7 digits names."""
        for names in (self.branches, self.tags):
            if revision in names:
                return names[revision]
        return next((commit for commit in self.commits if len(revision) >= 7 and commit.startswith(revision)), None)

    def files(self, revision: str = "main") -> dict[str, bytes]:
        """What a stranger would download."""
        commit = self.find(revision)
        assert commit is not None, revision
        return {path: file.content for path, file in self.commits[commit].files.items()}

    def history(self, revision: str = "main") -> list[str]:
        """Messages, the newest first."""
        commit, messages = self.find(revision), []
        while commit is not None:
            messages.append(self.commits[commit].message)
            commit = self.commits[commit].parent
        return messages


def check_card(content: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about the metadata of a card."""
    match = re.match(r"\A---\r?\n(.*?)\r?\n---(?:\r?\n|\Z)", content, re.DOTALL)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(match[1])
    except yaml.YAMLError as error:
        return [f"the yaml metadata cannot be parsed: {' '.join(str(error).split())}"], []
    if not isinstance(data, dict):
        return ["the yaml metadata must be a mapping"], []
    strings = lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value)  # noqa: E731
    checks = {
        f"one of [{', '.join(sorted(LICENSES))}]": (("license",), LICENSES.__contains__),
        "a string": (("pipeline_tag", "library_name", "language"), lambda value: isinstance(value, str)),
        "an array of strings": (("tags", "datasets", "metrics"), strings),
        "an array of examples": (("widget",), lambda value: strings([example["text"] for example in value])),
        "an array of results": (("model-index",), model_index_to_eval_results),
    }
    errors = []
    for what, (keys, allowed) in checks.items():
        for key in data.keys() & {*keys}:
            try:
                good = allowed(data[key])
            except (KeyError, TypeError, AttributeError):
                good = False
            errors += [] if good else [f'"{key}" must be {what}']
    return errors, []
