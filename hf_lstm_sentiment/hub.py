"""A finished run on the Hub: what of it is published, one commit, one tag."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha1, sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_import_files

from . import runs
from .configuration_sentiment_lstm import SentimentLSTMConfig
from .extras import require

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.hf_api import RepoFile

logger = logging.getLogger(__name__)

_CARD = "README.md"
_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_REQUIRED = (_CARD, _CONFIG, runs.METRICS, _WEIGHTS, "tokenizer.json", "tokenizer_config.json")
# What a repository may hold without being anybody's model.
_BLANK = {".gitattributes", ".gitignore", _CARD, "LICENSE"}
_PICTURE = re.compile(r"plots/[^/]+\.png")
_REF = re.compile(r"(?!.*(?:\.\.|//))[A-Za-z0-9_][A-Za-z0-9_./-]*(?<![./])")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ACCESS_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")
_LOGIN = "run hf auth login, or set HF_TOKEN, with a token of the role write (https://huggingface.co/settings/tokens)"
_MAIN = "main"


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


def publishable_files(run: str | os.PathLike[str]) -> list[str]:
    """Tell what of a finished run goes to the Hub, and check that it can.

    These are the weights, the configuration, the two tokenizer files, the card, `metrics.json`, the pictures in
    `plots/`, and the code files that the configuration's `auto_map` reaches, as transformers follows them. All else
    stays where it is: checkpoints, the optimiser's state, reports, hidden files and every pickle.

    Args:
        run: The run directory.

    Returns:
        Paths below `run`, with slashes, sorted.

    Raises:
        FileNotFoundError: There is no such directory.
        ValueError: The run is not finished, lacks a file, has a damaged one, or a link leads out of it.
    """
    run = Path(run).expanduser()
    if not run.is_dir():
        raise FileNotFoundError(f"{run} is no directory; pass a run directory, such as runs/v2_glove-seed42")
    if not runs.is_finished(run):
        raise ValueError(f"{run} is no finished run, {runs.METRICS} is missing; scripts/train.py --resume finishes it")
    missing = [name for name in _REQUIRED if not (run / name).is_file()]
    if missing:
        raise ValueError(f"{run} lacks {', '.join(missing)}; restore what was deleted, or train into a new directory")
    pictures = [path.relative_to(run).as_posix() for path in (run / "plots").glob("*.png")]
    names = [name for name in pictures if _PICTURE.fullmatch(name) and not Path(name).name.startswith(".")]
    code = _code_files(run)
    _check_inside(run, [*_REQUIRED, *names, *code])
    _check_content(run, code)
    return sorted([*_REQUIRED, *names, *code])


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
    require("huggingface_hub", extra="train")
    from huggingface_hub import HfApi, get_token

    run = Path(run).expanduser()
    check_repo_id(repo_id)
    branch = revision or _MAIN
    _check_ref("revision", branch)
    if create_pr and tag is not None:
        raise ValueError(f"tag {tag!r} cannot be set on a pull request; leave tag out, and tag what is merged")
    if tag is None and branch == _MAIN and not create_pr:
        tag = f"v{version('hf_lstm_sentiment')}"
    if tag is not None:
        _check_ref("tag", tag)
    files = publishable_files(run)
    with _in_own_words(repo_id):
        token = token or get_token()
        if token is None:
            raise PermissionError(f"to push to {repo_id}, an access token is needed: {_LOGIN}")
        api = HfApi(token=token, library_name="hf_lstm_sentiment")
        remote = _look(api, repo_id, branch)
        if remote is not None:
            _check_visibility(repo_id, remote, private)
            _check_kind(api, repo_id, remote)
        stale = _stale_files(api, repo_id, remote, files) if remote else []
        unchanged = remote is not None and not stale and all(_is_there(run, name, remote) for name in files)
        _check_tag(repo_id, tag, remote, unchanged=unchanged)
        _validate_card(run)
        if remote is not None and remote.head is not None and unchanged and (branch in remote.branches or create_pr):
            logger.info(f"{repo_id} holds this run already, nothing is committed")
            commit, url = remote.head, f"{api.endpoint}/{repo_id}"
        else:
            _make_places(api, repo_id, remote, branch, private=private)
            done = api.create_commit(
                repo_id,
                _operations(run, files, stale),
                commit_message=commit_message or _commit_message(run),
                revision=branch,
                create_pr=create_pr,
                # Whoever pushes in the meantime is not overwritten.
                parent_commit=remote.head if remote else None,
            )
            commit, url = str(done.oid), str(done.pr_url or f"{api.endpoint}/{repo_id}")
    if tag is not None and not (remote and tag in remote.tags):
        with _in_own_words(repo_id, published=commit):
            api.create_tag(repo_id, tag=tag, revision=commit)
    return PushedRun(url, commit, tag, tuple(files), _snippet(run, repo_id, commit))


def _check_inside(run: Path, names: Sequence[str]) -> None:
    root = run.resolve()
    for name in names:
        if not (run / name).resolve().is_relative_to(root):
            raise ValueError(f"{run / name} is a link that leads out of the run; put the file itself there")


def _check_content(run: Path, code: Sequence[str]) -> None:
    """Refuse damaged weights, a card without metadata, and files that give an access token away."""
    from huggingface_hub import ModelCard

    try:
        with safe_open(run / _WEIGHTS, framework="pt") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{run / _WEIGHTS} is damaged or no safetensors file: {error}") from error
    try:
        metadata = ModelCard((run / _CARD).read_text(encoding="utf-8")).data.to_dict()
    except Exception as error:  # the parser of the metadata has errors of its own
        raise ValueError(f"the metadata of {run / _CARD} cannot be read: {' '.join(str(error).split())}") from error
    if not metadata:
        raise ValueError(f"{run / _CARD} has no metadata; it starts with them, between two lines of ---")
    for name in (_CARD, _CONFIG, runs.METRICS, "tokenizer_config.json", *code):
        if _ACCESS_TOKEN.search((run / name).read_bytes()):
            raise ValueError(
                f"{run / name} holds something like an access token of the Hub; take it out, and revoke it"
            )


def _code_files(run: Path) -> list[str]:
    """The code files that transformers runs for whoever loads this directory with `trust_remote_code=True`."""
    config = runs.read_json(run / _CONFIG)
    kind = config.get("model_type")
    if kind != SentimentLSTMConfig.model_type:
        raise ValueError(
            f"{run / _CONFIG} is of a model of type {kind!r}; only a {SentimentLSTMConfig.model_type!r} can be pushed"
        )
    targets = [str(target) for target in (config.get("auto_map") or {}).values()]
    foreign = [target for target in targets if "--" in target]
    if foreign or not targets:
        names = f"names code of another repository, {foreign[0]}" if foreign else "names no code"
        raise ValueError(f"auto_map of {run / _CONFIG} {names}; save the model with save_pretrained again")
    entries = {f"{target.partition('.')[0]}.py" for target in targets}
    try:
        imported = {Path(path).name for name in entries for path in get_relative_import_files(run / name)}
    except FileNotFoundError as error:
        raise ValueError(
            f"{error.filename} is missing, which auto_map of {_CONFIG} needs; save the model with save_pretrained again"
        ) from error
    return sorted(entries | imported)


def _check_ref(what: str, name: str) -> None:
    if not _REF.fullmatch(name):
        raise ValueError(f"{what} {name!r} is no name; allowed: letters, digits, '.', '_', '-' and '/'")
    if _COMMIT.fullmatch(name):
        raise ValueError(f"{what} {name!r} is the hash of a commit, which never changes; pass a name")


@dataclass(frozen=True)
class _Remote:
    """What the Hub holds under a name.

    Attributes:
        private: Whether only its owner sees it.
        branches: Commit of each branch and pull request.
        tags: Commit of each tag.
        head: Commit that a push builds on; None in a repository without one.
        files: The files of that commit.
    """

    private: bool
    branches: Mapping[str, str]
    tags: Mapping[str, str]
    head: str | None
    files: Mapping[str, RepoFile]


def _look(api: HfApi, repo_id: str, branch: str) -> _Remote | None:
    """What is there; None where there is no repository that the token may see."""
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
    head = branches.get(branch, branches.get(_MAIN))
    entries = api.list_repo_tree(repo_id, recursive=True, revision=head) if head else []
    files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    return _Remote(bool(info.private), branches, tags, head, files)


def _check_visibility(repo_id: str, remote: _Remote, private: bool | None) -> None:
    if private is not None and private != remote.private:
        there, wanted = ("private", "public") if remote.private else ("public", "private")
        raise ValueError(
            f"{repo_id} is there already and is {there}; private={private} asks for a {wanted} one. Change it in its "
            "settings on the Hub and leave private out, or push under another name"
        )


def _check_kind(api: HfApi, repo_id: str, remote: _Remote) -> None:
    """Refuse to write over somebody else's work."""
    if remote.files.keys() <= _BLANK:
        return
    kind = None
    if _CONFIG in remote.files:
        with TemporaryDirectory() as folder, suppress(ValueError):
            kind = runs.read_json(_fetch(api, repo_id, remote, _CONFIG, folder)).get("model_type")
    if kind != SentimentLSTMConfig.model_type:
        holds = f"holds a model of type {kind!r}" if kind else f"holds files and no model ({_CONFIG})"
        raise ValueError(
            f"{repo_id} {holds}, and a {SentimentLSTMConfig.model_type!r} would be written over it; push under another "
            "name, or empty the repository first"
        )


def _fetch(api: HfApi, repo_id: str, remote: _Remote, name: str, folder: str) -> Path:
    return Path(api.hf_hub_download(repo_id, name, revision=remote.head, local_dir=folder))


def _stale_files(api: HfApi, repo_id: str, remote: _Remote, files: Sequence[str]) -> list[str]:
    """What an earlier push published and this one does not."""
    gone = [name for name in remote.files if name not in files]
    stale = [name for name in gone if _PICTURE.fullmatch(name)]
    scripts = [name for name in remote.files if re.fullmatch(r"[^/]+\.py", name)]
    if set(scripts) & set(gone) and _CONFIG in remote.files:
        with TemporaryDirectory() as folder, suppress(ValueError):
            for name in (_CONFIG, *scripts):
                _fetch(api, repo_id, remote, name, folder)
            stale += [name for name in _code_files(Path(folder)) if name in gone]
    return sorted(stale)


def _is_there(run: Path, name: str, remote: _Remote) -> bool:
    """Whether the repository holds this very file."""
    there = remote.files.get(name)
    if there is None or there.size != (run / name).stat().st_size:
        return False
    content = (run / name).read_bytes()
    if there.lfs is not None:
        return sha256(content).hexdigest() == there.lfs.sha256
    # As git names a file.
    return sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest() == there.blob_id


def _check_tag(repo_id: str, tag: str | None, remote: _Remote | None, *, unchanged: bool) -> None:
    """Find out before anything is sent that a tag is taken."""
    at = remote.tags.get(tag) if remote and tag else None
    if remote is not None and at is not None and not (unchanged and at == remote.head):
        raise ValueError(
            f"tag {tag} of {repo_id} stands at commit {at[:12]}, which is not this run, and a tag must stay where it "
            f"was found; pass another one, such as --tag {tag}-2"
        )


def _validate_card(run: Path) -> None:
    """Let the Hub look at the card's metadata before there is a repository."""
    from huggingface_hub import ModelCard

    card: ModelCard = ModelCard((run / _CARD).read_text(encoding="utf-8"))
    try:
        card.validate()
    except ValueError as error:
        reasons = str(error)
        with suppress(ValueError, KeyError, TypeError):
            reasons = "; ".join(entry["message"] for entry in json.loads(reasons)["errors"])
        raise ValueError(f"the Hub refuses the metadata of {run / _CARD}: {reasons}") from error


def _make_places(api: HfApi, repo_id: str, remote: _Remote | None, branch: str, *, private: bool | None) -> None:
    """Make the repository and the branch, unless they are there."""
    if remote is None:
        api.create_repo(repo_id, private=private, exist_ok=True)
    if branch != _MAIN and (remote is None or branch not in remote.branches):
        api.create_branch(repo_id, branch=branch, exist_ok=True)


def _operations(
    run: Path, files: Sequence[str], stale: Sequence[str]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    additions = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=run / name) for name in files]
    return [*additions, *(CommitOperationDelete(path_in_repo=name) for name in stale)]


def _commit_message(run: Path) -> str:
    metrics = runs.read_json(run / runs.METRICS)
    return f"{metrics['preset']}, seed {metrics['seed']}: test accuracy {metrics['test']['accuracy']:.2%}"


def _snippet(run: Path, repo_id: str, commit: str) -> str:
    padding = ', padding="max_length"' if runs.read_json(run / _CONFIG).get("naive_padding") else ""
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


@contextmanager
def _in_own_words(repo_id: str, *, published: str | None = None) -> Iterator[None]:
    """Say what went wrong on the Hub, and what to do, without any header, address or token."""
    try:
        yield
    except Exception as error:
        explained = _explain(error, repo_id)
        if explained is None:
            raise
        if published is not None:
            text = f"commit {published} is published in {repo_id}, but it has no tag yet: {explained}"
            raise type(explained)(text) from error
        # A server may repeat in its answer what it was sent; nobody is shown that for a token.
        raise explained from None if isinstance(explained, PermissionError) else error


def _explain(error: BaseException, repo_id: str) -> Exception | None:
    """An error of huggingface_hub as one of ours; None for what already is one."""
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    again = "A commit arrives whole or not at all: run the same command again"
    # Uploads wrap what their connection raises.
    cause: BaseException = error
    while not isinstance(cause, (HTTPError, OfflineModeIsEnabled)) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OfflineModeIsEnabled):
        return ConnectionError(f"{repo_id} cannot be pushed to, HF_HUB_OFFLINE is set; unset it")
    if not isinstance(cause, HfHubHTTPError):
        if isinstance(cause, HTTPError) or type(error).__module__.startswith("hf_xet"):
            return ConnectionError(f"the connection to {constants.ENDPOINT} failed ({type(cause).__name__}). {again}")
        return None
    status = cause.response.status_code
    if status == 401:
        return PermissionError(f"the Hub does not accept the access token (401), it is wrong or was revoked: {_LOGIN}")
    if status == 403:
        owner = repo_id.split("/")[0]
        return PermissionError(
            f"the access token may not write to {repo_id} (403); it must have the role write, and be one of {owner} or "
            f"of a member of the organisation {owner}: {_LOGIN}"
        )
    if status in (409, 412):
        return OSError(f"somebody else changed {repo_id} during the push ({status}), nothing was sent. {again}")
    if status == 429 or status >= 500:
        return ConnectionError(f"the Hub is busy or in trouble ({status}). {again}, later")
    reason = " ".join((cause.server_message or type(cause).__name__).split())
    return (ValueError if status == 400 else OSError)(f"the Hub refuses the push to {repo_id} ({status}): {reason}")
