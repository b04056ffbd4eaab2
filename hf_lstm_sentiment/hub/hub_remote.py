"""What the Hub holds under a name, and whether a run may be published there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from ..model.configuration_sentiment_lstm import SentimentLSTMConfig
from ..utils.files import read_json
from .publishable import CARD, CONFIG, PICTURE, code_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

MAIN = "main"
# What a repository may hold without being anybody's model.
_BLANK = {".gitattributes", ".gitignore", CARD, "LICENSE"}


@dataclass(frozen=True)
class Remote:
    """A repository of the Hub as it was when somebody looked.

    Attributes:
        api: Asks the Hub.
        repo_id: Its name.
        private: Whether only its owner sees it.
        branches: Commit of each branch and pull request.
        tags: Commit of each tag.
        head: Commit that a push builds on; None in a repository without one.
        files: The files of that commit.
    """

    api: HfApi
    repo_id: str
    private: bool
    branches: Mapping[str, str]
    tags: Mapping[str, str]
    head: str | None
    files: Mapping[str, RepoFile]

    def check_visibility(self, private: bool | None) -> None:
        """Refuse to publish where more, or fewer, can read than was asked for.

        Args:
            private: What was asked for; None for what there is.
        """
        if private is not None and private != self.private:
            there, wanted = ("private", "public") if self.private else ("public", "private")
            raise ValueError(
                f"{self.repo_id} is there already and is {there}; private={private} asks for a {wanted} one. Change it "
                "in its settings on the Hub and leave private out, or push under another name"
            )

    def check_kind(self) -> None:
        """Refuse to write over somebody else's work."""
        if self.files.keys() <= _BLANK:
            return
        kind = None
        if CONFIG in self.files:
            with TemporaryDirectory() as folder, suppress(ValueError):
                kind = read_json(self._fetch(CONFIG, folder)).get("model_type")
        if kind != SentimentLSTMConfig.model_type:
            holds = f"holds a model of type {kind!r}" if kind else f"holds files and no model ({CONFIG})"
            raise ValueError(
                f"{self.repo_id} {holds}, and a {SentimentLSTMConfig.model_type!r} would be written over it; push "
                "under another name, or empty the repository first"
            )

    def check_tag(self, tag: str | None, *, unchanged: bool) -> None:
        """Find out before anything is sent that a tag is taken.

        Args:
            tag: The tag that the push would set.
            unchanged: Whether the repository holds what is to be pushed.
        """
        at = self.tags.get(tag) if tag else None
        if at is not None and not (unchanged and at == self.head):
            raise ValueError(
                f"tag {tag} of {self.repo_id} stands at commit {at[:12]}, which is not this run, and a tag must stay "
                f"where it was found; pass another one: scripts/push_to_hub.py RUN --repo_id {self.repo_id} --tag "
                f"{tag}-2"
            )

    def holds(self, path: Path, name: str) -> bool:
        """Whether the repository has this very file under that name.

        Args:
            path: The file here.
            name: Its name there.
        """
        there = self.files.get(name)
        if there is None or there.size != path.stat().st_size:
            return False
        content = path.read_bytes()
        if there.lfs is not None:
            return sha256(content).hexdigest() == there.lfs.sha256
        # As git names a file.
        return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == there.blob_id

    def stale_files(self, files: Sequence[str]) -> list[str]:
        """What an earlier push published and this one does not: pictures, and code that the configuration reached.

        Args:
            files: What this push publishes.
        """
        gone = [name for name in self.files if name not in files]
        stale = [name for name in gone if PICTURE.fullmatch(name)]
        scripts = [name for name in self.files if re.fullmatch(r"[^/]+\.py", name)]
        if set(scripts) & set(gone) and CONFIG in self.files:
            with TemporaryDirectory() as folder, suppress(ValueError):
                for name in (CONFIG, *scripts):
                    self._fetch(name, folder)
                stale += [name for name in code_files(Path(folder)) if name in gone]
        return sorted(stale)

    def _fetch(self, name: str, folder: str) -> Path:
        return Path(self.api.hf_hub_download(self.repo_id, name, revision=self.head, local_dir=folder))


def look(api: HfApi, repo_id: str, branch: str) -> Remote | None:
    """Ask the Hub what it holds.

    Args:
        api: Asks with the caller's token.
        repo_id: Name of the repository.
        branch: Branch or pull request that a push would build on.

    Returns:
        What is there; None where there is no repository that the token may see.

    Raises:
        ValueError: The name of the branch is that of a tag.
    """
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return None
    refs = api.list_repo_refs(repo_id, include_pull_requests=True)
    branches = {ref.name: ref.target_commit for ref in refs.branches}
    branches |= {ref.ref: ref.target_commit for ref in refs.pull_requests or []}
    tags = {ref.name: ref.target_commit for ref in refs.tags}
    if branch in tags and branch not in branches:
        raise ValueError(f"revision {branch!r} is a tag of {repo_id}, which stays where it is; pass a branch")
    head = branches.get(branch, branches.get(MAIN))
    entries = api.list_repo_tree(repo_id, recursive=True, revision=head) if head else []
    files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    return Remote(api, repo_id, bool(info.private), branches, tags, head, files)
