"""A Hub on the loopback interface: what of huggingface.co's HTTP interface its client uses for model repositories.

In memory, for tests, and by hand: `python -m tests.hub_server` prints the environment that points a client at it.
Routes, status codes and headers are those that huggingface_hub 2.4 sends and reads. There is no Xet storage, so clients
need HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import socket
import threading
from contextlib import suppress
from hashlib import sha1, sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml
from huggingface_hub.repocard_data import model_index_to_eval_results


class HttpError(Exception):
    """An answer that is an error; by the code the client tells errors apart."""

    def __init__(self, status, message, code="", **body):
        said = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
        super().__init__(status, {"error": message, **body}, said)


class DroppedError(Exception):
    """The connection was cut on purpose, or by the client."""


class File(NamedTuple):
    content: bytes
    lfs: bool = False

    @property
    def sha256(self):
        return sha256(self.content).hexdigest()

    @property
    def oid(self):
        """As git names it: of a large file, the small file that points at it."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {len(self.content)}\n"
        content = pointer.encode() if self.lfs else self.content
        return sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Repository:
    """Commits, each of all the files that it holds, and the names that point at them."""

    def __init__(self, name, *, private=False):
        self.name, self.private = name, private
        # Messages of the main branch, the newest first.
        self.commits, self.branches, self.tags, self.history = {}, {}, {}, []
        self.commit({".gitattributes": File(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}, "initial commit")

    def commit(self, files, message="theirs", branch="main"):
        """Add what a branch then points at."""
        commit = self.branches[branch] = secrets.token_hex(20)
        self.commits[commit] = files
        if branch == "main":
            self.history.insert(0, message)
        return commit

    def add(self, files):
        """Somebody's commit to the main branch, of contents by their paths."""
        made = {path: File(content) for path, content in files.items()}
        return self.commit(self.commits[self.branches["main"]] | made)

    def find(self, revision):
        """The commit that a branch, a tag, a pull request or its own hash names."""
        commit = {**{commit: commit for commit in self.commits}, **self.tags, **self.branches}.get(revision)
        if commit is None:
            raise HttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def files(self, revision="main"):
        """What a stranger would download."""
        return {path: file.content for path, file in self.commits[self.find(revision)].items()}


def check_card(content):
    """What is wrong with the metadata of a card: its license, its results, that they cannot be read."""
    try:
        data = yaml.safe_load(re.match(r"\A---\n(.*?)\n---\n", content, re.DOTALL)[1])
        if "model-index" in data:
            model_index_to_eval_results(data["model-index"])
    except (yaml.YAMLError, KeyError, TypeError) as error:
        return [f"the metadata cannot be read: {error!r}"]
    return [] if data.get("license", "mit") == "mit" else ['"license" must be one of the allowed']


class HubServer:
    """The server; `with HubServer({"hf_secret": ("user", True)}) as hub:` serves at `hub.endpoint`.

    A token says who its user is, and whether it may write.
    """

    def __init__(self, tokens, *, port=0):
        self.tokens, self.repositories, self.large_files, self._plan = tokens, {}, {}, None
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), type("Handler", (Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exception):
        self._server.shutdown()
        self._server.server_close()

    def once(self, path, action, *, after=0, times=1):
        """Do something when requests for such a path come in, before they are answered; `after` so many others."""
        self._plan = [re.compile(path), action, after, times]

    def drop_after(self, uploads, *, times=1, path="/storage/|/commit/"):
        """Cut the connection of requests to a path: some still succeed, and some then fail."""

        def drop():
            raise DroppedError

        self.once(path, drop, after=uploads, times=times)

    def interfere(self, path):
        """Run what is planned for a request."""
        with self.lock:
            if self._plan is None or not self._plan[0].search(path):
                return
            _, action, after, times = self._plan
            self._plan[2 if after else 3] -= 1
        if not after and times > 0:
            action()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        url = urlsplit(self.path)
        self.query, self.status, self.reply = dict(parse_qsl(url.query)), 200, {}
        try:
            self.hub.interfere(url.path)
            self.body = b"".join(self.chunks())
            status, body, headers = None, self.answer([unquote(part) for part in url.path.split("/")[1:]]), {}
        except HttpError as error:
            status, body, headers = error.args
        except (DroppedError, ConnectionError):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status or self.status)
        sizes = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for key, value in (sizes | self.reply | headers).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

    def log_message(self, *arguments):
        pass

    def chunks(self):
        """The body of the request, piece by piece."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def answer(self, parts):
        """What is sent back; every request of the client that is not here is an error."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme and token not in self.hub.tokens:
            # It repeats the token, as no server should: the client must not show it to anybody.
            raise HttpError(401, "Invalid credentials in Authorization header", error=f"no such token: {token}")
        self.user, self.writes = self.hub.tokens.get(token, (None, False))
        sent = json.loads(self.body) if self.body and parts[-1] in ("batch", "create", "validate-yaml") else None
        match ["GET" if self.command == "HEAD" else self.command, *parts]:
            case ["GET", "api", "whoami-v2"]:
                if self.user is None:
                    raise HttpError(401, "Invalid username or password.")
                role = {"role": "write" if self.writes else "read"}
                return {"type": "user", "name": self.user, "orgs": [], "auth": {"accessToken": role}}
            case ["POST", "api", "validate-yaml"]:
                errors = check_card(sent["content"])
                self.status = 400 if errors else 200
                return {"errors": [{"message": error} for error in errors], "warnings": []}
            case ["POST", "api", "repos", "create"]:
                return self.create(sent)
            case ["GET", "api", "models", owner, name]:
                return self.info(self.reader(owner, name), "main")
            case ["GET", "api", "models", owner, name, "revision", revision]:
                return self.info(self.reader(owner, name), revision)
            case ["GET", "api", "models", owner, name, "tree", revision, *folder]:
                return self.tree(self.reader(owner, name), revision, "".join(f"{part}/" for part in folder))
            case ["GET", "api", "models", owner, name, "refs"]:
                return self.refs(self.reader(owner, name))
            case ["POST", "api", "models", owner, name, "branch" | "tag" | "preupload" | "commit" as what, revision]:
                return getattr(self, what)(self.writer(owner, name), revision)
            case ["POST", owner, name, "info", "lfs", "objects", "batch"]:
                self.writer(owner, name.removesuffix(".git"))
                return {"transfer": "basic", "objects": [self.large(item) for item in sent["objects"]]}
            case ["PUT", "storage", oid]:
                assert sha256(self.body).hexdigest() == oid
                self.hub.large_files[oid] = self.body
                return {}
            case ["GET", owner, name, "resolve" | "raw", revision, *path]:
                return self.resolve(self.reader(owner, name), revision, "/".join(path))
        raise HttpError(404, f"no route for {self.command} {self.path}")

    def reader(self, owner, name):
        repository = self.hub.repositories.get(f"{owner}/{name}")
        if repository is None or (repository.private and self.user != owner):
            # Who is not known is not told what there is.
            status, message = (404, "Repository not found") if self.user else (401, "Invalid username or password.")
            raise HttpError(status, message, "RepoNotFound")
        return repository

    def may_write(self, owner):
        if self.user is None:
            raise HttpError(401, "Invalid username or password.")
        if not self.writes or self.user != owner:
            raise HttpError(403, "You don't have the rights to write under this namespace")

    def writer(self, owner, name):
        repository = self.reader(owner, name)
        self.may_write(owner)
        return repository

    def create(self, wanted):
        owner = wanted.get("organization") or self.user or ""
        name = f"{owner}/{wanted['name']}"
        self.may_write(owner)
        url = f"{self.hub.endpoint}/{name}"
        if name in self.hub.repositories:
            raise HttpError(409, "You already created this model repo", url=url)
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repositories[name] = Repository(name, private=private)
        return {"url": url, "name": name}

    def info(self, repository, revision):
        files = [{"rfilename": path} for path in sorted(repository.files(revision))]
        about = {"id": repository.name, "sha": repository.find(revision), "private": repository.private}
        return {**about, "siblings": files, "tags": []}

    def tree(self, repository, revision, folder):
        entries = []
        for path, file in sorted(repository.commits[repository.find(revision)].items()):
            if path.startswith(folder):
                large = {"lfs": {"oid": file.sha256, "size": len(file.content), "pointerSize": 134}} if file.lfs else {}
                entries.append({"type": "file", "path": path, "size": len(file.content), "oid": file.oid, **large})
        if folder and not entries:
            raise HttpError(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        return entries

    def refs(self, repository):
        def listed(names, prefix):
            return [{"name": n, "ref": f"{prefix}{n}", "targetCommit": c} for n, c in names.items() if "/pr/" not in n]

        found = {"branches": listed(repository.branches, "refs/heads/"), "tags": listed(repository.tags, "refs/tags/")}
        return {**found, "converts": []}

    def branch(self, repository, branch):
        if branch in repository.branches:
            raise HttpError(409, f"Reference already exists: {branch}")
        repository.branches[branch] = repository.branches["main"]
        return {}

    def tag(self, repository, revision):
        tag = json.loads(self.body)["tag"]
        if tag in repository.tags:
            raise HttpError(409, f"Tag reference exists already: {tag}")
        repository.tags[tag] = repository.find(revision)
        return {}

    def preupload(self, repository, revision):
        there = repository.commits[repository.find(revision)]
        answers = []
        for file in json.loads(self.body)["files"]:
            # Weights of any size, and what is large, are not kept in git.
            large = file["path"].endswith(".safetensors") or file["size"] > 5_000_000
            answer = {"path": file["path"], "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if held := there.get(file["path"]):
                answer["oid"] = held.sha256 if large else held.oid
            answers.append(answer)
        return {"files": answers}

    def large(self, item):
        if item["oid"] in self.hub.large_files:
            return item
        return {**item, "actions": {"upload": {"href": f"{self.hub.endpoint}/storage/{item['oid']}"}}}

    def commit(self, repository, branch):
        (header, *operations) = [json.loads(line) for line in self.body.splitlines()]
        with self.hub.lock:
            head = repository.branches[branch]
            if header["value"].get("parentCommit") not in (None, head):
                raise HttpError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repository.commits[head])
            for operation in operations:
                self.apply(files, operation["key"], operation["value"])
            target, pull = branch, self.query.get("create_pr") == "1"
            if pull:
                target = f"refs/pr/{1 + sum(name.startswith('refs/pr/') for name in repository.branches)}"
            oid = repository.commit(files, header["value"]["summary"], target)
        url = f"{self.hub.endpoint}/{repository.name}"
        proposed = {"pullRequestUrl": f"{url}/discussions/{target.rpartition('/')[2]}"} if pull else {}
        return {"success": True, "commitOid": oid, "commitUrl": f"{url}/commit/{oid}", "hookOutput": "", **proposed}

    def apply(self, files, key, value):
        if key == "deletedFile":
            del files[value["path"]]
        elif key == "lfsFile":
            files[value["path"]] = File(self.hub.large_files[value["oid"]], lfs=True)
        else:
            assert key == "file"
            files[value["path"]] = File(base64.b64decode(value["content"]))

    def resolve(self, repository, revision, path):
        commit = repository.find(revision)
        self.reply = {"X-Repo-Commit": commit, "Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        file = repository.commits[commit].get(path)
        if file is None:
            raise HttpError(404, "Entry not found", "EntryNotFound")
        self.reply["ETag"] = f'"{file.sha256 if file.lfs else file.oid}"'
        if file.lfs:
            self.reply |= {"X-Linked-Etag": self.reply["ETag"], "X-Linked-Size": str(len(file.content))}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return file.content
        size, start = len(file.content), int(wanted[1])
        end = min(int(wanted[2] or size - 1), size - 1)
        self.status = 206
        self.reply["Content-Range"] = f"bytes {start}-{end}/{size}"
        return file.content[start : end + 1]


if __name__ == "__main__":
    secret = f"hf_{secrets.token_hex(17)}"
    with HubServer({secret: ("user", True)}) as started, suppress(KeyboardInterrupt):
        print(f"export HF_ENDPOINT={started.endpoint} HF_TOKEN={secret} HF_HUB_DISABLE_XET=1", flush=True)  # noqa: T201
        threading.Event().wait()
