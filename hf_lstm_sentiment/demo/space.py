"""The demo page as a folder that can be pushed to a Gradio Space of the Hub."""

import os
import re
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import requires, version
from pathlib import Path
from string import Template

from ..utils.files import empty_folder, user_path
from ..utils.imports import require

_APP = '''"""A Gradio Space: a small LSTM explains what it thinks of a review."""

from hf_lstm_sentiment.demo.page import Models, build
from hf_lstm_sentiment.demo.server import launch

if __name__ == "__main__":
    launch(build(Models({models!r})))
'''

_MODEL_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def export_space(folder: str | os.PathLike[str], *, models: Sequence[str | os.PathLike[str]]) -> Path:
    """Write `app.py`, `requirements.txt`, `README.md` with the Space's metadata, this package, and the local models.

    Args:
        folder: A folder that is not there yet, or is empty.
        models: Run directories, which are copied, and repositories of the Hub, which the Space loads from there. The
            page starts with the first one and offers no others.

    Returns:
        The folder.

    Raises:
        FileExistsError, FileNotFoundError: The folder holds something, or a run directory is not there.
        ModuleNotFoundError: Gradio is not installed.
        ValueError: Two runs of one name, or a run that lacks a file.
    """
    require("gradio", extra="demo")
    target = empty_folder(folder)
    names: dict[str, Path | None] = {}
    for model in [os.fspath(model) for model in models]:
        run = user_path(model)
        if not run.is_dir():
            if model.startswith((".", "/", "~")) or model.count("/") != 1:
                raise FileNotFoundError(f"{model} is neither a directory nor a repository of the Hub (USER/NAME)")
            names[model] = None
            continue
        if missing := [name for name in _MODEL_FILES if not (run / name).is_file()]:
            raise ValueError(f"{run} lacks {', '.join(missing)}; pass a finished run, or finish it with --resume")
        name = f"./models/{re.sub(r'[^A-Za-z0-9._-]', '-', run.resolve().name)}"
        if name in names:
            raise ValueError(f"two runs are called {run.name}; rename one, so that the page can tell them apart")
        names[name] = run

    for name, source in names.items():
        if source is not None:
            shutil.copytree(source, target / name, ignore=lambda _, found: {*found} - {*_MODEL_FILES, "README.md"})
    # The models that the page offers are in a folder of their own.
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc", "pretrained")
    shutil.copytree(Path(__file__).parents[1], target / "hf_lstm_sentiment", ignore=ignored)
    (target / "app.py").write_text(_APP.format(models=[*names]), encoding="utf-8")
    (target / "requirements.txt").write_text("".join(f"{line}\n" for line in _requirements()), encoding="utf-8")
    of_hub = [f"- {name}\n" for name, source in names.items() if source is None]
    readme = Template(Path(__file__).with_suffix(".md").read_text(encoding="utf-8")).substitute(
        gradio=version("gradio"),
        python=".".join(map(str, sys.version_info[:2])),
        models="".join(["models:\n", *of_hub]) if of_hub else "",
    )
    (target / "README.md").write_text(readme, encoding="utf-8")
    return target


def _requirements() -> list[str]:
    """List what the page imports, in the versions in which it was tried; the Space brings Gradio itself."""
    core = [line for line in requires("hf_lstm_sentiment") or [] if "extra ==" not in line]
    names = [match.group() for line in core if (match := re.match(r"[A-Za-z0-9._-]+", line))]
    return [f"{name}=={version(name).split('+')[0]}" for name in (*names, "Jinja2")]
