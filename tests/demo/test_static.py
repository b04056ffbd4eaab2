"""The demo page without a server: in a browser, and its model in Node."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import re
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from hf_lstm_sentiment import Classifier, SentimentLSTMConfig, SentimentLSTMForSequenceClassification, train_tokenizer
from hf_lstm_sentiment.commands import demo
from hf_lstm_sentiment.demo.page import EXAMPLES, MAX_CHARACTERS
from hf_lstm_sentiment.demo.static import PACKAGES, export_static
from hf_lstm_sentiment.inference.classifier import probabilities
from hf_lstm_sentiment.inference.onnx_classify import OnnxClassifier
from tests.demo.test_browser import assert_named, assert_readable, opened, read
from tests.model.test_in_the_wild import CASES, NEGATIVE, POSITIVE
from tests.reviews import make_reviews

REVIEWS = Path(__file__).parents[3] / "shared" / "data" / "imdb" / "plain_text" / "test-00000-of-00001.parquet"
TRANSFORMERS = ("@huggingface/transformers@4.3.2", "@huggingface/jinja@0.5.10", "onnxruntime-common@1.30.0")
# What Node takes from packages of hundreds of megabytes: images are not read here, and the model runs in WebAssembly.
STUBS = {
    "sharp": "export default {};",
    "onnxruntime-node": 'export { InferenceSession, Tensor } from "onnxruntime-web"; export const env = {};',
}
# Where JavaScript may differ: final sigmas, letters that grow, spaces, names of special tokens.
ODD = [
    "e\u0301t\u00e9 한국 각",
    "😍👍🏽",
    "",
    " \n",
    "ΟΔΟΣ ΣΟΦΟΣ",
    "İstanbul ǅ ß",
    "\x85great\ufeffbad",
    "<pad> <unk> wonderful",
]
CLASSIFY = """async (texts) => {
  const { classify } = await import("/page.js"), all = [];
  for (const text of texts) {
    const { ids, prefixes, tokens, label } = await classify(text);
    all.push({ ids, prefixes, label, words: tokens.map((token) => token.text) });
  }
  return all;
}"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A `node_modules` with what the page needs, and transformers.js, from npm."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm")
    folder = tmp_path_factory.mktemp("npm")
    command = ["npm", "pack", "--silent", *PACKAGES, *TRANSFORMERS]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip(f"npm could not fetch the packages: {done.stderr[-300:]}")
    for path in folder.glob("*.tgz"):
        with tarfile.open(path) as archive:
            name = json.load(archive.extractfile("package/package.json"))["name"]
            for member in archive.getmembers():
                member.name = f"node_modules/{name}/{member.name.partition('/')[2]}"
                if not member.name.endswith(".map"):
                    archive.extract(member, folder, filter="data")
    for name, content in STUBS.items():
        stub = folder / "node_modules" / name
        stub.mkdir()
        (stub / "package.json").write_text('{"type": "module", "main": "index.js"}')
        (stub / "index.js").write_text(content)
    return folder / "node_modules"


@pytest.fixture(scope="module")
def site(packages, tmp_path_factory):
    return export_static(tmp_path_factory.mktemp("static") / "site", vendor=packages)


@pytest.fixture(scope="module")
def serve():
    """Serves folders at addresses of their own."""
    with contextlib.ExitStack() as servers:

        def start(folder):
            handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
            server = servers.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield start


@pytest.fixture(scope="module")
def address(site, serve):
    return serve(site)


def same(folder, run, found, texts):
    """What a browser says of texts is what Python says: the same tokens, and the probabilities after every token."""
    classifier = Classifier.from_pretrained(run)
    graph, two = onnxruntime.InferenceSession(folder / "onnx" / "model_quantized.onnx"), len(classifier.labels) == 2
    for text, one, ids in zip(texts, found, classifier.token_ids(texts), strict=True):
        assert one["ids"] == ids[: classifier.max_length], text
        if count := len(one["ids"]):
            # Every prefix by itself.
            inputs = {"input_ids": np.tile(one["ids"], (count, 1)), "attention_mask": np.tri(count, dtype=np.int64)}
            (logits,) = graph.run(["logits"], inputs)
            expected = probabilities(logits[:, 1] if two else logits)
            np.testing.assert_allclose(one["prefixes"][1:], expected, rtol=0, atol=1e-4)
        encoding = classifier.tokenizer.encode(text)
        for (start, end), word in zip(encoding.offsets, one["words"], strict=True):
            assert text[start:end] in word or word in text[start:end], text


@pytest.mark.slow
def test_a_browser_says_what_python_says(chromium, address, site):
    texts = [*dict.fromkeys(text for case in CASES for text in case), *POSITIVE, *NEGATIVE, *ODD, "great 3d " * 600]
    if REVIEWS.is_file():
        import pyarrow.parquet

        texts += pyarrow.parquet.read_table(REVIEWS, columns=["text"])["text"][::1250].to_pylist()
    else:
        texts += [text for text, _ in make_reviews(20)]
    with opened(chromium, address) as page:
        same(site, None, page.evaluate(CLASSIFY, texts), texts)
        assert page.evaluate(CLASSIFY, ["half \ud83d"])[0]["words"] == ["half", "\ufffd"]


@pytest.mark.slow
def test_labels_of_any_number_in_both_directions(chromium, packages, serve, tmp_path):
    texts = [text for text, _ in make_reviews(3)] + ["Wonderful\ufeff ΣΟΦΟΣ <pad>", ""]
    names = {0: "bad", 1: "so-so", 2: "good"}
    words = train_tokenizer(texts, max_length=8)
    config = SentimentLSTMConfig(
        vocab_size=len(words), embedding_size=4, hidden_size=4, bidirectional=True, id2label=names, pooling="mean"
    )
    run = tmp_path / "run"
    SentimentLSTMForSequenceClassification(config).save_pretrained(run)
    words.save_pretrained(run)
    folder = export_static(tmp_path / "site", model=run, vendor=packages, unsure_below=0.99)
    with opened(chromium, serve(folder), viewport={"width": 390, "height": 844}) as page:
        found = page.evaluate(CLASSIFY, texts)
        same(folder, run, found, texts)
        assert {one["label"] for one in found} <= {f"UNSURE: {name}" for name in names.values()}
        read(page, "word1 " * 12)
        page.locator("#opinion .verdict").get_by_text("UNSURE: ").wait_for()
        assert page.locator("#opinion .scores tr").count() == 3
        assert page.locator("#opinion polyline").count() == 3
        assert page.locator("#opinion .words span").count() == 8
        page.locator("#opinion").get_by_text("It reads the first 8 tokens; 4 more are not read.").wait_for()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_the_page_is_used_by_mouse_and_by_keyboard(chromium, address):
    with opened(chromium, address, viewport={"width": 1280, "height": 900}) as page:
        for name, text in EXAMPLES.items():
            page.get_by_role("button", name=name).click()
            page.wait_for_function("text => document.querySelector('.review')?.innerText === text", arg=text)
        opinion = page.locator("#opinion")
        assert re.fullmatch(r"(POSITIVE|NEGATIVE) \d+\.\d\s%", opinion.locator(".verdict").inner_text())
        assert opinion.get_by_text(re.compile(r"The model knows \d+\s% of the \d+ tokens")).count() == 1
        page.get_by_label("Review", exact=True).fill("Wonderful terrible zzxqy qqxyz xqxq <img src=x onerror=alert(1)>")
        page.keyboard.press("Shift+Enter")
        opinion.get_by_text("it cannot judge this text").wait_for()
        assert opinion.locator("img").count() == 0
        said = ['heading "Explain a review" [level=1]', 'textbox "Review"', 'button "Read the review"', 'img "POSITIVE']
        said += ['img "Probability of POSITIVE', 'columnheader "after the token"']
        assert_named(page, said, "textbox|button|img|link")
        assert opinion.get_attribute("aria-live") == "polite"
        page.keyboard.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        for text, problem in (("", "nothing to read yet"), ("x" * (MAX_CHARACTERS + 1), "up to 20,000 are read here")):
            read(page, text)
            opinion.get_by_role("alert").get_by_text(problem).wait_for()


@pytest.mark.slow
def test_it_is_readable(chromium, address):
    with opened(chromium, address) as page:
        page.add_style_tag(content="* { transition: none !important; }")
        for text in ("", "A wonderful film zzxqy, and a terrible, boring end. " * 120):
            read(page, text)
            page.locator("#opinion[aria-busy=false] :is(.verdict, .problem)").wait_for()
            assert_readable(page)


@pytest.mark.slow
def test_node_classifies_by_the_snippet(site, packages, tmp_path):
    snippet = re.search(r"```js\n(.*?)```", (site / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]
    folder = shutil.copytree(site, tmp_path / "site", ignore=shutil.ignore_patterns("lib"))
    (folder / "node_modules").symlink_to(packages)
    (folder / "snippet.mjs").write_text(snippet)
    done = subprocess.run(["node", "snippet.mjs"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    classifier = OnnxClassifier(site, model="onnx/model_quantized.onnx")
    (scores,) = probabilities(classifier.logits(list(EXAMPLES.values())[:1])).tolist()
    # Printed as JavaScript prints an object.
    found = {name: float(score) for name, score in re.findall(r"(\w+): ([\d.]+)", done.stdout)}
    assert found == pytest.approx(dict(zip(classifier.labels, scores, strict=True)), abs=1e-4)


def test_an_exported_folder(run, tmp_path, capsys):
    from huggingface_hub import SpaceCard

    folder = tmp_path / "site"
    demo.demo(["--model", run, "--export_static", str(folder)])
    assert f"{folder}: try it with `python -m http.server` there" in capsys.readouterr().out
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    model = {"config.json", "tokenizer.json", "tokenizer_config.json", "onnx/model_quantized.onnx"}
    assert names == {"index.html", "page.js", "page.css", "README.md", *model}
    card = SpaceCard.load(folder / "README.md").data
    assert (card.sdk, card.app_file, len(card.short_description) <= 60) == ("static", "index.html", True)
    html = (folder / "index.html").read_text()
    imports = json.loads(re.search(r'<script type="importmap">(.*?)</script>', html, re.DOTALL)[1])
    # In versions that are named, and checked by digests.
    for address in imports["imports"].values():
        assert re.match(r"https://cdn\.jsdelivr\.net/npm/(@huggingface/)?[\w-]+@\d+\.\d+\.\d+/dist/", address)
        assert imports["integrity"][address].startswith("sha256-")
    assert html.count("sha256-") == 3
    assert html.count("data-text=") == len(EXAMPLES)
    assert (folder / "onnx" / "model_quantized.onnx").stat().st_size < 3_000_000


def test_what_cannot_be_exported(run, tmp_path):
    with pytest.raises(FileExistsError, match="not an empty folder"):
        export_static(run, model=run)
    with pytest.raises(ValueError, match=r"unsure_below is 0.2; allowed: above 0.5"):
        export_static(tmp_path / "site", model=run, unsure_below=0.2)
    install = re.escape(f"npm install {' '.join(PACKAGES)}")
    with pytest.raises(FileNotFoundError, match=f"onnxruntime-web/.* is missing; install there: {install}"):
        export_static(tmp_path / "site", model=run, vendor=tmp_path)
    other = tmp_path / "onnxruntime-web" / "dist" / "ort.wasm.bundle.min.mjs"
    other.parent.mkdir(parents=True)
    other.write_text("another version")
    with pytest.raises(ValueError, match=f"is of another version; install there: {install}"):
        export_static(tmp_path / "site", model=run, vendor=tmp_path)
    assert not (tmp_path / "site").exists()
