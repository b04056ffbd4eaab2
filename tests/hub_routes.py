"""The answers of the loopback Hub: each route of huggingface.co that the client uses for models."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import yaml

from tests.hub_store import Commit, File, Repository, check_card

if TYPE_CHECKING:
    from tests.hub_server import Handler

# Regular files are kept in git; larger ones, and weights of any size, in the large file storage.
REGULAR_LIMIT = 5_000_000


class HttpError(Exception):
    """An answer that is an error, with the headers by which the client tells errors apart."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None, **body: Any
    ) -> None:
        super().__init__(message)
        self.answer = status, {"error": message, **body}, {"X-Error-Message": message, **(headers or {})}
        if code is not None:
            self.answer[2]["X-Error-Code"] = code


Answer = tuple[int, Any, dict[str, str]]
ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []
NAME = r"(?P<name>[^/]+/[^/]+)"


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Register an answer; the pattern's groups become its arguments, unquoted."""

    def register(answer: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern.replace("{name}", NAME) + r"\Z"), answer))
        return answer

    return register


@route("GET", "/api/whoami-v2")
def whoami(request: Handler) -> Answer:
    if request.user is None:
        raise HttpError(401, "Invalid username or password.")
    role = "write" if request.user.write else "read"
    return 200, {"type": "user", "name": request.user.user, "orgs": [], "auth": {"accessToken": {"role": role}}}, {}


@route("POST", "/api/validate-yaml")
def validate_yaml(request: Handler) -> Answer:
    errors, warnings = check_card(request.json()["content"])
    body = {"errors": [{"message": e} for e in errors], "warnings": [{"message": w} for w in warnings]}
    return 400 if errors else 200, body, {}


@route("POST", "/api/repos/create")
def create_repository(request: Handler) -> Answer:
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
def model_info(request: Handler, name: str, revision: str = "main") -> Answer:
    repository = request.reader(name)
    commit = repository.commits[request.commit(repository, revision)]
    card = re.match(rb"\A---\n(.*?)\n---\n", commit.files.get("README.md", File(b"")).content, re.DOTALL)
    data = yaml.safe_load(card[1]) if card else {}
    config = json.loads(commit.files["config.json"].content) if "config.json" in commit.files else {}
    body = {
        "id": name,
        "sha": commit.id,
        "private": repository.private,
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
def tree(request: Handler, name: str, revision: str, folder: str = "") -> Answer:
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


@route("GET", "/api/models/{name}/refs")
def refs(request: Handler, name: str) -> Answer:
    repository = request.reader(name)

    def entries(names: Mapping[str, str], prefix: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": prefix + n, "targetCommit": commit} for n, commit in sorted(names.items())]

    pulls = {n: c for n, c in repository.branches.items() if n.startswith("refs/pr/")}
    branches = {n: c for n, c in repository.branches.items() if n not in pulls}
    pull_requests = [{"name": n, "ref": n, "targetCommit": c} for n, c in sorted(pulls.items())]
    heads, tags = entries(branches, "refs/heads/"), entries(repository.tags, "refs/tags/")
    return 200, {"branches": heads, "tags": tags, "converts": [], "pullRequests": pull_requests}, {}


@route("POST", "/api/models/{name}/branch/(?P<branch>[^/]+)")
def create_branch(request: Handler, name: str, branch: str) -> Answer:
    repository = request.writer(name)
    start = (request.json() or {}).get("startingPoint") or "main"
    if branch in repository.branches:
        raise HttpError(409, f"Reference already exists: {branch}")
    repository.branches[branch] = request.commit(repository, start)
    return 200, {}, {}


@route("POST", "/api/models/{name}/tag/(?P<revision>[^/]+)")
def create_tag(request: Handler, name: str, revision: str) -> Answer:
    repository = request.writer(name)
    tag = request.json()["tag"]
    if tag in repository.tags:
        raise HttpError(409, f"Tag reference exists already: {tag}")
    repository.tags[tag] = request.commit(repository, revision)
    return 200, {}, {}


def is_large(path: str, size: int) -> bool:
    return path.endswith(".safetensors") or size > REGULAR_LIMIT


@route("POST", "/api/models/{name}/preupload/(?P<revision>[^/]+)")
def preupload(request: Handler, name: str, revision: str) -> Answer:
    repository = request.writer(name)
    there = repository.commits[request.commit(repository, revision)].files
    answers = []
    for file in request.json()["files"]:
        large = is_large(file["path"], file["size"])
        answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
        if file["path"] in there:
            answer["oid"] = there[file["path"]].sha256 if large else there[file["path"]].oid
        answers.append(answer)
    return 200, {"files": answers}, {}


@route("POST", r"/{name}\.git/info/lfs/objects/batch")
def lfs_batch(request: Handler, name: str) -> Answer:
    request.writer(name)
    wanted = request.json()
    assert wanted["operation"] == "upload"
    assert wanted["hash_algo"] == "sha256"
    objects = []
    for item in wanted["objects"]:
        answer: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if item["oid"] not in request.hub.large_files:
            address = f"{request.hub.endpoint}/storage/{item['oid']}?size={item['size']}"
            answer["actions"] = {"upload": {"href": f"{address}&signature={request.hub.signature}"}}
        objects.append(answer)
    return 200, {"transfer": "basic", "objects": objects}, {}


@route("PUT", "/storage/(?P<oid>[0-9a-f]{64})")
def store(request: Handler, oid: str) -> Answer:
    content = request.body()
    if request.query.get("signature") != request.hub.signature:
        raise HttpError(403, "SignatureDoesNotMatch")
    if sha256(content).hexdigest() != oid or len(content) != int(request.query["size"]):
        raise HttpError(400, "what was sent is not what was announced")
    request.hub.large_files[oid] = content
    return 200, {}, {}


@route("POST", "/api/models/{name}/commit/(?P<revision>[^/]+)")
def commit(request: Handler, name: str, revision: str) -> Answer:
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


def _apply(request: Handler, files: dict[str, File], key: str, value: Mapping[str, Any]) -> None:
    path = value.get("path", "")
    if key == "file":
        files[path] = File(base64.b64decode(value["content"]))
        if is_large(path, len(files[path].content)):
            raise HttpError(400, f"{path} belongs into the large file storage")
        if path == "README.md" and (errors := check_card(files[path].content.decode())[0]):
            raise HttpError(400, "Invalid metadata in README.md: " + "; ".join(errors))
    elif key == "lfsFile":
        content = request.hub.large_files.get(value["oid"])
        if content is None:
            raise HttpError(400, f"Your push was rejected because the LFS pointer of {path} points to a missing file")
        files[path] = File(content, lfs=True)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise HttpError(404, "A file with this name doesn't exist", "EntryNotFound")
    elif key != "header":
        raise HttpError(400, f"unknown operation {key}")


@route("GET", "/{name}/(?:resolve|raw)/(?P<revision>[^/]+)/(?P<path>.+)")
def resolve(request: Handler, name: str, revision: str, path: str) -> Answer:
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
