"""What the loopback Hub keeps: repositories of commits of files, and what it demands of a card."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from typing import Any

import yaml

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
    errors = [
        f'"{key}" must be {what}'
        for key, what, allowed in (
            ("license", f"one of [{', '.join(sorted(LICENSES))}]", lambda v: v in LICENSES),
            ("pipeline_tag", "a string", lambda v: isinstance(v, str)),
            ("library_name", "a string", lambda v: isinstance(v, str)),
            ("language", "a string or an array", lambda v: isinstance(v, str | list)),
            ("tags", "an array of strings", _is_strings),
            ("datasets", "an array of strings", _is_strings),
            ("metrics", "an array of strings", _is_strings),
            ("widget", "an array of examples with a text", _is_widget),
        )
        if key in data and not allowed(data[key])
    ]
    return [*errors, *_check_model_index(data.get("model-index", []))], []


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_widget(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict) and isinstance(item.get("text"), str) for item in value
    )


def _check_model_index(index: Any) -> Iterator[str]:
    if not isinstance(index, list):
        yield '"model-index" must be an array'
        return
    for i, model in enumerate(index):
        at = f'"model-index[{i}]'
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            yield f'{at}.name" is required'
            continue
        if not isinstance(model.get("results"), list):
            yield f'{at}.results" must be an array'
            continue
        for j, result in enumerate(model["results"]):
            here = f"{at}.results[{j}]"
            for part, key in (("task", "type"), ("dataset", "type"), ("dataset", "name")):
                if not isinstance(result.get(part), dict) or not isinstance(result[part].get(key), str):
                    yield f'{here}.{part}.{key}" is required'
            metrics = result.get("metrics")
            if not isinstance(metrics, list) or not metrics:
                yield f'{here}.metrics" must be an array with an entry'
                continue
            for k, metric in enumerate(metrics):
                if not isinstance(metric.get("type"), str):
                    yield f'{here}.metrics[{k}].type" is required'
                if not isinstance(metric.get("value"), int | float | str | list | dict):
                    yield f'{here}.metrics[{k}].value" is required'
