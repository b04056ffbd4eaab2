"""The demo's server under many clients at once, some of whom send nonsense: it stays up, answers right and stays small.

`SOAK_REQUESTS=6000 python -m pytest -m slow tests/demo/test_soak.py --log-cli-level INFO` for longer.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import logging
import os
import random
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from statistics import median
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")
pytest.importorskip("psutil", reason="needs the extra train")

import psutil
from accelerate.utils.other import get_free_port

from hf_lstm_sentiment import predict, pretrained
from hf_lstm_sentiment.demo.page import MAX_CHARACTERS
from hf_lstm_sentiment.demo.server import MAX_REQUEST
from tests.demo.test_browser import ENVIRONMENT, PATIENCE, SCRIPT, served
from tests.reviews import make_reviews

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
logger = logging.getLogger(__name__)

CLIENTS = 50
REQUESTS = int(os.environ.get("SOAK_REQUESTS", "1000"))
# Until every thread has seen the longest texts, which its heap then has room for.
WARM_UP = 1_500
ROUNDS = 5
# Bytes that a request may leave behind: Gradio remembers the names of sessions. And what the heap may grow by once.
PER_REQUEST, ONCE = 4 * 2**10, 20 * 2**20
MODEL = pretrained("reviews")
WORDS = ["a", "wonderful", "film", "with", "great", "actors", "but", "the", "plot", "is", "dull", "and", "awful"]
TEXTS = [
    *(text for text, _ in make_reviews(40)),
    *(" ".join(random.Random(seed).choices(WORDS, k=16 * seed)) for seed in range(1, 6)),
    "<script>alert(1)</script> & a \"wonderful\" 'film' 🎬",
]
KIND = {"Content-Type": "application/json"}
# Endpoint, what it is given, a part of what it says.
PROBLEMS = [
    ("read", ["", MODEL, "", 0], "nothing to read yet"),
    ("read", ["x" * (MAX_CHARACTERS + 1), MODEL, "", 0], "characters; up to"),
    ("read", ["good", "/no/such/model", "", 0], "no such file or directory"),
    ("classify", [None, "id,words\n1,good\n", "body", MODEL, 0], "several columns"),
    ("classify", [None, "", "", MODEL, 0], "nothing to classify yet"),
    ("read", [None, MODEL, "", 0], "nothing to read yet"),
    # Gradio makes a text of it.
    ("read", [{"a": 1}, MODEL, "", 0], "verdict"),
    ("read", ["good"], "error"),
]
# Requests that no handler gets to see, and the status of their answers.
NONSENSE = [
    ("POST", "/gradio_api/call/read", b"{not json", 422),
    ("POST", "/gradio_api/call/read", b'{"data": "text"}', 422),
    ("POST", "/gradio_api/call/read", b"\xff\x00\xfe", 400),
    ("POST", "/gradio_api/call/none", b'{"data": []}', 500),
    ("GET", "/gradio_api/call/read/none", None, 200),
    ("GET", "/gradio_api/file=/etc/passwd", None, 403),
    ("GET", "/../../etc/passwd", None, 404),
]


class Client:
    """One of them, with a session that lasts."""

    def __init__(self, address, number, expected):
        self.random = random.Random(number)
        self.place = urlsplit(address).netloc
        self.session = f"client-{number}"
        self.expected = expected

    def send(self, method, path, body=None, headers=KIND):
        """Status and body of the answer."""
        # A connection each: the server closes one that was idle for a while, and may do so under a request.
        with closing(http.client.HTTPConnection(self.place, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            try:
                return answer.status, answer.read()
            except http.client.IncompleteRead as cut:
                # So ends what Gradio says of an event that it does not know.
                return answer.status, cut.partial

    def begin(self, name, data):
        # Half of the requests come from strangers, as by curl, of whom each is a session of its own.
        session = {"session_hash": self.session} if self.random.random() < 0.5 else {}
        status, body = self.send("POST", f"/gradio_api/call/{name}", json.dumps({"data": data, **session}))
        assert status == 200, body
        return json.loads(body)["event_id"]

    def call(self, name, data):
        """What a handler returns; an error where it fails."""
        status, body = self.send("GET", f"/gradio_api/call/{name}/{self.begin(name, data)}")
        assert status == 200, body
        *_, event = [event for event in body.decode().split("\n\n") if event.strip() and "heartbeat" not in event]
        name, _, content = event.removeprefix("event: ").partition("\ndata: ")
        return json.loads(content) if name == "complete" else f"error: {content}"

    def run(self, requests):
        """Send so many requests of all kinds."""
        for _ in range(requests):
            if self.random.random() < 0.3:
                self.random.choice([self.problem, self.nonsense, self.too_large, self.leave])()
            else:
                self.random.choice([self.read, self.read, self.classify])()

    def read(self):
        text = self.random.choice(TEXTS)
        answer = self.call("read", [text, MODEL, "", 0])
        assert isinstance(answer, list), (text[:50], answer)
        (html,) = answer
        label, score = re.search(r'class="verdict">(\w+) <span>([\d.]+)&nbsp;%<', html).groups()
        assert label == self.expected[text].label
        # The page shows one digit after the point.
        assert float(score) == pytest.approx(100 * self.expected[text].score, abs=0.051)

    def classify(self):
        texts = self.random.sample(TEXTS, 5)
        answer = self.call("classify", [None, "\n".join(texts), "", MODEL, 0])
        assert isinstance(answer, list), (texts[0][:50], answer)
        said, file = answer
        assert "5 reviews" in said
        url = urlsplit(file["value"]["url"] if "value" in file else file["url"])
        status, body = self.send("GET", url.path)
        assert status == 200, body
        rows = list(csv.DictReader(io.StringIO(body.decode())))
        assert [(row["text"], row["label"]) for row in rows] == [(t, self.expected[t].label) for t in texts]
        scores = [self.expected[text].score for text in texts]
        assert [float(row["score"]) for row in rows] == pytest.approx(scores, abs=1e-6)

    def problem(self):
        """What a handler refuses, in words."""
        name, data, said = self.random.choice(PROBLEMS)
        answer = str(self.call(name, data))
        assert said in answer, (name, data, said, answer[:500])

    def nonsense(self):
        """What no handler gets to see."""
        method, path, body, expected = self.random.choice(NONSENSE)
        status, answer = self.send(method, path, body)
        assert status == expected, (path, body, status, answer[:200])
        assert b"root:" not in answer

    def too_large(self):
        """A request that says it is larger than what is read."""
        headers = {**KIND, "Content-Length": str(MAX_REQUEST + 1)}
        assert self.send("POST", "/gradio_api/call/read", b"", headers)[0] == 413

    def leave(self):
        """Ask and go: before the answer, or in the middle of it."""
        event = self.begin("read", [self.random.choice(TEXTS), MODEL, "", 0])
        # Gradio forgets what a session waits for once its connection is gone: who comes back is another one.
        self.session += "+"
        if self.random.random() < 0.5:
            with closing(http.client.HTTPConnection(self.place, timeout=PATIENCE)) as connection:
                connection.request("GET", f"/gradio_api/call/read/{event}")


def size_at_rest(server):
    """Memory of the server once it has finished what clients asked for and went away from."""
    deadline = time.monotonic() + PATIENCE
    # Gradio itself looks for messages all the time.
    while server.cpu_percent(interval=0.5) > 25:
        assert time.monotonic() < deadline, "the server works on with nobody there"
    return server.memory_info().rss


def test_soak(tmp_path):
    expected = dict(zip(TEXTS, predict(TEXTS, model=MODEL), strict=True))
    port = get_free_port()
    command = [sys.executable, str(SCRIPT), "--port", str(port)]
    environment = {**ENVIRONMENT, "GRADIO_TEMP_DIR": str(tmp_path / "gradio")}
    with served(command, port, tmp_path / "log", env=environment) as address:
        (server,) = [child for child in psutil.Process().children() if str(port) in child.cmdline()]
        clients = [Client(address, number, expected) for number in range(CLIENTS)]

        def send(requests):
            with ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda client: client.run(-(-requests // CLIENTS)), clients))

        def sizes(requests, when):
            """Memory after each round."""
            start = time.monotonic()
            for _ in range(ROUNDS):
                send(requests // ROUNDS)
                rss = size_at_rest(server)
                logger.info(f"{time.monotonic() - start:.0f} s {when}: RSS {rss / 2**20:.1f} MiB")
                yield rss

        # It goes up and down with what happened to be under way at once.
        before = median(list(sizes(WARM_UP, "of the warm-up"))[2:])
        after = median(sizes(REQUESTS, "after it"))
        logger.info(f"{(after - before) / REQUESTS / 2**10:.1f} KiB more for each of the last {REQUESTS:,} requests")
        assert server.is_running()
        assert after - before <= ONCE + PER_REQUEST * REQUESTS, (before, after)
    assert "MemoryError" not in (tmp_path / "log").read_text()
