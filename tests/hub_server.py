"""A Hub on the loopback interface: what of huggingface.co's HTTP interface its client uses for model repositories.

In memory, for tests, and by hand: `python -m tests.hub_server` prints the environment that points a client at it.
Routes, status codes and headers are those that huggingface_hub 2.4 sends and reads. There is no Xet storage, so clients
need HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

# Regular files are kept in git; larger ones, and weights of any size, in the large file storage.
REGULAR_LIMIT = 5_000_000
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


@dataclass(frozen=True)
class Request:
    """What a client asked; of its token, only whose it was."""

    method: str
    path: str
    user: str | None
    status: int


class HttpError(Exception):
    """An answer that is an error, with the headers by which the client tells errors apart."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None, **body: Any
    ) -> None:
        super().__init__(message)
        self.answer = status, {"error": message, **body}, {"X-Error-Message": message, **(headers or {})}
        if code is not None:
            self.answer[2]["X-Error-Code"] = code


class DroppedError(Exception):
    """The connection was cut on purpose, or by the client."""


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
        )
        if key in data and not allowed(data[key])
    ]
    return [*errors, *_check_model_index(data.get("model-index", []))], []


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


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


class HubServer:
    """The server; `with HubServer({"hf_secret": Token("user")}) as hub:` serves at `hub.endpoint`.

    Args:
        tokens: Who may do what. A user's repositories are those under the user's name.
        port: Where to listen; any free port where 0.
    """

    def __init__(self, tokens: Mapping[str, Token], *, port: int = 0) -> None:
        self.tokens = dict(tokens)
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.lock = threading.RLock()
        self.signature = secrets.token_hex(8)  # stands in for that of an upload address
        self._drops = (re.compile(""), 0, 0)
        self._actions: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def drop_after(self, uploads: int, *, times: int = 1, path: str = "/storage/|/commit/") -> None:
        """Cut the connection in the middle of an upload.

        Args:
            uploads: How many still succeed.
            times: How many then fail, before all is well again.
            path: What counts as an upload; by default, what carries content: a large file, or a commit.
        """
        with self.lock:
            self._drops = (re.compile(path), uploads, times)

    def once(self, path: str, action: Callable[[], object]) -> None:
        """Do something when the next request for such a path comes in, before it is answered."""
        with self.lock:
            self._actions.append((re.compile(path), action))

    def interfere(self, path: str) -> bool:
        """Run what is planned for a request; whether its connection is to be cut."""
        with self.lock:
            due = [entry for entry in self._actions if entry[0].search(path)]
            self._actions = [entry for entry in self._actions if entry not in due]
            pattern, succeed, fail = self._drops
            counts = bool(pattern.search(path))
            if counts:
                self._drops = (pattern, max(succeed - 1, 0), fail if succeed else max(fail - 1, 0))
        for _, action in due:
            action()
        return counts and not succeed and bool(fail)


Answer = tuple[int, Any, dict[str, str]]
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []
NAME = r"(?P<name>[^/]+/[^/]+)"


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Register an answer; the pattern's groups become its arguments, unquoted."""

    def register(answer: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern.replace("{name}", NAME) + r"\Z"), answer))
        return answer

    return register


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        self.user: Token | None = None
        self._unread = True
        try:
            if self.hub.interfere(url.path):
                next(self._chunks(), None)
                self.connection.shutdown(socket.SHUT_RDWR)
                raise DroppedError
            self._authenticate()
            status, body, headers = self._answer(url.path)
        except HttpError as error:
            status, body, headers = error.answer
        except (DroppedError, ConnectionError):
            self._record(url.path, 0)
            self.close_connection = True
            return
        self._record(url.path, status)
        self._drain()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        pass

    def _record(self, path: str, status: int) -> None:
        with self.hub.lock:
            self.hub.requests.append(Request(self.command, path, self.user.user if self.user else None, status))

    def _authenticate(self) -> None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme:
            self.user = self.hub.tokens.get(token)
            if self.user is None:
                # It repeats the token, as no server should: the client must not show it to anybody.
                raise HttpError(401, "Invalid credentials in Authorization header", error=f"no such token: {token}")

    def _answer(self, path: str) -> Answer:
        method = "GET" if self.command == "HEAD" else self.command
        for wanted, pattern, answer in ROUTES:
            if wanted == method and (match := pattern.match(path)):
                return answer(self, **{key: unquote(value) for key, value in match.groupdict().items() if value})
        raise HttpError(404, f"no route for {self.command} {path}")

    # Reading

    def _chunks(self) -> Iterator[bytes]:
        """The body of the request, piece by piece."""
        self._unread = False
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.rfile.read(min(left, 4096))
            if not piece:
                raise DroppedError
            left -= len(piece)
            yield piece

    def _drain(self) -> None:
        if self._unread:
            for _ in self._chunks():
                pass

    def body(self) -> bytes:
        return b"".join(self._chunks())

    def json(self) -> Any:
        return json.loads(self.body() or b"null")

    # Permissions

    def reader(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        allowed = repository and (not repository.private or (self.user and self.user.user == name.split("/")[0]))
        if repository is None or not allowed:
            # Who is not known is not told what there is.
            status, message = (404, "Repository not found") if self.user else (401, "Invalid username or password.")
            raise HttpError(status, message, "RepoNotFound")
        return repository

    def may_write(self, owner: str) -> Token:
        if self.user is None:
            raise HttpError(401, "Invalid username or password.")
        if not self.user.write or self.user.user != owner:
            raise HttpError(403, "You don't have the rights to write under this namespace")
        return self.user

    def writer(self, name: str) -> Repository:
        repository = self.reader(name)
        self.may_write(name.split("/")[0])
        return repository

    def commit(self, repository: Repository, revision: str) -> str:
        commit = repository.find(revision)
        if commit is None:
            raise HttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit


@route("GET", "/api/whoami-v2")
def whoami(request: _Handler) -> Answer:
    if request.user is None:
        raise HttpError(401, "Invalid username or password.")
    role = "write" if request.user.write else "read"
    return 200, {"type": "user", "name": request.user.user, "orgs": [], "auth": {"accessToken": {"role": role}}}, {}


@route("POST", "/api/validate-yaml")
def validate_yaml(request: _Handler) -> Answer:
    errors, warnings = check_card(request.json()["content"])
    body = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    return 400 if errors else 200, body, {}


@route("POST", "/api/repos/create")
def create_repository(request: _Handler) -> Answer:
    wanted = request.json()
    if wanted.get("type") not in (None, "model"):
        raise HttpError(501, "this Hub holds models only")
    owner = wanted.get("organization") or (request.user.user if request.user else "")
    name = f"{owner}/{wanted['name']}"
    request.may_write(owner)
    url = f"{request.hub.endpoint}/{name}"
    with request.hub.lock:
        if name in request.hub.repositories:
            raise HttpError(409, "You already created this model repo", url=url)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        request.hub.repositories[name] = Repository(name, private=private, author=owner)
    return 200, {"url": url, "name": name}, {}


@route("GET", "/api/models/{name}")
@route("GET", "/api/models/{name}/revision/(?P<revision>[^/]+)")
def model_info(request: _Handler, name: str, revision: str = "main") -> Answer:
    repository = request.reader(name)
    commit = repository.commits[request.commit(repository, revision)]
    card = re.match(rb"\A---\n(.*?)\n---\n", commit.files.get("README.md", File(b"")).content, re.DOTALL)
    data = yaml.safe_load(card[1]) if card else {}
    config = json.loads(commit.files["config.json"].content) if "config.json" in commit.files else {}
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(commit.date))
    body = {
        "id": name,
        "modelId": name,
        "author": name.split("/")[0],
        "sha": commit.id,
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "lastModified": stamp,
        "createdAt": stamp,
        "tags": data.get("tags", []),
        "pipeline_tag": data.get("pipeline_tag"),
        "library_name": data.get("library_name"),
        "cardData": {key: value for key, value in data.items() if key != "model-index"},
        "model-index": data.get("model-index"),
        "config": {key: config[key] for key in ("architectures", "auto_map", "model_type") if key in config},
        "siblings": [{"rfilename": path} for path in sorted(commit.files)],
    }
    return 200, body, {}


@route("GET", "/api/models/{name}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?")
def tree(request: _Handler, name: str, revision: str, folder: str = "") -> Answer:
    repository = request.reader(name)
    files = repository.commits[request.commit(repository, revision)].files
    prefix = f"{folder}/" if folder else ""
    inside = {path: file for path, file in sorted(files.items()) if path.startswith(prefix)}
    if folder and not inside:
        raise HttpError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
    recursive = request.query.get("recursive", "").lower() in ("1", "true")
    folders = {prefix + path[len(prefix) :].rpartition("/")[0] for path in inside if "/" in path[len(prefix) :]}
    entries = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(folders)]
    entries += [file.describe(path) for path, file in inside.items() if recursive or "/" not in path[len(prefix) :]]
    return 200, entries, {}


@route("POST", "/api/models/{name}/paths-info/(?P<revision>[^/]+)")
def paths_info(request: _Handler, name: str, revision: str) -> Answer:
    repository = request.reader(name)
    files = repository.commits[request.commit(repository, revision)].files
    paths = parse_qs(request.body().decode()).get("paths", [])
    return 200, [files[path].describe(path) for path in paths if path in files], {}


@route("GET", "/api/models/{name}/refs")
def refs(request: _Handler, name: str) -> Answer:
    repository = request.reader(name)

    def entries(names: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": prefix + n, "targetCommit": commit} for n, commit in sorted(names.items())]

    pulls = {n: c for n, c in repository.branches.items() if n.startswith("refs/pr/")}
    branches = {n: c for n, c in repository.branches.items() if n not in pulls}
    body: dict[str, Any] = {
        "branches": entries(branches, "refs/heads/"),
        "tags": entries(repository.tags, "refs/tags/"),
        "converts": [],
    }
    if "include_prs" in request.query:
        body["pullRequests"] = [{"name": n, "ref": n, "targetCommit": c} for n, c in sorted(pulls.items())]
    return 200, body, {}


@route("POST", "/api/models/{name}/branch/(?P<branch>[^/]+)")
def create_branch(request: _Handler, name: str, branch: str) -> Answer:
    repository = request.writer(name)
    start = (request.json() or {}).get("startingPoint") or "main"
    if branch in repository.branches:
        raise HttpError(409, f"Reference already exists: {branch}")
    repository.branches[branch] = request.commit(repository, start)
    return 200, {}, {}


@route("POST", "/api/models/{name}/tag/(?P<revision>[^/]+)")
def create_tag(request: _Handler, name: str, revision: str) -> Answer:
    repository = request.writer(name)
    tag = request.json()["tag"]
    if tag in repository.tags:
        raise HttpError(409, f"Tag reference exists already: {tag}")
    repository.tags[tag] = request.commit(repository, revision)
    return 200, {}, {}


@route("DELETE", "/api/models/{name}/tag/(?P<tag>[^/]+)")
def delete_tag(request: _Handler, name: str, tag: str) -> Answer:
    if request.writer(name).tags.pop(tag, None) is None:
        raise HttpError(404, f"no tag {tag}", "RevisionNotFound")
    return 200, {}, {}


@route("POST", "/api/models/{name}/preupload/(?P<revision>[^/]+)")
def preupload(request: _Handler, name: str, revision: str) -> Answer:
    repository = request.writer(name)
    there = repository.commits[request.commit(repository, revision)].files
    answers = []
    for file in request.json()["files"]:
        large = file["path"].endswith(".safetensors") or file["size"] > REGULAR_LIMIT
        answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if file["path"] in there:
            answer["oid"] = there[file["path"]].sha256 if large else there[file["path"]].oid
        answers.append(answer)
    return 200, {"files": answers}, {}


@route("POST", r"/{name}\.git/info/lfs/objects/batch")
def lfs_batch(request: _Handler, name: str) -> Answer:
    request.writer(name)
    wanted = request.json()
    assert wanted["operation"] == "upload"
    assert wanted["hash_algo"] == "sha256"
    objects = []
    for item in wanted["objects"]:
        answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in request.hub.large_files:
            address = f"{request.hub.endpoint}/storage/{item['oid']}?size={item['size']}"
            answer["actions"] = {
                "upload": {"href": f"{address}&signature={request.hub.signature}"},
                "verify": {"href": f"{request.hub.endpoint}/api/verify-lfs"},
            }
        objects.append(answer)
    return 200, {"transfer": "basic", "objects": objects}, {}


@route("PUT", "/storage/(?P<oid>[0-9a-f]{64})")
def store(request: _Handler, oid: str) -> Answer:
    content = request.body()
    if request.query.get("signature") != request.hub.signature:
        raise HttpError(403, "SignatureDoesNotMatch")
    if sha256(content).hexdigest() != oid or len(content) != int(request.query["size"]):
        raise HttpError(400, "what was sent is not what was announced")
    request.hub.large_files[oid] = content
    return 200, {}, {}


@route("POST", "/api/verify-lfs")
def verify_lfs(request: _Handler) -> Answer:
    wanted = request.json()
    content = request.hub.large_files.get(wanted["oid"])
    if content is None or len(content) != wanted["size"]:
        raise HttpError(404, "the file did not arrive")
    return 200, {}, {}


@route("POST", "/api/models/{name}/commit/(?P<revision>[^/]+)")
def commit(request: _Handler, name: str, revision: str) -> Answer:
    repository = request.writer(name)
    author = request.may_write(name.split("/")[0]).user
    lines = [json.loads(line) for line in request.body().splitlines()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    with request.hub.lock:
        if revision not in repository.branches:
            raise HttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        head = repository.branches[revision]
        if header.get("parentCommit") not in (None, head):
            raise HttpError(412, "A commit has happened since. Please refresh and try again.")
        files = dict(repository.commits[head].files)
        for line in lines:
            _apply(request, files, line["key"], line["value"])
        target = revision
        if request.query.get("create_pr") == "1":
            target = f"refs/pr/{1 + sum(branch.startswith('refs/pr/') for branch in repository.branches)}"
        made = repository.add(target, Commit(head, header["summary"], author, files))
    url = f"{request.hub.endpoint}/{name}"
    body = {"success": True, "commitOid": made, "commitUrl": f"{url}/commit/{made}", "hookOutput": ""}
    if target != revision:
        body["pullRequestUrl"] = f"{url}/discussions/{target.rpartition('/')[2]}"
    return 200, body, {}


def _apply(request: _Handler, files: dict[str, File], key: str, value: Mapping[str, Any]) -> None:
    path = value.get("path", "")
    if key == "file":
        files[path] = File(base64.b64decode(value["content"]))
        if path == "README.md" and (errors := check_card(files[path].content.decode())[0]):
            raise HttpError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    elif key == "lfsFile":
        content = request.hub.large_files.get(value["oid"])
        if content is None:
            raise HttpError(400, f"Your push was rejected because the LFS pointer of {path} points to a missing file")
        files[path] = File(content, lfs=True)
    elif key in ("deletedFile", "deletedFolder"):
        gone = [p for p in files if p == path or (key == "deletedFolder" and p.startswith(f"{path.rstrip('/')}/"))]
        if not gone:
            raise HttpError(404, "A file with this name doesn't exist", "EntryNotFound")
        for p in gone:
            del files[p]
    elif key != "header":
        raise HttpError(400, f"unknown operation {key}")


@route("GET", "/{name}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(request: _Handler, name: str, revision: str, path: str) -> Answer:
    repository = request.reader(name)
    commit = request.commit(repository, revision)
    file = repository.commits[commit].files.get(path)
    if file is None:
        raise HttpError(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit})
    headers = {"Content-Type": "application/octet-stream", "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    headers["ETag"] = f'"{file.sha256 if file.lfs else file.oid}"'
    if file.lfs:
        headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(file.content))}
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if wanted is None:
        return 200, file.content, headers
    size, start = len(file.content), int(wanted[1])
    end = min(int(wanted[2] or size - 1), size - 1)
    if start > end:
        return 416, b"", {**headers, "Content-Range": f"bytes */{size}"}
    return 206, file.content[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="Any free port by default.")
    parser.add_argument("--user", default="user", help="Whose token it accepts.")
    arguments = parser.parse_args()
    token = f"hf_{secrets.token_hex(17)}"
    with HubServer({token: Token(arguments.user)}, port=arguments.port) as hub:
        print(f"export HF_ENDPOINT={hub.endpoint} HF_TOKEN={token} HF_HUB_DISABLE_XET=1", flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
