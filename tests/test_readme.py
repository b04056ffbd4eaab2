"""What README.md and the pages in model_cards say can be typed: links lead somewhere, snippets and commands run."""

from __future__ import annotations

import argparse
import contextlib
import glob
import importlib.util
import io
import pydoc
import re
import runpy
import shlex
import shutil
import signal
import sys
import tomllib
from functools import cache
from pathlib import Path

import datasets
import pytest

import hf_lstm_sentiment
from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.training import presets
from tests.reviews import TINY, make_reviews, write_csv

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *sorted(f"model_cards/{page.name}" for page in ROOT.glob("model_cards/*.md"))]
LINKED = [*PAGES, *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("model_cards/*/**/*.md"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LAUNCHERS = ["python", "accelerate launch", "torchrun --nproc_per_node 2"]
LAUNCHERS += ["accelerate launch --config_file scripts/two_cpu_processes.yaml"]
# Of other programs.
COMMANDS = ["python3 -m venv .venv", ". .venv/bin/activate", "mkdir -p benchmark", "hf auth login"]
COMMANDS += ["cp -r runs/teachers runs/ngram_teacher", "pip-audit -r scripts/constraints.txt"]
COMMANDS += [f"bash scripts/gpu_check.sh{option}" for option in ("", " --dry_run")]
# Scripts that are not called as the word of the console command, and words whose commands are short.
SCRIPTS = {"distill": "teach.py", "push": "push_to_hub.py", "export": "export_onnx.py"}
WORDS = {"predict", "explain", "export", "report"}
# Short enough to be run as they stand; `measure.py --generalise` and a page that is served are not.
CHEAP = {"predict.py", "explain.py", "export_onnx.py", "classify.py", "report.py", "measure.py"}
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^ *```$(?:\n\nprints\n\n```\n(.*?)```)?", re.DOTALL | re.MULTILINE)


@cache
def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def inline(page):
    """The texts between back quotes."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", _FENCE.sub("", read(page)))]


def blocks(page, language):
    """Each block of that language, and what the page says that it prints."""
    return [
        (re.sub(f"^{indent}", "", code, flags=re.MULTILINE), printed)
        for indent, name, code, printed in _FENCE.findall(read(page))
        if name == language
    ]


def commands(page):
    """Every command of the page's shell blocks and the scripts' command lines in its text, as lists of words."""
    lines = "\n".join(code for code, _ in blocks(page, "bash")).replace("\\\n", " ").splitlines()
    lines += [code for code in inline(page) if re.match(r"(python|accelerate|torchrun)\b.*\.py\b|scripts/\S+ -", code)]
    lines += [code for code in inline(page) if re.match(r"(python -m|pip|pip-audit|hf-lstm-sentiment) ", code)]
    for line in lines:
        words = shlex.split(line, comments=True)
        while words:
            end = next((place for place, word in enumerate(words) if word in ("&&", "|")), len(words))
            yield words[:end]
            words = words[end + 1 :]


def anchors(page):
    """What GitHub calls the headings."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", read(page), flags=re.DOTALL), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


class Parser(BaseException):
    """Raised in the place of parsing: nothing after it is run."""


def run(path, arguments, monkeypatch):
    """Run a script in this process, and leave handlers of signals as they were."""
    monkeypatch.setattr(sys, "argv", [str(path), *arguments])
    monkeypatch.syspath_prepend(path.parent)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@cache
def parser(script):
    """The script's own parser of arguments."""

    def stop(self, *_, **__):
        raise Parser(self)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        with pytest.raises(Parser) as raised:
            run(ROOT / "scripts" / script, [], monkeypatch)
    return raised.value.args[0]


def started(words):
    """What of ours a command starts, a script or the console command, with its arguments; None for other programs."""
    is_ours = [word.endswith(".py") or re.fullmatch("hf.lstm.sentiment", word) for word in words]
    if words[0] in ("pip", "pip-audit", "cp") or not any(is_ours):
        return None
    place = next(i for i, ours in enumerate(is_ours) if ours)
    assert " ".join(words[:place]).removesuffix(" -m") in ("", *LAUNCHERS), words
    return words[place], words[place + 1 :]


def check_command(words):
    """Programs, scripts, options, presets, extras and files exist."""
    if (found := started(words)) is not None:
        program, arguments = found
        if {"--help", "--help_all", "--version"} & set(arguments):
            return
        if not program.endswith(".py"):
            program, arguments = f"scripts/{SCRIPTS.get(arguments[0], f'{arguments[0]}.py')}", arguments[1:]
        if not program.startswith("scripts/"):
            assert Path(program).name in ("classify.py", "app.py"), program
            return
        known, unknown = parser(Path(program).name).parse_known_args(arguments)
        named = {*(getattr(known, "presets", None) or []), getattr(known, "preset", None)} - {None}
        assert not unknown, unknown
        assert named <= set(presets.PRESETS), named
    elif words[:2] == ["pip", "install"]:
        assert {word for word in words if word.startswith("-")} <= {"-c", "-e"}, words
        for extras in re.findall(r"\[([\w,]+)\]", words[-1]):
            assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"]), extras
    elif words[:3] == ["python", "-m", "pytest"]:
        assert words[3:] in ([], ["-m", "slow"], ["-m", "not slow"], ["-m", "slow or not slow"]), words
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]) is not None, words
    else:
        assert words[0] == "echo" or " ".join(words) in COMMANDS, words


@pytest.mark.parametrize("page", LINKED)
def test_links_and_pictures_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", read(page))):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), target


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) <= 250


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    for words in commands(page):
        check_command(words)


@pytest.mark.parametrize("page", PAGES)
def test_what_is_named_in_the_text_exists(page):
    scripts = [path for path in ROOT.glob("scripts/*.py") if "__main__" in path.read_text()]
    options = {name for path in scripts for name in parser(path.name)._option_string_actions}
    for code in inline(page):
        for word in code.split():
            if re.match(r"(tests|scripts|model_cards|hf_lstm_sentiment)/", word):
                assert (ROOT / word).exists() or "/PRESET/" in word, word
            if re.fullmatch(r"hf_lstm_sentiment(\.\w+)+", word):
                assert pydoc.locate(word) is not None, word
        assert not code.startswith("--") or code.split()[0] in options, code


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A folder in which what the pages name is there: runs, reviews, a data set and a repository."""
    folder = tmp_path_factory.mktemp("furnished")
    stars = [(text, (1, 2, 4, 5)[2 * label + i % 2]) for i, (text, label) in enumerate(make_reviews(100))]
    write_csv(folder / "reviews.csv", [*stars, ("so so", 3)], header=("body", "stars"))
    for i, name in enumerate(("first", "second")):
        write_csv(folder / "reviews" / f"{name}.csv", make_reviews(20, seed=i))
        write_csv(folder / "stanfordnlp" / "imdb" / f"{('train', 'test')[i]}.csv", make_reviews(200, seed=10 + i))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        options = {"num_threads": 1, "num_train_epochs": 2, "disable_tqdm": True}
        hf_lstm_sentiment.train(TINY, output_dir="runs/quickstart-seed42", **options)
    for name in ("runs/v2_glove-seed42", "runs/reviews-seed42", "runs/a", "runs/b", "USER/NAME"):
        shutil.copytree(folder / "runs" / "quickstart-seed42", folder / name)
    return folder


@pytest.fixture
def workplace(furnished, tmp_path, monkeypatch):
    """A copy of it, to be worked in; the preset of the quick start trains as little as a test can."""
    folder = shutil.copytree(furnished, tmp_path / "workplace")
    monkeypatch.chdir(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    for module in (hf_lstm_sentiment, presets):
        monkeypatch.setattr(module, "PRESETS", {**presets.PRESETS, "quickstart": TINY})
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if "```python" in read(page)])
def test_snippets_run_and_print_what_is_written(page, workplace, monkeypatch):
    if any("onnx" in code for code, _ in blocks(page, "python")):
        pytest.importorskip("onnxruntime")
        run(ROOT / "scripts" / "export_onnx.py", ["runs/v2_glove-seed42"], monkeypatch)
    assert sum(bool(stated) for _, stated in blocks(page, "python")) == read(page).count("\nprints\n")
    names: dict[str, object] = {}
    for code, stated in blocks(page, "python"):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        assert not stated or printed.getvalue() == stated, code


def test_the_quick_start_ends_as_the_readme_shows(workplace):
    result = hf_lstm_sentiment.train(TINY, output_dir="runs/quickstart-seed43", num_threads=1, num_train_epochs=1)
    ((sample, _),) = blocks("README.md", "")
    shown, said = ([re.split(r"\d", line)[0] for line in text.splitlines()] for text in (sample, result.summary()))
    # This small model has neither word vectors nor parts that were held out, and its labels may be others.
    assert {line for line in shown if not re.match("quick|  word v|  note|  [A-Z]", line)} <= set(said)


@pytest.mark.parametrize("page", PAGES)
def test_cheap_commands_run(page, workplace, monkeypatch):
    for words in commands(page):
        program, arguments = started(words) or ("", [])
        name, given = Path(program).name, set(arguments)
        # What reads standard input, names a placeholder, gives help or takes several processes is only parsed.
        if {"-", "RUN", "--help", "--config", "--generalise"} & given or words[0] == "torchrun":
            continue
        files = [match for word in arguments for match in (sorted(glob.glob(word)) or [word])]
        if not program.endswith(".py") and arguments and arguments[0] in WORDS:
            assert main(files) == 0, words
        elif name in CHEAP or (program.endswith(".py") and {"--dry_run", "--export_space", "reviews.csv"} & given):
            run(ROOT / program if program.startswith("scripts/") else workplace / program, files, monkeypatch)
            made = [word for word in arguments if word.startswith(("scored.", "runs/"))]
            assert all((workplace / word).exists() for word in made), words
