"""A finished run on the Hub: one commit, one tag, nothing by halves."""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils import run_directory as runs
from ..utils.files import read_json, user_path
from .hub_errors import LOGIN, in_own_words, may_not_write
from .hub_remote import MAIN, Remote, look
from .publishable import CARD, CONFIG, publishable_files

if TYPE_CHECKING:
    from huggingface_hub import HfApi

logger = logging.getLogger(__name__)

_REF = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9_][A-Za-z0-9_./-]*(?<![./])")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class PushedRun:
    """Where a run was published.

    Attributes:
        url: The page of the repository; of the pull request, if one was opened.
        commit: Full hash of the commit that holds the run.
        tag: Name of the tag on that commit; None where none was set.
        files: What was published.
        snippet: Python that loads exactly this commit.
    """

    url: str
    commit: str
    tag: str | None
    files: tuple[str, ...]
    snippet: str


def check_repo_id(repo_id: str) -> None:
    """Refuse what is not the name of a repository.

    Args:
        repo_id: A user or an organisation, a slash, a name.

    Raises:
        ValueError: It is something else; the message says what is allowed.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    allowed = "allowed: USER/NAME of letters, digits, '-', '_' and '.', at most 96 characters, no '--' and no '..'"
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"repo_id {repo_id!r} is no name of a repository; {allowed}") from error
    if repo_id.count("/") != 1:
        raise ValueError(f"repo_id {repo_id!r} does not say whose repository it is; {allowed}")


def push_run(
    run: str | os.PathLike[str],
    repo_id: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    create_pr: bool = False,
    token: str | None = None,
    commit_message: str | None = None,
    tag: str | None = None,
) -> PushedRun:
    """Publish a finished run as a model repository of the Hub, in one commit, and tag it.

    A commit arrives whole or not at all, so what fails on the way leaves the published files as they were, and the
    same call again completes it. If the repository already holds exactly this run, no commit is made.

    The commit also deletes what an earlier push left that is no longer part of the run: pictures in `plots/`, and code
    files that the published configuration reached and the new one does not. Files of any other kind or name, such as a
    licence or a `handler.py` of your own, stay.

    Args:
        run: The run directory.
        repo_id: Where to, as "user/name"; made if it is not there.
        private: Whether a new repository is private; the account's default where None. The visibility of a repository
            that is there is not changed: the opposite of what it has is refused.
        revision: Branch to commit to, made if it is not there; `main` where None.
        create_pr: Open a pull request instead of committing to the branch.
        token: Access token; the one that huggingface_hub finds (`HF_TOKEN`, `hf auth login`) where None.
        commit_message: One line on what is pushed; names the preset, its seed and its test accuracy where None.
        tag: Name of the tag. Where None, this package's version (v0.1.0) for a commit to `main`, none for another
            branch.

    Returns:
        Where it is now, and how to load exactly this.

    Raises:
        ConnectionError: The Hub cannot be reached, the connection broke, or `HF_HUB_OFFLINE` is set.
        FileNotFoundError: There is no such run directory.
        PermissionError: There is no access token, or it is wrong, or it may not write there.
        ValueError: The run cannot be published, a name is not one, the Hub refuses the card, the repository holds
            another kind of model or has the other visibility, or the tag stands at another commit.
        OSError: The Hub refuses for another reason; the message says which.
    """
    run = user_path(run, "the run")
    check_repo_id(repo_id)
    branch = revision or MAIN
    _check_ref("revision", branch)
    if create_pr and tag is not None:
        raise ValueError(f"tag {tag!r} cannot be set on a pull request; leave tag out, and tag what is merged")
    tag = None if create_pr else _choose_tag(tag, branch)
    files = publishable_files(run)
    with in_own_words(repo_id):
        api = _api(repo_id, token)
        remote = look(api, repo_id, branch)
        if remote is not None:
            remote.check_visibility(private)
            remote.check_kind()
        stale = remote.stale_files(files) if remote else []
        unchanged = remote is not None and not stale and all(remote.holds(run / name, name) for name in files)
        if remote is not None:
            remote.check_tag(tag, unchanged=unchanged)
        _validate_card(run)
        if remote is not None and remote.head is not None and unchanged and (branch in remote.branches or create_pr):
            logger.info(f"{repo_id} holds this run already, nothing is committed")
            commit, url = remote.head, f"{api.endpoint}/{repo_id}"
        else:
            _make_places(api, repo_id, remote, branch, private=private)
            commit, url = _commit(
                api,
                repo_id,
                run,
                files,
                stale,
                message=commit_message or _commit_message(run),
                branch=branch,
                create_pr=create_pr,
                parent=remote.head if remote else None,
            )
    if tag is not None and not (remote and tag in remote.tags):
        with in_own_words(repo_id, published=commit):
            api.create_tag(repo_id, tag=tag, revision=commit)
    return PushedRun(url, commit, tag, tuple(files), _snippet(run, repo_id, commit))


def full_repo_id(name: str, *, token: str | None = None) -> str:
    """Complete the name of a repository, as the Trainer does.

    Args:
        name: "user/name"; without a slash, the name under the account that the token belongs to.
        token: As for :func:`push_run`.

    Raises:
        ConnectionError, PermissionError, ValueError, OSError: As :func:`push_run`.
    """
    if "/" in name:
        check_repo_id(name)
        return name
    # As if somebody owned it, before anybody is asked who.
    check_repo_id(f"me/{name}")
    with in_own_words(name):
        return f"{_api(name, token).whoami()['name']}/{name}"


def check_destination(
    repo_id: str, *, private: bool | None = None, revision: str | None = None, token: str | None = None
) -> None:
    """Find out before a training whether its run can be pushed to a place. Nothing is changed there.

    Args:
        repo_id: As for :func:`push_run`.
        private: As for :func:`push_run`.
        revision: As for :func:`push_run`.
        token: As for :func:`push_run`.

    Raises:
        ConnectionError, PermissionError, ValueError, OSError: As :func:`push_run`, as far as it can be known now.
    """
    check_repo_id(repo_id)
    branch = revision or MAIN
    _check_ref("revision", branch)
    with in_own_words(repo_id):
        api = _api(repo_id, token)
        who = api.whoami()
        owners = {who["name"], *(organisation["name"] for organisation in who.get("orgs", []))}
        role = who.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read" or repo_id.split("/")[0] not in owners:
            raise may_not_write(repo_id)
        remote = look(api, repo_id, branch)
        if remote is not None:
            remote.check_visibility(private)
            remote.check_kind()
            remote.check_tag(_choose_tag(None, branch), unchanged=False)


def _api(repo_id: str, token: str | None) -> HfApi:
    from huggingface_hub import HfApi, get_token

    token = token or get_token()
    if token is None:
        raise PermissionError(f"to push to {repo_id}, an access token is needed: {LOGIN}")
    return HfApi(token=token, library_name="hf_lstm_sentiment")


def _choose_tag(tag: str | None, branch: str) -> str | None:
    if tag is None:
        return f"v{version('hf_lstm_sentiment')}" if branch == MAIN else None
    _check_ref("tag", tag)
    return tag


def _check_ref(what: str, name: str) -> None:
    if not _REF.fullmatch(name):
        raise ValueError(f"{what} {name!r} is no name; allowed: letters, digits, '.', '_', '-' and '/'")
    if _COMMIT.fullmatch(name):
        raise ValueError(f"{what} {name!r} is the hash of a commit, which never changes; pass a name")


def _validate_card(run: Path) -> None:
    """Let the Hub look at the card's metadata before there is a repository."""
    from huggingface_hub import ModelCard

    card: ModelCard = ModelCard((run / CARD).read_text(encoding="utf-8"))
    try:
        card.validate()
    except ValueError as error:
        reasons = str(error)
        with suppress(ValueError, KeyError, TypeError):
            reasons = "; ".join(entry["message"] for entry in json.loads(reasons)["errors"])
        raise ValueError(f"the Hub refuses the metadata of {run / CARD}: {reasons}") from error


def _make_places(api: HfApi, repo_id: str, remote: Remote | None, branch: str, *, private: bool | None) -> None:
    """Make the repository and the branch, unless they are there."""
    if remote is None:
        api.create_repo(repo_id, private=private, exist_ok=True)
    if branch != MAIN and (remote is None or branch not in remote.branches):
        api.create_branch(repo_id, branch=branch, exist_ok=True)


def _commit(
    api: HfApi,
    repo_id: str,
    run: Path,
    files: list[str],
    stale: list[str],
    *,
    message: str,
    branch: str,
    create_pr: bool,
    parent: str | None,
) -> tuple[str, str]:
    """Send everything; the new commit's hash, and the page to look at."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=run / name) for name in files]
    done = api.create_commit(
        repo_id,
        [*additions, *(CommitOperationDelete(path_in_repo=name) for name in stale)],
        commit_message=message,
        revision=branch,
        create_pr=create_pr,
        # Whoever pushes in the meantime is not overwritten.
        parent_commit=parent,
    )
    return str(done.oid), str(done.pr_url or f"{api.endpoint}/{repo_id}")


def _commit_message(run: Path) -> str:
    metrics = read_json(run / runs.METRICS)
    return f"{metrics['preset']}, seed {metrics['seed']}: test accuracy {metrics['test']['accuracy']:.2%}"


def _snippet(run: Path, repo_id: str, commit: str) -> str:
    padding = ', padding="max_length"' if read_json(run / CONFIG).get("naive_padding") else ""
    return f'''\
from transformers import pipeline

commit = "{commit}"
classify = pipeline(
    "text-classification",
    model="{repo_id}",
    revision=commit,
    code_revision=commit,
    trust_remote_code=True,
)
print(classify("A moving film.", truncation=True{padding}))
'''
