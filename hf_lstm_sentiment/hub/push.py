"""The push of a finished run to the Hub: its files, checked, in one commit with one tag, whole or not at all."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    EntryNotFoundError,
    HfHubHTTPError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
from huggingface_hub.utils.sha import git_hash
from safetensors import SafetensorError, safe_open

from ..model import configuration_sentiment_lstm
from ..model.configuration_sentiment_lstm import AUTO_MAP, SentimentLSTMConfig
from ..utils.files import read_json, user_path
from ..utils.run_directory import METRICS, WEIGHTS, is_finished

CARD, CONFIG = "README.md", "config.json"
CODE = ("configuration_sentiment_lstm.py", "modeling_sentiment_lstm.py", "packed_lstm.py")
PLOT = re.compile(r"plots/[^/.][^/]*\.png")
# Where transformers.js looks for them.
ONNX = ("onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/tokenizer.json")
_REQUIRED = (CARD, CONFIG, METRICS, WEIGHTS, "tokenizer.json", "tokenizer_config.json")
_CODE = Path(configuration_sentiment_lstm.__file__).parent
_HANDLER = Path(__file__).with_name("handler.py")
_ACCESS_TOKEN = re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b")
_LOGIN = "run hf auth login, or set HF_TOKEN, with a token of the role write (https://huggingface.co/settings/tokens)"
_MAIN = "main"
# What a repository may hold without being anybody's model.
_BLANK = {".gitattributes", ".gitignore", CARD, "LICENSE"}
# Names that may move, so not the hash of a commit.
_REF = re.compile(r"(?!.*(?:\.\.|//))(?![0-9a-f]{40}\Z)[A-Za-z0-9_][A-Za-z0-9_./-]*(?<![./])")
_SNIPPET = """\
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
"""


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
    for_serving: bool = False,
) -> PushedRun:
    """Publish a finished run as a model repository of the Hub, in one commit, and tag it.

    A commit arrives whole or not at all, so what fails on the way leaves the published files as they were, and the
    same call again completes it. If the repository already holds exactly this run, no commit is made.

    The commit also deletes the plots in `plots/` and the exported models that an earlier push left and that are no
    longer part of the run. Files of any other kind or name, such as a license or a `handler.py` of your own, stay.

    Args:
        run: The run directory.
        repo_id: Where to, as "user/name", without "user/" under the account of the token; made if it is not there.
        private: Whether a new repository is private; the account's default where None. The visibility of a repository
            that is there is not changed: the opposite of what it has is refused.
        revision: Branch to commit to, made if it is not there; `main` where None.
        create_pr: Open a pull request instead of committing to the branch.
        token: Access token; the one that huggingface_hub finds (`HF_TOKEN`, `hf auth login`) where None.
        commit_message: One line on what is pushed; names the preset, its seed and its test accuracy where None.
        tag: Name of the tag. Where None, this package's version (v0.1.0) for a commit to `main`, none for another
            branch.
        for_serving: Add what serves the model elsewhere: `onnx/model.onnx`, `onnx/model_quantized.onnx` and their
            tokenizer, for runtimes without torch and for browsers, and the `handler.py` of Inference Endpoints.

    Returns:
        Where it is now, and how to load exactly this.

    Raises:
        ConnectionError: The Hub cannot be reached, the connection broke, or `HF_HUB_OFFLINE` is set.
        FileNotFoundError: There is no such run directory.
        ModuleNotFoundError: What exports models is not installed.
        PermissionError: There is no access token, or it is wrong, or it may not write there.
        ValueError: The run cannot be published, a name is not one, the Hub refuses the card, the repository holds
            another kind of model or has the other visibility, or the tag stands at another commit.
        OSError: The Hub refuses for another reason, or is in trouble; the message says which.
    """
    run, branch = user_path(run, "the run"), revision or _MAIN
    if create_pr and tag is not None:
        raise ValueError(f"tag {tag!r} cannot be set on a pull request; leave tag out, and tag what is merged")
    tag = tag or (None if create_pr else _default_tag(branch))
    _check_names(repo_id, branch, tag)
    with TemporaryDirectory() as folder, _readable_errors(repo_id):
        files = publishable_files(run, export_to=folder if for_serving else None)
        api, repo_id = _connect(repo_id, token)
        head, stale = _look_up(api, repo_id, branch, private, tag, files)
        try:
            # Before there is a repository.
            ModelCard((run / CARD).read_text(encoding="utf-8")).validate()
        except ValueError as error:
            raise ValueError(f"the Hub refuses the metadata of {run / CARD}: {error}") from error
        if head is None:
            api.create_repo(repo_id, private=private, exist_ok=True)
        if branch != _MAIN:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        of = read_json(run / METRICS)
        done = api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in files.items()),
                *(CommitOperationDelete(path_in_repo=name) for name in stale),
            ],
            commit_message=commit_message
            or f"{of['preset']}, seed {of['seed']}: test accuracy {of['test']['accuracy']:.2%}",
            revision=branch,
            create_pr=create_pr,
            # Whoever pushes in the meantime is not overwritten.
            parent_commit=head,
        )
    if tag is not None:
        with _readable_errors(repo_id, f"commit {done.oid} is published in {repo_id}, but it has no tag yet: "):
            api.create_tag(repo_id, tag=tag, revision=done.oid, exist_ok=True)
    padding = ', padding="max_length"' if read_json(run / CONFIG).get("naive_padding") else ""
    snippet = _SNIPPET.format(repo_id=repo_id, commit=done.oid, padding=padding)
    return PushedRun(str(done.pr_url or f"{api.endpoint}/{repo_id}"), done.oid, tag, tuple(files), snippet)


def check_destination(
    repo_id: str, *, private: bool | None = None, revision: str | None = None, token: str | None = None
) -> None:
    """Find out, as far as one can before a training, whether `push_run` will succeed. Nothing is changed there."""
    branch = revision or _MAIN
    _check_names(repo_id, branch)
    with _readable_errors(repo_id):
        api, repo_id = _connect(repo_id, token)
        who = api.whoami()
        owners = {who["name"], *(organization["name"] for organization in who.get("orgs", []))}
        role = who.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read" or repo_id.split("/")[0] not in owners:
            raise PermissionError(_may_not_write(repo_id))
        _look_up(api, repo_id, branch, private, _default_tag(branch), {})


def publishable_files(
    run: str | os.PathLike[str], *, export_to: str | os.PathLike[str] | None = None
) -> dict[str, Path]:
    """Find what of a finished run goes to the Hub, and check that it can; the files by their names in the repository.

    These are the weights, the configuration, the two tokenizer files, the card, `metrics.json`, the plots in `plots/`,
    and this package's code files, which `trust_remote_code=True` runs. Everything else is not uploaded: checkpoints,
    the optimizer's state, reports, hidden files and every pickle. With `export_to`, an empty folder, the model is
    exported into it, and `onnx/` and the `handler.py` of Inference Endpoints go along.
    """
    run = user_path(run, "the run")
    if not run.is_dir():
        raise FileNotFoundError(f"{run} is no directory; pass a run directory, such as runs/v2_glove-seed42")
    if not is_finished(run):
        raise ValueError(
            f"{run} is no finished run, {METRICS} is missing; hf-lstm-sentiment train --resume finishes it"
        )
    missing = [name for name in _REQUIRED if not (run / name).is_file()]
    if missing:
        raise ValueError(f"{run} lacks {', '.join(missing)}; restore what was deleted, or train into a new directory")
    plots = [path.relative_to(run).as_posix() for path in run.glob("plots/*.png")]
    files = {name: run / name for name in (*_REQUIRED, *filter(PLOT.fullmatch, plots))}
    for path in files.values():
        if not path.resolve().is_relative_to(run.resolve()):
            raise ValueError(f"{path} is a link that leads out of the run; put the file itself there")
    config = read_json(run / CONFIG)
    kind, code = config.get("model_type"), config.get("auto_map")
    if (kind, code) != (SentimentLSTMConfig.model_type, AUTO_MAP):
        raise ValueError(
            f"{run / CONFIG} is of a model of type {kind!r} with the code {code}; allowed: a "
            f"{SentimentLSTMConfig.model_type!r} as its save_pretrained writes it"
        )
    _check_weights_and_card(run)
    for name in (CARD, CONFIG, METRICS, "tokenizer_config.json"):
        if _ACCESS_TOKEN.search(files[name].read_bytes()):
            raise ValueError(f"{files[name]} holds something like an access token of the Hub; take it out, revoke it")
    files |= {name: _CODE / name for name in CODE}
    if export_to is not None:
        from ..inference.onnx import export_onnx

        export_onnx(run, output_dir=export_to)
        files |= {name: Path(export_to, name) for name in ONNX} | {_HANDLER.name: _HANDLER}
    return dict(sorted(files.items()))


def _check_weights_and_card(run: Path) -> None:
    """Refuse damaged weights, and a card without metadata."""
    try:
        with safe_open(run / WEIGHTS, framework="pt") as weights:
            weights.keys()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{run / WEIGHTS} is damaged or no safetensors file: {error}") from error
    try:
        metadata = ModelCard((run / CARD).read_text(encoding="utf-8")).data.to_dict()
    except Exception as error:  # the parser of the metadata has errors of its own
        raise ValueError(f"the metadata of {run / CARD} cannot be read: {' '.join(str(error).split())}") from error
    if not metadata:
        raise ValueError(f"{run / CARD} has no metadata; it starts with them, between two lines of ---")


def _check_names(repo_id: str, *refs: str | None) -> None:
    """Refuse what is no name of a repository, of a branch or of a tag, before anything is sent."""
    validate_repo_id(repo_id)
    for name in refs:
        if name is not None and not _REF.fullmatch(name):
            raise ValueError(
                f"{name!r} is no name of a branch or tag; allowed: letters, digits, '.', '_', '-' and '/', and not the "
                "hash of a commit"
            )


def _connect(repo_id: str, token: str | None) -> tuple[HfApi, str]:
    """The Hub, and the whole name of a repository: as for the Trainer, without a slash it is the token's account's."""
    token = token or get_token()
    if token is None:
        raise PermissionError(f"to push to {repo_id}, an access token is needed: {_LOGIN}")
    api = HfApi(token=token, library_name="hf_lstm_sentiment")
    return api, repo_id if "/" in repo_id else f"{api.whoami()['name']}/{repo_id}"


def _default_tag(branch: str) -> str | None:
    return f"v{version('hf_lstm_sentiment')}" if branch == _MAIN else None


def _look_up(
    api: HfApi, repo_id: str, branch: str, private: bool | None, tag: str | None, files: Mapping[str, Path]
) -> tuple[str | None, list[str]]:
    """Ask the Hub what it holds, and refuse what must stay as it is.

    Returns the commit that a push builds on, None where the token may see no repository; and what the push deletes.
    """
    try:
        info = api.model_info(repo_id)
    except RepositoryNotFoundError:
        return None, []
    if private is not None and private != bool(info.private):
        there, wanted = ("private", "public") if info.private else ("public", "private")
        raise ValueError(
            f"{repo_id} is there already and is {there}; private={private} asks for a {wanted} one. Change it in its "
            "settings on the Hub and leave private out, or push under another name"
        )
    refs = api.list_repo_refs(repo_id)
    branches, tags = ({ref.name: ref.target_commit for ref in some} for some in (refs.branches, refs.tags))
    if branch in tags and branch not in branches:
        raise ValueError(f"revision {branch!r} is a tag of {repo_id}, which stays where it is; pass a branch")
    head = branches.get(branch, branches.get(_MAIN))
    entries = api.list_repo_tree(repo_id, recursive=True, revision=head) if head else []
    held = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
    if not held.keys() <= _BLANK:
        kind = None
        with suppress(ValueError, EntryNotFoundError):
            kind = read_json(Path(api.hf_hub_download(repo_id, CONFIG, revision=head))).get("model_type")
        if kind != SentimentLSTMConfig.model_type:
            holds = f"a model of type {kind!r}" if kind else "files and no model"
            raise ValueError(
                f"{repo_id} holds {holds}, and a {SentimentLSTMConfig.model_type!r} would be written over it; push "
                "under another name, or empty the repository first"
            )
    stale = sorted(name for name in held.keys() - files.keys() if PLOT.fullmatch(name) or name in ONNX)
    # By these very files, a tag may be taken.
    same = bool(files) and not stale and all(_is_held(path, held.get(name)) for name, path in files.items())
    if tag in tags and (tags[tag] != head or not same):
        raise ValueError(
            f"tag {tag} of {repo_id} stands at commit {tags[tag][:12]}, which is not this run, and a tag must stay "
            f"where it was found; pass another one: hf-lstm-sentiment push RUN --repo_id {repo_id} --tag {tag}-2"
        )
    return head, stale


def _is_held(path: Path, entry: RepoFile | None) -> bool:
    """Whether the Hub holds a file as it is here."""
    content = path.read_bytes()
    there = entry and (entry.lfs.sha256 if entry.lfs else entry.blob_id)
    return there in (sha256(content).hexdigest(), git_hash(content))


@contextmanager
def _readable_errors(repo_id: str, before: str = "") -> Iterator[None]:
    """Say what went wrong on the Hub, after what is already done, and what to do, without header, address or token."""
    try:
        yield
    except Exception as error:
        kind, text = _explain(error, repo_id)
        if kind is None:
            raise
        # A server may repeat in its answer what it was sent; nobody is shown that for a token.
        raise kind(before + text) from None if kind is PermissionError else error


def _explain(error: BaseException, repo_id: str) -> tuple[type[Exception] | None, str]:
    """An error of huggingface_hub as one of ours; None for what already is one."""
    again = "A commit arrives whole or not at all: run the same command again"
    # Uploads wrap what their connection raises.
    cause = error
    while not isinstance(cause, (HTTPError, OfflineModeIsEnabled)) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, OfflineModeIsEnabled):
        return ConnectionError, f"{repo_id} cannot be pushed to, HF_HUB_OFFLINE is set; unset it"
    if not isinstance(cause, HfHubHTTPError):
        is_connection = isinstance(cause, HTTPError) or type(error).__module__.startswith("hf_xet")
        kind = ConnectionError if is_connection else None
        return kind, f"the connection to {constants.ENDPOINT} failed ({type(cause).__name__}). {again}"
    status = cause.response.status_code
    if status == 401:
        return PermissionError, f"the Hub does not accept the access token (401), it is wrong or was revoked: {_LOGIN}"
    if status == 403:
        return PermissionError, _may_not_write(repo_id)
    if status in (409, 412):
        return OSError, f"somebody else changed {repo_id} during the push ({status}), nothing was sent. {again}"
    reason = " ".join((cause.server_message or type(cause).__name__).split())
    return OSError, f"the Hub refuses the push to {repo_id} ({status}: {reason}). {again}"


def _may_not_write(repo_id: str) -> str:
    owner = repo_id.split("/")[0]
    return (
        f"the access token may not write to {repo_id} (403); it must have the role write, and be one of {owner} or of "
        f"a member of the organization {owner}: {_LOGIN}"
    )
