"""The demo page: a review colored word by word, the curve of the running opinion, and whole files.

Handlers keep nothing between requests and may run side by side; what one request can cost is limited.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import shutil
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data.columns import TEXT_COLUMNS, candidates, find_column
from ..data.readers import FileForm, open_rows
from ..inference.classifier import UNSURE, check_unsure
from ..inference.explain import Explainer
from ..inference.explanation import LEAST_KNOWN, template
from ..inference.files import predict_file
from ..utils.files import user_path
from ..utils.imports import require

if TYPE_CHECKING:
    import gradio as gr

# The longest review of IMDB has 13,704 characters.
MAX_CHARACTERS = 20_000
# Characters that are pasted, and bytes of a file.
MAX_BATCH = 2_000_000
# Loaded models that are kept.
MAX_MODELS = 4
# Labels that are counted by name, and whose scores a result holds.
_LABELS = 10
_FILES = (".csv", ".tsv", ".jsonl", ".txt")
# What explains the label that is the most probable one.
_EXPLAINED = [("the most probable one", "")]

EXAMPLES = {
    "Slow at first": "Slow at first, but worth it in the end.",
    "A change of mind": "I loved the first half: funny, warm and beautifully shot. Then it falls apart, and the ending "
    "is so stupid that I felt cheated.",
    "Not bad": "Not bad at all. I expected a dull sequel and got one of the best films of the year.",
    "A waste of time": "The plot makes no sense, the jokes are painful and the acting is wooden. A complete waste of "
    "two hours.",
    "Faint praise": "It has great actors, a great budget and a great trailer. If only somebody had written a story.",
}


class Models:
    """The models that a page offers and starts with the first of; loaded when first asked for, the last few are kept.

    They are run directories or repositories of the Hub. With `any_model`, others are loaded, too, when they are named.
    """

    def __init__(self, names: Sequence[str], *, any_model: bool = False) -> None:
        self.names, self.any_model = list(dict.fromkeys(names)), any_model
        self._load = lru_cache(MAX_MODELS)(lambda name: Explainer.from_pretrained(name))
        # Many who ask for the same model at once load it once.
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def __call__(self, name: str | None) -> Explainer:
        """Find a model, or load it; a ValueError where the page does not offer it."""
        name = (name or "").strip()
        if not name or not (name in self.names or self.any_model):
            raise ValueError(f"model {name!r} is not offered here; choose one from the list")
        with self._locks[name]:
            return self._load(name)

    def describe(self, name: str | None) -> tuple[str, tuple[str, ...]]:
        """Describe a model in a sentence of HTML, or say what is wrong with it; and name its labels."""
        try:
            classifier = self(name).classifier
        except (OSError, ValueError) as error:
            return problem(error), ()
        ways = "in both directions" if classifier.config.bidirectional else "from left to right"
        said = f"{classifier.parameters:,} parameters, reads up to {classifier.max_length:,} tokens {ways}."
        return f'<p class="hint">{said}</p>', classifier.labels


def read_review(
    models: Models, text: str | None, model: str | None, label: str | None = None, unsure: float | None = None
) -> str:
    """Explain a review as HTML, or say what is wrong; the answer is UNSURE below so many per cent.

    The label explained is the one that :func:`explain` chooses where none is named.
    """
    text = text or ""
    try:
        if not text.strip():
            raise ValueError("there is nothing to read yet: type or paste a review, or take an example")
        if len(text) > MAX_CHARACTERS:
            raise ValueError(
                f"the text has {len(text):,} characters; up to {MAX_CHARACTERS:,} are read here. Shorten it, or take "
                "the other tab for many reviews"
            )
        explainer = models(model)
        below = _bound(unsure, explainer.classifier.labels)
        found = explainer(text, label=label or None)
        if below is not None and found.score < below:
            found = replace(found, label=f"{UNSURE}: {found.label}")
        return found.to_html(page=False)
    except (OSError, ValueError) as error:
        return problem(error)


def _bound(unsure: float | None, labels: Sequence[str]) -> float | None:
    """The probability below which an answer is UNSURE; None where no answer can be."""
    below = (unsure or 0) / 100
    if below * len(labels) <= 1:
        return None
    check_unsure(below, UNSURE, labels)
    return below


def classify_many(
    models: Models,
    file: str | None,
    pasted: str | None,
    column: str | None,
    model: str | None,
    folder: str,
    unsure: float | None = None,
) -> tuple[str, str | None]:
    """Classify an uploaded file, or else what was pasted: a review per line, or cells of a table with a header.

    Returns what the page says, as HTML, and the csv file to download, if there is one: below a new folder in `folder`.
    It has the scores of up to ten labels where there are more than two, or where an answer may be UNSURE.
    """
    with tempfile.TemporaryDirectory() as work:
        source = Path(file or work)
        name = source.name if file else "the pasted text"
        try:
            classifier = models(model).classifier
            labels, below = classifier.labels, _bound(unsure, classifier.labels)
            scores = len(labels) <= _LABELS and (len(labels) > 2 or below is not None)
            if not file:
                source = _write_pasted(pasted or "", Path(work), column)
            if source.suffix.lower() not in _FILES:
                raise ValueError(f"{name}: files of this kind are not read here; allowed: {', '.join(_FILES)}")
            if (size := source.stat().st_size) > MAX_BATCH:
                raise ValueError(
                    f"{name} has {size:,} bytes; up to {MAX_BATCH:,} are read here. hf-lstm-sentiment predict reads "
                    "files of any size"
                )
            result = Path(work, f"{source.stem}-classified.csv")
            options: dict[str, Any] = {"text_column": column or None, "all_scores": scores, "unsure_below": below}
            predict_file(source, result, model=classifier, known_column=True, progress=False, **options)
            said = _result_table(result, column or None, labels, 3 + scores * len(labels))
            kept = Path(folder, secrets.token_hex(16))
            kept.mkdir(parents=True)
            return said, str(shutil.move(result, kept))
        except (OSError, ValueError) as error:
            return problem(str(error).replace(str(source), name)), None


def _write_pasted(pasted: str, folder: Path, column: str | None) -> Path:
    """Pasted text as a file: a table or JSON where it names a column of texts, else a review per line."""
    if not pasted.strip():
        raise ValueError("there is nothing to classify yet: choose a file, or paste reviews")
    lines = re.split("\r\n?|\n", pasted.removeprefix("\ufeff").strip("\r\n"))

    def written(kind: str) -> Path:
        path = folder / f"reviews{kind}"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8", errors="replace", newline="")
        return path

    # The reader finds what separates the cells; a column that is pasted alone may hold commas.
    for kind in (".jsonl", ".tsv"):
        with suppress(ValueError):
            names = open_rows(written(kind), FileForm()).columns
            if column in names or any(candidates(names, "text")):
                return folder / f"reviews{kind}"
    lines = [line for line in lines if line.strip()]
    # Between the words of a text, a space follows these marks.
    cells = {len(re.findall(r"[,;|](?=\S)", line)) for line in lines}
    alike = all("\t" in line for line in lines) or (len(lines) > 1 and len(cells) == 1 and cells != {0})
    # Labels of fastText stand in lines of texts.
    if alike and not lines[0].startswith("__label__"):
        raise ValueError(
            "the pasted cells have several columns, and their first line calls none of them review or text; put a "
            "line of names above them, or paste the reviews alone"
        )
    return written(".txt")


def _result_table(result: Path, column: str | None, labels: Sequence[str], added: int) -> str:
    """How many reviews have which label, and the first ones, as HTML; the last columns, so many, were added."""
    rows = open_rows(result, FileForm(separator=","))
    text_column, answer = find_column(result.name, rows.columns[:-added], column, "text"), rows.columns[-added:][:3]
    found = [[read.row[name] for name in (*answer, text_column)] for read in rows.read()]
    counts = Counter(label for label, *_ in found)
    # The best label first: they are in the order from the worst to the best, if there is one.
    best = len(labels) - 1
    looks = {labels[place]: _look(place / best) for place in range(best, -1, -1)} | {UNSURE: "var(--unsure)"}
    given = [label for label in looks if counts[label]]
    most = {label for label, _ in counts.most_common(_LABELS)}
    return template(Path(__file__).with_name("batch.html")).render(
        rows=found[:20],
        counts=counts,
        looks=looks,
        named=[label for label in given if label in most],
        others=[counts[label] for label in given if label not in most],
        unjudged=sum(float(known) < LEAST_KNOWN for _, _, known, _ in found),
        least_known=LEAST_KNOWN,
        keyed=len({*labels, *given}) > 2,
    )


def _look(place: float) -> str:
    """The color of a label, from 0, the worst, to 1, the best."""
    return f"color-mix(in srgb, var({'--best' if place > 0.5 else '--worst'}) {abs(200 * place - 100):.0f}%, #c9c9cf)"


def problem(error: Exception | str) -> str:
    """Say what is wrong, as HTML that a screen reader reads out."""
    said = " ".join(str(error).split()).replace("--text_column", "the field “Column”")
    if re.search(r"--[a-z]", said):
        said += " (options with two hyphens are those of hf-lstm-sentiment predict)"
    return f'<p class="problem" role="alert">That did not work: {escape(said[:600])}.</p>'


def build(models: Models) -> gr.Blocks:
    """Make the page, which offers these models."""
    require("gradio", extra="demo")
    # Read when Gradio is imported and when the Hub is asked.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    # Or statistics of the last 10,000 requests, which nobody sees, are computed anew after each one.
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(sys.maxsize)
    os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] = "1"
    import gradio as gr

    # Plain HTML, which the style sheets of this package dress.
    html = partial(gr.HTML, apply_default_css=False)
    # Uploads and results are deleted after an hour; every hour, it is looked for them.
    page = gr.Blocks(title="Explain a review", analytics_enabled=False, delete_cache=(3_600, 3_600))
    with page:
        html(
            '<div class="title"><h1>Explain a review</h1><p class="hint">A small LSTM reads a film review from left to '
            "right. Watch its opinion turn, word by word.</p></div>"
        )
        with gr.Tab("One review", id="one"):
            hint = "Type or paste a film review"
            text = gr.Textbox(label="Review", placeholder=hint, lines=4, max_lines=12, elem_id="review")
            with gr.Row():
                read = gr.Button("Read the review", variant="primary", elem_id="read")
            html('<p class="hint">Or one of these:</p>')
            with gr.Row(elem_id="examples"):
                samples = {gr.Button(name, size="sm"): sample for name, sample in EXAMPLES.items()}
            # Shown where there is a choice.
            label = gr.Dropdown(
                _EXPLAINED, value="", label="Label explained", allow_custom_value=True, visible=False, elem_id="label"
            )
            opinion = html(elem_id="opinion")
        with gr.Tab("Many reviews", id="many"):
            html(
                f'<p class="hint">A file ({", ".join(_FILES)}; at most {MAX_BATCH // 1_000_000} MB), or pasted text: a '
                "review per line, or cells of a table with their header. The result has every column, a label, a "
                "score and the share of tokens that the model knows.</p>"
            )
            with gr.Row():
                file = gr.File(label="File of reviews", file_types=list(_FILES), elem_id="file", height=180)
                pasted = gr.Textbox(label="Or paste reviews, one per line", lines=6, max_lines=6, elem_id="pasted")
            which = f"The column of the reviews; needed only where its name is none of {', '.join(TEXT_COLUMNS)}."
            column = gr.Textbox(label="Column", info=which, max_length=200, elem_id="column")
            with gr.Row():
                classify = gr.Button("Classify", variant="primary", elem_id="classify")
                download = gr.DownloadButton("Download the result", interactive=False, elem_id="download")
            many = html(elem_id="many-result")
        with gr.Accordion("Model", open=False):
            # Of a path its last part; repositories of the Hub are called by their whole name.
            named = [(Path(name).name if user_path(name).is_dir() else name, name) for name in models.names]
            which = "A run directory or a repository of the Hub." if models.any_model else "What this page offers."
            typed: dict[str, Any] = {"allow_custom_value": models.any_model}
            model = gr.Dropdown(named, value=models.names[0], label="Model", info=which, elem_id="model", **typed)
            about = html(elem_id="about-model")
            hint = "Where no label is that probable. 0: the most probable label, always."
            unsure = gr.Slider(0, 100, 0, step=1, label=f"Answer {UNSURE} below, %", info=hint, elem_id="unsure")

        # Threads that stay: the C library keeps what was freed for the thread that freed it, so that memory would grow
        # with each of Gradio's threads, which come and go.
        cores = os.cpu_count() or 1
        pool = ThreadPoolExecutor(cores)

        async def show(text: str, model: str, label: str | None = None, unsure: float = 0) -> str:
            what = (models, text, model, label, unsure)
            return await asyncio.get_running_loop().run_in_executor(pool, read_review, *what)

        async def run(file: str | None, pasted: str, column: str, model: str, unsure: float = 0) -> tuple[str, Any]:
            what = (models, file, pasted, column.strip(), model, download.GRADIO_CACHE, unsure)
            said, path = await asyncio.get_running_loop().run_in_executor(pool, classify_many, *what)
            return said, gr.DownloadButton(value=path, interactive=path is not None)

        def describe(model: str) -> tuple[str, Any]:
            said, labels = models.describe(model)
            choices = [*_EXPLAINED, *((name, name) for name in labels)]
            return said, gr.Dropdown(choices, value="", visible=len(labels) > 2)

        # All share one queue: so many at once, and the others wait.
        limits: dict[str, Any] = {"concurrency_id": "model", "concurrency_limit": cores}
        asked = [text, model, label, unsure]
        gr.on([read.click, text.submit, label.input], show, asked, opinion, api_name="read", **limits)
        for button, sample in samples.items():
            shown = button.click(lambda sample=sample: sample, None, text, queue=False, api_visibility="private")
            shown.then(show, asked, opinion, api_visibility="private", **limits)
        classify.click(run, [file, pasted, column, model, unsure], [many, download], api_name="classify", **limits)
        gr.on([model.change, page.load], describe, model, [about, label], api_name="describe", **limits)
        # Screen readers say what appears there.
        spoken = "document.getElementById(id)?.setAttribute('aria-live', 'polite')"
        page.load(None, js=f"() => {{ for (const id of ['opinion', 'many-result', 'about-model']) {spoken}; }}")
    return page
