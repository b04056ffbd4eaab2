"""The demo page in a real browser."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from accelerate.utils.other import get_free_port

from hf_lstm_sentiment import predict
from hf_lstm_sentiment.demo.page import MAX_BATCH, MAX_CHARACTERS
from hf_lstm_sentiment.demo.server import MAX_REQUEST
from hf_lstm_sentiment.inference.explanation import _TURNS
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"
SENTENCE = "A wonderful film and a terrible, boring end"
# Gradio's client asks the Hub who it talks to, unless told not to.
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Seconds after which a server or a browser counts as stuck, on however busy a machine.
PATIENCE = 600


@contextmanager
def served(command, port, log, **options) -> Iterator[str]:
    """A server in a process of its own, once it answers."""
    address = f"http://127.0.0.1:{port}"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output, **options) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                try:
                    with urllib.request.urlopen(address, timeout=PATIENCE):
                        break
                except OSError:
                    time.sleep(0.2)
            yield address
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def address(run, tmp_path_factory):
    port, folder = get_free_port(), tmp_path_factory.mktemp("server")
    three = save_model(folder / "three", ("negative", "neutral", "positive"))
    command = [sys.executable, str(SCRIPT), "--model", run, str(three), "--port", str(port)]
    environment = {**ENVIRONMENT, "GRADIO_TEMP_DIR": str(folder / "gradio")}
    with served(command, port, folder / "log", env=environment) as address:
        yield address


@contextmanager
def opened(chromium, address, **options):
    """A new browser window with the page, which may talk to its own server only."""
    context = chromium.new_context(**options)
    context.set_default_timeout(100_000)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.get_by_label("Review", exact=True).wait_for()
    try:
        yield page
    finally:
        context.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not wrong


@pytest.fixture
def page(chromium, address):
    with opened(chromium, address, viewport={"width": 1280, "height": 900}) as page:
        yield page


def read(page, text):
    page.get_by_label("Review", exact=True).fill(text)
    page.get_by_role("button", name="Read the review").click()


def open_many(page):
    page.get_by_role("tab", name="Many reviews").click()
    page.get_by_role("button", name="Classify").wait_for()


def upload(page, path):
    """Choose a file, and again if nothing came of it: the field may be drawn a moment before the page listens to it."""
    from playwright.sync_api import TimeoutError as TooLate

    field = page.locator("#file input[type=file]")
    for attempt in range(4):
        with suppress(TooLate):
            # The field goes when the file has come, however late.
            field.set_input_files(path, timeout=100_000 if attempt == 0 else 5_000)
        with suppress(TooLate):
            # Not its text, which stands on the page while the file comes and is two texts afterwards.
            page.locator("#file").get_by_label(path.name).wait_for(timeout=60_000)
            return
    raise AssertionError(f"{path.name} was not taken: {page.locator('#file').inner_text()!r}")


def test_a_typed_review_gets_label_colors_and_curve(page):
    page.get_by_label("Review", exact=True).press_sequentially(SENTENCE)
    page.get_by_role("button", name="Read the review").click()
    opinion = page.locator("#opinion .explanation")
    opinion.wait_for()
    assert re.fullmatch(r"(POSITIVE|NEGATIVE) \d+\.\d\s%", opinion.locator(".verdict").inner_text())
    review = opinion.locator(".review")
    assert review.inner_text() == SENTENCE
    colors = {
        word: review.get_by_text(word, exact=True).evaluate("element => getComputedStyle(element).backgroundColor")
        for word in ("wonderful", "terrible")
    }
    assert colors["wonderful"].startswith("rgba(0, 114, 178, 0.")
    assert colors["terrible"].startswith("rgba(213, 94, 0, 0.")
    curve = opinion.get_by_role("img", name="Probability of POSITIVE")
    points = [float(point.split(",")[1]) for point in curve.locator("polyline").get_attribute("points").split()]
    assert len(points) == len(SENTENCE.split()) + 1  # the comma is a word of its own
    # Up with the good word, down with the bad ones; the svg's y grows downwards.
    assert points[1] < points[0] - 20
    assert points[-1] > points[1] + 20
    turns = opinion.locator("table").first.locator("tbody tr")
    assert 0 < turns.count() <= _TURNS
    assert "wonderful" in turns.first.inner_text()
    assert curve.bounding_box()["width"] > 400


def test_the_keyboard_is_enough(page):
    def tab_to(condition):
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"(() => {{ const e = document.activeElement; return {condition}; }})()"):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid", "whoever tabs must see where they are"
                return
        pytest.fail(f"no way by the tab key to {condition}")

    tab_to("e.tagName == 'TEXTAREA'")
    page.keyboard.type("wonderful")
    tab_to("e.innerText.trim() == 'Read the review'")
    page.keyboard.press("Enter")
    page.locator("#opinion .verdict").wait_for()
    assert page.locator("#opinion .verdict").inner_text().startswith("POSITIVE")
    page.keyboard.press("Shift+Tab")
    tab_to("e.innerText.trim() == 'Faint praise'")
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#opinion .review').innerText.startsWith('It has great')")
    assert page.get_by_label("Review", exact=True).input_value().startswith("It has great")
    tab_to("e.innerText.trim().startsWith('Model')")
    page.keyboard.press("Enter")
    page.get_by_label("Model", exact=True).wait_for()


def test_a_screen_reader_has_a_name_for_everything(page):
    read(page, SENTENCE)
    page.locator("#opinion .verdict").wait_for()
    one = ['heading "Explain a review" [level=1]', 'textbox "Review"', 'button "Read the review"', 'tab "Many reviews"']
    one += ['img "POSITIVE', 'img "Probability of POSITIVE', 'columnheader "after the token"']
    assert_named(page, one, "textbox|button|tab|img|combobox|checkbox|link")
    assert page.locator("#opinion").get_attribute("aria-live") == "polite"
    open_many(page)
    many = ['textbox "Or paste reviews, one per line"', 'textbox "Column', 'button "Classify"']
    # Gradio's icons in the field of files have no names.
    assert_named(page, many, "textbox|button|tab|combobox|checkbox|link")


def assert_named(page, wanted, kinds):
    said = page.locator("body").aria_snapshot()
    assert not [expected for expected in wanted if expected not in said], said
    assert not re.findall(rf"^\s*- (?:{kinds})(?::.*)?$", said, re.MULTILINE), said


def test_it_is_readable(chromium, address):
    with opened(chromium, address) as page:
        # Colors that are on their way are not looked at.
        page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
        read(page, f"{SENTENCE}. " * 30)
        page.locator("#opinion .verdict").wait_for()
        assert_readable(page)
        open_many(page)
        page.get_by_label("Or paste reviews").fill(f"{SENTENCE * 5}\n{'long' * 100}")
        page.get_by_role("button", name="Classify").click()
        page.locator("#many-result table").wait_for()
        assert_readable(page)


def assert_readable(page):
    """Nothing is cut off and every text stands out, on small screens and large ones, in the light and in the dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert not page.evaluate(CONTRAST)


# WCAG 2.1, 1.4.3: texts whose contrast with what lies behind them is below 4.5 (3 where they are large).
CONTRAST = """() => {
  const parse = color => (color.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (top, below) => [0, 1, 2].map(i => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
  const light = color => color.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility({visibilityProperty: true, opacityProperty: true}))
      continue;
    if (element.closest('script, style, [disabled]') || !element.getClientRects().length) continue;
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(parse(getComputedStyle(e).backgroundColor));
    const back = layers.reduce((below, top) => over(top, below), [255, 255, 255]);
    const style = getComputedStyle(element);
    const [a, b] = [light(over(parse(style.color), back)), light(back)].sort((x, y) => y - x);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
    if ((a + .05) / (b + .05) < (large ? 3 : 4.5))
      faint.push([walker.currentNode.data.trim(), style.color, back.join(), ((a + .05) / (b + .05)).toFixed(2)]);
  }
  return faint;
}"""


def test_of_three_labels_each_may_be_explained_and_an_answer_be_unsure(chromium, address):
    with opened(chromium, address, viewport={"width": 390, "height": 844}) as page:
        assert not page.get_by_label("Label explained").count()
        page.get_by_text("Model", exact=True).click()
        page.get_by_label("Model", exact=True).click()
        page.get_by_role("option", name="three").click()
        page.get_by_label("Label explained").wait_for()
        page.locator("#unsure input[type=number]").fill("60")
        read(page, "A film")
        page.locator("#opinion .verdict").get_by_text("UNSURE: neutral").wait_for()
        page.get_by_label("Label explained").click()
        page.get_by_role("option", name="negative").click()
        page.get_by_role("img", name="Probability of negative").wait_for()
        assert page.locator("#opinion .scores tr").count() == 3
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert not page.evaluate(CONTRAST)


def test_a_csv_goes_up_and_comes_down_classified(page, run, tmp_path):
    texts = [text for text, _ in make_reviews(25)]
    open_many(page)
    upload(page, write_csv(tmp_path / "mine.csv", [(text, i) for i, text in enumerate(texts)], ("review", "id")))
    page.get_by_role("button", name="Classify").click()
    page.locator("#many-result table").wait_for()
    assert page.locator("#many-result tbody tr").count() == 20
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "mine-classified.csv"
    rows = csv.DictReader(Path(waiting.value.path()).read_text(encoding="utf-8").splitlines())
    labels = [label for label, _ in predict(texts, model=run)]
    assert [(row["review"], row["label"]) for row in rows] == list(zip(texts, labels, strict=True))


def test_what_is_wrong_is_said_and_the_page_goes_on(page, tmp_path):
    alert = page.locator("#opinion [role=alert]")
    read(page, "")
    alert.get_by_text("nothing to read yet").wait_for()
    read(page, "x" * (MAX_CHARACTERS + 1))
    alert.get_by_text("up to 20,000 are read here").wait_for()
    open_many(page)
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"text\n\xff\xfe\n")
    upload(page, broken)
    page.get_by_role("button", name="Classify").click()
    alert = page.locator("#many-result [role=alert]")
    alert.get_by_text("broken.csv, row 1: byte 0xff is not UTF-8").wait_for()
    page.get_by_role("tab", name="One review").click()
    read(page, "<img src=x onerror=\"document.title='taken'\"> wonderful")
    page.locator("#opinion .verdict").wait_for()
    assert page.title() == "Explain a review"
    assert page.locator("#opinion img:not([role])").count() == 0


def test_it_listens_on_this_machine_only(address):
    port = int(address.rsplit(":", 1)[1])
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_uploads_and_requests_above_their_limits_are_refused(address):
    import httpx

    def status(place, **options):
        return httpx.post(f"{address}/gradio_api/{place}", timeout=PATIENCE, **options).status_code

    def upload(size):
        return status("upload", files={"files": ("big.txt", b"x" * size)})

    def ask(length, *, declared):
        body = b'{"data": ["' + b"x" * length + b'", "tiny-run"]}'
        content = body if declared else iter([body[i : i + 65_536] for i in range(0, len(body), 65_536)])
        return status("call/read", content=content, headers={"content-type": "application/json"})

    assert (upload(MAX_BATCH), upload(MAX_BATCH + 100_000)) == (200, 413)
    assert [ask(100, declared=declared) for declared in (True, False)] == [200, 200]
    assert [ask(MAX_REQUEST, declared=declared) for declared in (True, False)] == [413, 400]
