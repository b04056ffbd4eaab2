"""The demo's server: whoever waits for an answer gets it, whatever others do meanwhile."""

from __future__ import annotations

import json
import urllib.request

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from hf_lstm_sentiment import demo_server
from hf_lstm_sentiment.demo import Models, build
from hf_lstm_sentiment.demo_server import LatestUsed, launch

from .demo_model import save_model
from .test_demo_page import PATIENCE, free_port

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_was_used_last_is_kept():
    entries = LatestUsed(2)
    entries["first"], entries["second"] = 1, 2
    assert entries["first"] == 1
    entries["third"] = 3
    assert list(entries) == ["first", "third"]
    entries["first"] = 4
    entries["fourth"] = 5
    assert dict(entries.items()) == {"first": 4, "fourth": 5}
    with pytest.raises(KeyError):
        entries["second"]


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Asks a server that keeps the answers of three sessions; returns the address of the answer."""
    monkeypatch.setattr(demo_server, "_ANSWERED", 3)
    run = str(save_model(tmp_path / "tiny-run"))
    page = build(Models([run]))
    address = launch(page, port=free_port(), block=False).rstrip("/")

    def begin(session):
        body = json.dumps({"data": ["a wonderful film", run], "session_hash": session}).encode()
        url = f"{address}/gradio_api/call/read"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return f"{url}/{json.load(answer)['event_id']}"

    yield begin
    page.close()


def fetch(answer):
    with urllib.request.urlopen(answer, timeout=PATIENCE) as events:
        return events.read().decode()


def test_an_old_session_is_answered_among_many_new_ones(begin):
    assert "event: complete" in fetch(begin("old"))
    fetch(begin("second")), fetch(begin("third"))
    answer = begin("old")
    fetch(begin("fourth"))
    assert "event: complete" in fetch(answer)
