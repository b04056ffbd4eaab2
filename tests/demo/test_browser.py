"""The demo page in a real browser, and as an exported Space."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.demo.page import MAX_BATCH, MAX_CHARACTERS
from hf_lstm_sentiment.demo.server import MAX_REQUEST
from hf_lstm_sentiment.demo.space import export_space
from hf_lstm_sentiment.inference.explanation import _TURNS
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SENTENCE = "A wonderful film and a terrible, boring end"
# Gradio's client asks the Hub who it talks to, unless told not to.
ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Seconds after which a server or a browser counts as stuck, on however busy a machine.
PATIENCE = 600


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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
def run(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("page") / "tiny-run")


@pytest.fixture(scope="module")
def address(run, tmp_path_factory):
    port = free_port()
    folder = tmp_path_factory.mktemp("server")
    command = [sys.executable, str(SCRIPT), "--model", str(run), "--port", str(port)]
    environment = {**ENVIRONMENT, "GRADIO_TEMP_DIR": str(folder / "gradio")}
    with served(command, port, folder / "log", env=environment) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no Chromium; apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Its sandbox needs rights that root in a container has not.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """The page, which may talk to its own server only."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.get_by_label("Review", exact=True).wait_for()
    yield page
    context.close()
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not wrong


def read(page, text):
    page.get_by_label("Review", exact=True).fill(text)
    page.get_by_role("button", name="Read the review").click()


def open_many(page):
    page.get_by_role("tab", name="Many reviews").click()
    page.get_by_role("button", name="Classify").wait_for()


def upload(page, path):
    """Choose a file, and again if nothing came of it: the field may be drawn a moment before the page listens to it."""
    from playwright.sync_api import TimeoutError as TooLate

    for attempt in range(3):
        page.locator("#file input[type=file]").set_input_files(path)
        try:
            page.get_by_text(path.name).wait_for(timeout=60_000)
        except TooLate:
            if attempt == 2:
                raise
        else:
            return


def test_a_typed_review_gets_label_colours_and_curve(page):
    page.get_by_label("Review", exact=True).press_sequentially(SENTENCE)
    page.get_by_role("button", name="Read the review").click()
    opinion = page.locator("#opinion .explanation")
    opinion.wait_for()
    assert re.fullmatch(r"(POSITIVE|NEGATIVE) \d+\.\d\s%", opinion.locator(".verdict").inner_text())
    review = opinion.locator(".review")
    assert review.inner_text() == SENTENCE
    colours = {
        word: review.get_by_text(word, exact=True).evaluate("element => getComputedStyle(element).backgroundColor")
        for word in ("wonderful", "terrible")
    }
    assert colours["wonderful"].startswith("rgba(0, 114, 178, 0.")
    assert colours["terrible"].startswith("rgba(213, 94, 0, 0.")
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


def test_an_example_is_one_click(page):
    page.get_by_role("button", name="Slow at first").click()
    page.locator("#opinion .explanation").wait_for()
    assert page.get_by_label("Review", exact=True).input_value() == "Slow at first, but worth it in the end."
    assert page.locator("#opinion .words span").count() == 11


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
    tab_to("e.innerText.trim().startsWith('Model')")
    page.keyboard.press("Enter")
    page.get_by_label("Model", exact=True).wait_for()


def test_a_screen_reader_has_a_name_for_everything(page):
    read(page, SENTENCE)
    page.locator("#opinion .verdict").wait_for()
    said = page.locator("body").aria_snapshot()
    for expected in (
        'heading "Explain a review" [level=1]',
        'textbox "Review"',
        'button "Read the review"',
        'tab "Many reviews"',
        'img "POSITIVE',
        'img "Probability of POSITIVE',
        'columnheader "after the word"',
    ):
        assert expected in said, said
    nameless = re.findall(r"^\s*- (?:textbox|button|tab|img|combobox|checkbox|link)(?::.*)?$", said, re.MULTILINE)
    assert not nameless, said
    assert page.locator("#opinion").get_attribute("aria-live") == "polite"
    open_many(page)
    said = page.locator("body").aria_snapshot()
    for expected in ('textbox "Or paste reviews, one per line"', 'textbox "Column', 'button "Classify"'):
        assert expected in said, said
    nameless = re.findall(r"^\s*- (?:textbox|button|tab|combobox|checkbox|link)(?::.*)?$", said, re.MULTILINE)
    assert not nameless, said


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable(chromium, address, width, scheme):
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(address)
    # Colours that are on their way are not looked at.
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    read(page, f"{SENTENCE}. " * 30)
    page.locator("#opinion .verdict").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # WCAG 2.1, 1.4.3: of every text, its contrast with what lies behind it.
    faint = page.evaluate(CONTRAST)
    assert not faint
    open_many(page)
    page.get_by_label("Or paste reviews").fill(f"{SENTENCE * 5}\n{'long' * 100}")
    page.get_by_role("button", name="Classify").click()
    page.locator("#many-result table").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not page.evaluate(CONTRAST)
    context.close()


# Texts whose contrast is below 4.5 (3 where they are large), with their colours.
CONTRAST = """() => {
  const parse = colour => (colour.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const over = (top, below) => [0, 1, 2].map(i => top[i] * (top[3] ?? 1) + below[i] * (1 - (top[3] ?? 1)));
  const light = colour => colour.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
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


def test_a_csv_goes_up_and_comes_down_classified(page, run, tmp_path):
    texts = [text for text, _ in make_reviews(25)]
    source = write_csv(tmp_path / "mine.csv", [(text, i) for i, text in enumerate(texts)], ("review", "id"))
    open_many(page)
    upload(page, source)
    page.get_by_role("button", name="Classify").click()
    page.locator("#many-result table").wait_for()
    assert page.locator("#many-result tbody tr").count() == 20
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "mine-classified.csv"
    with open(waiting.value.path(), encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["review", "id", "label", "score"]
    expected = Classifier.from_pretrained(run)(texts)
    assert [(row[0], row[2]) for row in rows] == [(t, p.label) for t, p in zip(texts, expected, strict=True)]


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
    page.locator("#many-result [role=alert]").get_by_text("broken.csv, row 1: byte 0xff is not UTF-8").wait_for()
    page.get_by_role("tab", name="One review").click()
    read(page, "<img src=x onerror=\"document.title='taken'\"> wonderful")
    page.locator("#opinion .verdict").wait_for()
    assert page.title() == "Explain a review"
    assert page.locator("#opinion img:not([role])").count() == 0


def test_it_listens_on_this_machine_only(address):
    port = int(address.rsplit(":", 1)[1])
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_many_clients_get_what_one_gets(address):
    from gradio_client import Client

    texts = [text for text, _ in make_reviews(16)]
    clients = [Client(address, verbose=False, analytics_enabled=False) for _ in range(4)]
    model = clients[0].view_api(return_format="dict")["named_endpoints"]["/read"]["parameters"][1]["parameter_default"]
    ask = lambda i: clients[i % 4].predict(texts[i], model, api_name="/read")  # noqa: E731
    alone = [ask(i) for i in range(len(texts))]
    assert len(set(alone)) == len(texts)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(len(texts)))) == alone


def test_an_upload_above_the_limit_is_refused(address):
    import httpx

    def status(size):
        file = {"files": ("big.txt", b"x" * size)}
        return httpx.post(f"{address}/gradio_api/upload", files=file, timeout=PATIENCE).status_code

    assert (status(MAX_BATCH), status(MAX_BATCH + 100_000)) == (200, 413)


def test_a_request_above_the_limit_is_refused(address):
    import httpx

    def ask(length, *, declared):
        body = b'{"data": ["' + b"x" * length + b'", "tiny-run"]}'
        content = body if declared else iter([body[i : i + 65_536] for i in range(0, len(body), 65_536)])
        kind = {"content-type": "application/json"}
        url = f"{address}/gradio_api/call/read"
        return httpx.post(url, content=content, headers=kind, timeout=PATIENCE).status_code

    assert [ask(100, declared=declared) for declared in (True, False)] == [200, 200]
    assert [ask(MAX_REQUEST, declared=declared) for declared in (True, False)] == [413, 400]


NOT_INSTALLED = """
import importlib.metadata as metadata

found = metadata.distribution

def distribution(name):
    if name == "hf_lstm_sentiment":
        raise metadata.PackageNotFoundError(name)
    return found(name)

metadata.distribution = distribution
"""


def test_an_exported_space_starts(run, tmp_path):
    import gradio
    from gradio_client import Client
    from huggingface_hub import SpaceCard

    folder = export_space(tmp_path / "space", models=[run])
    assert {path.name for path in folder.iterdir()} == {
        "README.md",
        "app.py",
        "requirements.txt",
        "models",
        "hf_lstm_sentiment",
    }
    assert not list(folder.rglob("__pycache__"))
    card = SpaceCard.load(folder / "README.md").data
    assert (card.sdk, card.sdk_version, card.app_file) == ("gradio", gradio.__version__, "app.py")
    assert len(card.short_description) <= 60
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+", line) for line in requirements)
    assert {"torch", "transformers", "Jinja2"} <= {line.split("==")[0] for line in requirements}

    port = free_port()
    # On a Space the package lies in the folder and is not installed.
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    environment = {
        **ENVIRONMENT,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
        "PYTHONPATH": str(tmp_path),
    }
    # The copy of the package is what runs.
    where = [sys.executable, "-c", "import hf_lstm_sentiment; print(hf_lstm_sentiment.__file__)"]
    found = subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(folder)
    with served([sys.executable, "app.py"], port, tmp_path / "log", cwd=folder, env=environment) as address:
        client = Client(address, verbose=False, analytics_enabled=False, download_files=False)
        assert "POSITIVE" in client.predict("a wonderful film", "./models/tiny-run", api_name="/read")
        said, result = client.predict(None, "a wonderful film\nboring", "", "./models/tiny-run", api_name="/classify")
        assert "2 reviews: 1 POSITIVE, 1 NEGATIVE" in said
        assert result
        # Strangers do not choose what is loaded.
        with pytest.raises(Exception, match="not in the list of choices"):
            client.predict("a wonderful film", str(run), api_name="/read")


def test_a_space_of_a_repository_of_the_hub(run, tmp_path):
    folder = export_space(tmp_path / "space", models=["user/name", run])
    assert "Models(['user/name', './models/tiny-run'])" in (folder / "app.py").read_text()
    assert "models:\n- user/name\n---" in (folder / "README.md").read_text()


def test_what_cannot_be_exported(run, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        export_space(full, models=[run])
    for missing in (tmp_path / "missing", "./missing", "missing"):
        with pytest.raises(FileNotFoundError, match="neither a directory nor a repository"):
            export_space(tmp_path / "space", models=[missing])
    with pytest.raises(ValueError, match=r"lacks config\.json, model\.safetensors"):
        export_space(tmp_path / "space", models=[full])
    with pytest.raises(ValueError, match="two runs are called"):
        export_space(tmp_path / "space", models=[run, run])
    with pytest.raises(ValueError, match="no model is named"):
        export_space(tmp_path / "space", models=[])
    assert not (tmp_path / "space").exists()
