"""A Hub on the loopback interface: what of huggingface.co's HTTP interface its client uses for model repositories.

In memory, for tests, and by hand: `python -m tests.hub_server` prints the environment that points a client at it.
Routes, status codes and headers are those that huggingface_hub 2.4 sends and reads. There is no Xet storage, so clients
need HF_HUB_DISABLE_XET=1.
"""

from __future__ import annotations

import argparse
import json
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.hub_routes import ROUTES, Answer, HttpError
from tests.hub_store import Repository, Token


class DroppedError(Exception):
    """The connection was cut on purpose, or by the client."""


class HubServer:
    """The server; `with HubServer({"hf_secret": Token("user")}) as hub:` serves at `hub.endpoint`."""

    def __init__(self, tokens: Mapping[str, Token], *, port: int = 0) -> None:
        self.tokens = dict(tokens)
        self.repositories: dict[str, Repository] = {}
        self.large_files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self.signature = secrets.token_hex(8)  # stands in for that of an upload address
        self._drops = (re.compile(""), 0, 0)
        self._actions: list[tuple[re.Pattern[str], Callable[[], object]]] = []
        handler = type("Handler", (Handler,), {"hub": self})
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
        """Cut the connection in the middle of uploads, of those to a path: some still succeed, and some then fail."""
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


class Handler(BaseHTTPRequestHandler):
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
            self.close_connection = True
            return
        finally:
            with self.hub.lock:
                self.hub.requests.append((self.command, url.path))
        # What the client still sends.
        if self._unread:
            self.body()
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

    def body(self) -> bytes:
        return b"".join(self._chunks())

    def json(self) -> Any:
        return json.loads(self.body() or b"null")

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
