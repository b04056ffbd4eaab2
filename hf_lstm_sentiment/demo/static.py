"""The demo page as a folder of plain files: the browser computes, so that any web server will do."""

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path
from string import Template
from typing import Any

from ..inference.classifier import UNSURE, Classifier, check_unsure
from ..inference.explanation import LEAST_KNOWN, css, template
from ..inference.onnx_graph import make_graph
from ..utils.files import empty_folder, user_path, write_json
from ..utils.imports import require
from .page import EXAMPLES, MAX_CHARACTERS

PACKAGES = ("onnxruntime-web@1.30.0", "@huggingface/tokenizers@0.2.0")
"""Packages of npm that the page needs."""
_CDN = "https://cdn.jsdelivr.net/npm/"


def export_static(
    directory: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] = "reviews",
    vendor: str | os.PathLike[str] | None = None,
    unsure_below: float | None = None,
) -> Path:
    """Write the demo page as a folder of plain files, which is a static Space of the Hub, too.

    It holds `index.html`, `page.js`, `page.css`, `README.md` with the Space's metadata, and the model as
    transformers.js loads it: `onnx/model_quantized.onnx` (weights in 8 bits, computed with in float32), `config.json`
    and a tokenizer. The page shows the label, and the probabilities after every token; it has no attributions.

    Args:
        directory: A folder that is not there yet, or is empty.
        model: As for `Classifier.from_pretrained`, and so are the errors; a `naive_padding` model is refused.
        vendor: The `node_modules` in which :data:`PACKAGES` are installed: their files are copied to `lib/`, and the
            page needs nothing from elsewhere. Where None, a browser takes the same files, in the same versions and
            checked by their digests, from cdn.jsdelivr.net.
        unsure_below: Probability below which the label is UNSURE, as for `predict`.

    Returns:
        The folder.

    Raises:
        FileExistsError, FileNotFoundError: The folder holds something, or `vendor` lacks a file.
        ModuleNotFoundError: onnx or onnxruntime is not installed.
        ValueError: A file of `vendor` is of another version, or `unsure_below` is out of range.
    """
    require("onnx", extra="onnx")
    target = empty_folder(directory)
    classifier = Classifier.from_pretrained(model)
    check_unsure(unsure_below, UNSURE, classifier.labels)
    graph = make_graph(classifier.network, int8_weights=True).SerializeToString()
    here, token = Path(__file__), classifier.tokenizer.id_to_token
    style, readme = (here.with_suffix(kind).read_text(encoding="utf-8") for kind in (".css", ".md"))
    page = template(here.with_suffix(".html")).render(
        limits=[LEAST_KNOWN, unsure_below or 0, MAX_CHARACTERS],
        about=f"{classifier.parameters:,} parameters; reads up to {classifier.max_length:,} tokens.",
        examples=EXAMPLES,
    )
    copies = {} if vendor is None else _checked(page, user_path(vendor))
    for address, path in copies.items():
        page = page.replace(address, f"./lib/{path.name}")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": classifier.max_length,
        "unk_token": token(classifier.unk_token_id or 0),
        "pad_token": token(classifier.config.pad_token_id or 0),
        "clean_up_tokenization_spaces": False,
    }
    on_hub = f"models:\n- {model}\n" if not user_path(model).exists() and str(model).count("/") == 1 else ""
    libraries = f"Its libraries, {' and '.join(PACKAGES)}, {'lie in `lib/`' if copies else f'come from {_CDN}'}."
    readme = Template(readme).substitute(models=on_hub, libraries=libraries)

    (target / "onnx").mkdir(parents=True)
    (target / "onnx" / "model_quantized.onnx").write_bytes(graph)
    classifier.config.to_json_file(target / "config.json", use_diff=False)
    write_json(_tokenizer(classifier), target / "tokenizer.json")
    write_json(settings, target / "tokenizer_config.json")
    for path in copies.values():
        (target / "lib").mkdir(exist_ok=True)
        shutil.copyfile(path, target / "lib" / path.name)
    shutil.copyfile(here.with_suffix(".js"), target / "page.js")
    for name, content in {"index.html": page, "page.css": css() + style, "README.md": readme}.items():
        (target / name).write_text(content, encoding="utf-8")
    return target


def _checked(html: str, modules: Path) -> dict[str, Path]:
    """Find the files whose addresses and digests the page has, in the versions that are known to work."""
    install, found = f"install there: npm install {' '.join(PACKAGES)}", {}
    for name, digest in re.findall(rf'{_CDN}([^"]+)"[^"]+"sha256-([^"]+)"', html):
        found[_CDN + name] = path = modules / re.sub(r"@[\d.]+/", "/", name)
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing; {install}")
        if base64.b64encode(hashlib.sha256(path.read_bytes()).digest()).decode() != digest:
            raise ValueError(f"{path} is of another version; {install}")
    return found


def _tokenizer(classifier: Classifier) -> dict[str, Any]:
    """The tokenizer, so that JavaScript's gives the same tokens as this package."""
    content: dict[str, Any] = json.loads(classifier.tokenizer.to_str())
    # A review that says "<pad>" means the word.
    content["added_tokens"] = []
    normalizer = content["normalizer"]
    steps = normalizer["normalizers"] if normalizer["type"] == "Sequence" else [normalizer]
    # JavaScript writes a sigma at the end of a word in another way than in the middle.
    sigma = {"type": "Replace", "pattern": {"String": "\u03a3"}, "content": "\u03c3"}
    steps = [one for step in steps for one in ([sigma, step] if step["type"] == "Lowercase" else [step])]
    content["normalizer"] = {"type": "Sequence", "normalizers": steps}
    if content["pre_tokenizer"]["type"] == "WhitespaceSplit":
        # JavaScript's white space is not that of Unicode; of a pattern the library makes Unicode's.
        pattern = {"pattern": {"Regex": r"\S+"}, "behavior": "Removed", "invert": True}
        content["pre_tokenizer"] = {"type": "Split", **pattern}
    return content
