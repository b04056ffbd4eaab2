"""The demo's server: whoever waits for an answer gets it, whatever others do meanwhile."""

from __future__ import annotations

import json
import urllib.request

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from hf_lstm_sentiment.demo import server as demo_server
from hf_lstm_sentiment.demo.page import Models, build
from hf_lstm_sentiment.demo.server import LatestUsed, launch
from tests.demo.test_browser import PATIENCE, free_port
from tests.demo_model import save_model

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_was_used_last_is_kept():
    dropped = []
    entries = LatestUsed(2, dropped.append)
    entries["first"], entries["second"] = 1, 2
    assert entries["first"] == 1
    entries["third"] = 3
    assert list(entries) == ["first", "third"]
    entries["first"] = 4
    entries["fourth"] = 5
    assert dict(entries.items()) == {"first": 4, "fourth": 5}
    assert dropped == ["second", "third"]
    with pytest.raises(KeyError):
        entries["second"]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A server that keeps the answers of three sessions."""
    monkeypatch.setattr(demo_server, "_ANSWERED", 3)
    page = build(Models([str(save_model(tmp_path / "tiny-run"))]))
    launch(page, port=free_port(), block=False)
    yield page
    page.close()


def begin(page, session):
    """Asks it; returns the address of the answer."""
    (model,) = [block.value for block in page.blocks.values() if getattr(block, "elem_id", None) == "model"]
    body = json.dumps({"data": ["a wonderful film", model], "session_hash": session}).encode()
    url = f"{page.local_url}gradio_api/call/read"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return f"{url}/{json.load(answer)['event_id']}"


def fetch(answer):
    with urllib.request.urlopen(answer, timeout=PATIENCE) as events:
        return events.read().decode()


def test_an_old_session_is_answered_among_many_new_ones(page):
    assert "event: complete" in fetch(begin(page, "old"))
    fetch(begin(page, "second")), fetch(begin(page, "third"))
    answer = begin(page, "old")
    fetch(begin(page, "fourth"))
    assert "event: complete" in fetch(answer)


def test_what_is_remembered_of_a_request_is_bounded(page):
    for number in range(6):
        fetch(begin(page, f"session {number}"))
    queue = page._queue
    assert set(queue.pending_messages_per_session) == {"session 3", "session 4", "session 5"}
    assert set(queue.pending_event_ids_session) <= set(queue.pending_messages_per_session)
    assert len(queue.event_analytics) == 1
    assert queue.cached_event_analytics_summary == {"functions": {}}
