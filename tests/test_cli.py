"""The command `hf-lstm-sentiment`: help, texts from arguments and standard input, configuration files, statuses."""

from __future__ import annotations

import argparse
import inspect
import io
import json
import logging
import os
import shlex
import signal
import subprocess
import sys

import pytest

import hf_lstm_sentiment
from hf_lstm_sentiment import PRESETS, Classifier, load_reviews, teach
from hf_lstm_sentiment.cli import COMMANDS, main
from hf_lstm_sentiment.commands.predict import table
from hf_lstm_sentiment.commands.training import resuming_command
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv

TEXTS = ["a wonderful film", "a terrible, boring film"]


class Parsed(BaseException):
    """Raised in the place of what a command would do."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("cli") / "run"))


@pytest.fixture(autouse=True)
def _handlers_stay(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(logging.getLogger("hf_lstm_sentiment"), "handlers", [])


@pytest.fixture
def feed(monkeypatch):
    """Put bytes into standard input."""
    return lambda content: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def said(capsys, *words, status=0):
    """What a command writes to standard output; to standard error, where the status is not 0."""
    try:
        found = main(words)
    except SystemExit as end:
        found = end.code
    output = capsys.readouterr()
    assert found == status, output.err
    return output.err if status else output.out


def parsed(monkeypatch, *words):
    """The options that a command was given, and its parser."""
    parse = argparse.ArgumentParser.parse_known_args

    def stop(self, args=None, namespace=None):
        raise Parsed(vars(parse(self, args, namespace)[0]), self)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
        with pytest.raises(Parsed) as found:
            main(words)
    return found.value.args


def rows_of(output):
    return [json.loads(line) for line in output.splitlines()]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_screen_and_its_examples_can_be_typed(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    lines = said(capsys, command, "--help").splitlines()
    assert len(lines) <= 50
    assert max(map(len, lines)) <= 120 + 10
    assert "exit status: 0 done; 1 " in lines[-1]
    assert any("--config FILE" in line for line in lines)
    examples = [line.split(command, 1)[1] for line in lines[lines.index("examples:") + 1 : -2]]
    assert len(examples) >= 2
    for example in examples:
        _, parser = parsed(monkeypatch, command, *shlex.split(example))
        assert parser.prog == f"hf-lstm-sentiment {command}"


def test_the_command_lists_its_words_its_version_and_where_asked_all_options(capsys):
    assert all(f"  {name}" in said(capsys, "--help") for name in COMMANDS)
    assert said(capsys, "--version") == f"hf-lstm-sentiment {hf_lstm_sentiment.__version__}\n"
    assert "required: COMMAND" in said(capsys, status=2)
    assert "invalid choice: 'evaluate'" in said(capsys, "evaluate", status=2)
    assert "--weight_decay" not in said(capsys, "train", "--help")
    assert "--weight_decay" in said(capsys, "train", "--help_all")


def test_distill_has_all_arguments_of_teach(monkeypatch):
    given, _ = parsed(monkeypatch, "distill")
    known = {**inspect.signature(load_reviews).parameters, **inspect.signature(teach).parameters}
    for name, parameter in inspect.signature(teach).parameters.items():
        assert name == "sampling" or given[name] == (
            PRESETS["imdb"].dataset if name == "dataset" else parameter.default
        )
    assert given.keys() <= known.keys()


def test_texts_are_answered_in_a_pipe_as_json(run, capsys):
    found = rows_of(said(capsys, "predict", *TEXTS, "--model", run, "--all_scores", "--known"))
    predictions = Classifier.from_pretrained(run)(TEXTS, all_scores=True)
    for row, text, answer in zip(found, TEXTS, predictions, strict=True):
        scores = {f"score_{label}": score for label, score in answer.scores.items()}
        assert row == {"text": text, "label": answer.label, "score": answer.score, "known": answer.known, **scores}
    unsure = rows_of(said(capsys, "predict", *TEXTS, "--model", run, "--unsure_below", "1", "--unsure_label", "?"))
    assert [row["label"] for row in unsure] == ["?", "?"]


@pytest.mark.parametrize("content", ["\ufeffa film\r\n\nÉmouvant 🎬\n", "a film\n\nÉmouvant 🎬"])
def test_standard_input_holds_a_text_a_line(run, capsys, feed, content):
    feed(content.encode())
    found = rows_of(said(capsys, "predict", "-", "--model", run))
    assert [row["text"] for row in found] == ["a film", "", "Émouvant 🎬"]
    feed(b"")
    assert said(capsys, "predict", "-", "--model", run) == ""
    for content in (b"text\tlabel\ngood\t1\n", b'{"text": "good"}\n'):
        feed(content)
        assert "standard input holds a table; write it to a ." in said(capsys, "predict", "-", "--model", run, status=1)


def test_explain_reads_standard_input_takes_a_label_and_writes_files(run, capsys, feed, own_cache, tmp_path):
    feed(b"a wonderful \x1b[2Jfilm\n")
    data = write_csv(tmp_path / "mine.csv", make_reviews(60))
    kinds = {"--picture": "png", "--html": "html", "--json": "json"}
    options = [part for option, kind in kinds.items() for part in (option, str(tmp_path / "new" / f"a.{kind}"))]
    options += ["--model", run, "--label", "NEGATIVE", "--faithfulness", str(data), "--reviews", "10"]
    out = said(capsys, "explain", "-", *options)
    assert out.startswith("POSITIVE ")
    assert out.splitlines()[1] == "attributions to, and probabilities of, NEGATIVE:"
    # Nothing of a text moves the cursor.
    assert [line.split()[0] for line in out.splitlines()[2:5]] == ["a", "wonderful", "\ufffd?"]
    assert "faithfulness, 10 test reviews of" in out
    found = json.loads((tmp_path / "new" / "a.json").read_text())
    assert found["faithfulness"]["texts"] == 10
    assert [word["text"] for word in found["explanation"]["words"]] == ["a", "wonderful", "\x1b", "[", "2", "Jfilm"]
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "<!DOCTYPE html>" in (tmp_path / "new" / "a.html").read_text()


def test_a_terminal_gets_a_table_whose_texts_keep_to_their_line(run, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    header, first, second = said(capsys, "predict", *TEXTS, "--model", run, "--known").splitlines()
    assert header.split() == ["label", "score", "known", "text"]
    assert (first.split()[0], second.split()[0]) == ("POSITIVE", "NEGATIVE")
    assert header.index("text") == first.index("a wonderful") == second.index("a terrible")
    monkeypatch.setenv("COLUMNS", "40")
    row = {"label": "A", "score": 0.5, "score_LONG NAME": 0.25, "text": "\x1b[2J\nred " + "long " * 20}
    header, line = table([row], 3)
    assert header == "label  score  score_LONG NAME  text"
    assert line.startswith("A      0.500            0.250   [2J red ")
    assert line.endswith("…")


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["a film", "--text_column", "text"], 2, "--text_column is for files, and these are texts"),
        (["-", "a film"], 2, "2 texts are given, and one is - for standard input"),
        (["a film", "--batch", "3"], 2, "unrecognized arguments: --batch"),
        (["notes.xlsx"], 2, "1 paths are given; allowed: an INPUT and an OUTPUT"),
        (["a.csv"], 2, "1 paths are given; allowed: an INPUT and an OUTPUT"),
        (["."], 2, "1 paths are given; allowed: an INPUT and an OUTPUT"),
        (["a film", "--model", "./nowhere"], 1, "nowhere"),
        (["a film", "--unsure_below", "0.1"], 1, "unsure_below is 0.1; allowed: above 0.5"),
        (["-"], 1, "standard input is not in UTF-8 (invalid continuation byte); convert it"),
        (["a film", "--num_threads", "0"], 1, "num_threads is 0; allowed: a whole number of at least 1"),
        (["-", "--config", "nowhere.yaml"], 1, "nowhere.yaml"),
        (["-", "--config"], 2, "--config: expected one argument"),
    ],
)
def test_an_error_is_one_line_with_the_status_1_and_a_wrong_command_line_has_2(
    words, status, problem, run, capsys, feed
):
    feed("un film émouvant".encode("latin-1"))
    error = said(capsys, "predict", "--model", run, *words, status=status)
    assert problem in error
    assert status == 2 or (error.startswith("error: ") and error.count("\n") == 1)


@pytest.mark.parametrize(
    ("given", "spins"), [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, None)]
)
def test_threads_that_wait_leave_the_core_to_others_unless_the_environment_says_otherwise(given, spins):
    program = (
        "import atexit, os, sys\nfrom hf_lstm_sentiment.cli import main\nassert 'torch' not in sys.modules\n"
        "atexit.register(lambda: print(os.environ.get('GOMP_SPINCOUNT')))\nmain(['--version'])"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")} | given
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout.split()[-1] == str(spins), done.stderr


def test_ctrl_c_has_the_status_130(run, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "stream", interrupted)
    assert said(capsys, "predict", "a film", "--model", run, status=130) == "stopped\n"


def test_a_configuration_file_gives_options_and_what_is_typed_wins(tmp_path, monkeypatch):
    config = tmp_path / "run.yaml"
    config.write_text("presets: [v1, v2_glove]\nseeds:\n- 1\n- 2\noutput_dir: out\nglove:\nnum_threads: 1\n")
    given, _ = parsed(monkeypatch, "compare", "--config", str(config), "--num_threads", "2")
    assert (given["presets"], given["seeds"], given["output_dir"]) == (["v1", "v2_glove"], [1, 2], "out")
    assert (given["glove"], given["num_threads"]) == (None, 2)
    config.write_text("preset: imdb\nlearning_rate: 1e-3\nresume: true\nbf16: false\nreport_to: none\n")
    given, _ = parsed(monkeypatch, "train", f"--config={config}", "--preset", "v1")
    expected = {"preset": "v1", "learning_rate": 1e-3, "resume": True, "bf16": False, "report_to": "none"}
    assert {name: given[name] for name in expected} == expected
    assert "weight_decay" not in given
    config.write_text("all_scores: true\nbf16: false\nunsure_below: 0.75\n")
    given, _ = parsed(monkeypatch, "predict", "-", "--config", str(config))
    expected = {"all_scores": True, "dtype": "float32", "unsure_below": 0.75, "paths": ["-"]}
    assert {name: given[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("content", "status", "problem"),
    [
        ("lerning_rate: 1", 2, "lerning_rate is no option; --help lists all"),
        ("config: other.yaml", 2, "config is no option"),
        ("all_scores: 3", 2, "all_scores is 3; allowed: true, false"),
        ("model: [a, b]", 1, "['a', 'b']: no such file or directory"),
        ("batch_size: {a: 1}", 2, "argument --batch_size/--batch-size: invalid int value: \"{'a': 1}\""),
        ("- a\n- b", 1, "holds ['a', 'b']; allowed: names of options and their values"),
        ("a: [", 1, "is no YAML file"),
    ],
)
def test_a_configuration_file_that_is_wrong_is_refused(content, status, problem, tmp_path, capsys):
    (tmp_path / "run.yaml").write_text(content)
    assert problem in said(capsys, "predict", "-", "--config", str(tmp_path / "run.yaml"), status=status)


MODULE = "/lib/hf_lstm_sentiment/__main__.py"


@pytest.mark.parametrize(
    ("program", "environment", "secret", "expected"),
    [
        ("/venv/bin/hf-lstm-sentiment", {}, [], "hf-lstm-sentiment"),
        (MODULE, {}, [], "python -m hf_lstm_sentiment"),
        (MODULE, {"ACCELERATE_MIXED_PRECISION": "no"}, [], "accelerate launch -m hf_lstm_sentiment"),
        (MODULE, {"WORLD_SIZE": "2"}, [], "torchrun --nproc_per_node 2 -m hf_lstm_sentiment"),
        ("train.py", {}, ["--hub_token", "hf_secret"], "python train.py"),
        ("train.py", {}, ["--hub_token=hf_secret"], "python train.py"),
        ("train.py", {}, ["--hub-token", "hf_secret"], "python train.py"),
    ],
)
def test_the_command_that_resumes_is_the_one_that_was_typed_without_the_token(
    program, environment, secret, expected, monkeypatch
):
    for name in ("WORLD_SIZE", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [program, "train", "--preset", "a b", *secret, "--resume", "--push_to_hub"])
    assert resuming_command() == f"{expected} train --preset 'a b' --push_to_hub --resume"


@pytest.mark.slow
def test_a_pipe_that_is_closed_early_is_no_error(run):
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "hf_lstm_sentiment", "predict", "-", "--model", run]
    done = subprocess.run(command, input=b"a film\n" * 9, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.slow
def test_accelerate_launches_the_module(tmp_path):
    data = write_csv(tmp_path / "a.csv", [(text, label) for text, label in zip(TEXTS, "ab", strict=True)])
    command = [sys.executable, "-m", "accelerate.commands.launch", "-m", "hf_lstm_sentiment", "train"]
    done = subprocess.run(
        [*command, "--preset", "v1", "--dataset", data, "--learning_speed", "1"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "error: learning_speed is no option" in done.stderr


def test_an_extra_that_is_missing_is_said_in_one_line(monkeypatch, capsys):
    # What a command calls imports what only an extra brings.
    monkeypatch.setitem(sys.modules, "hf_lstm_sentiment.training.train", None)
    error = said(capsys, "train", status=1)
    assert error.startswith("error: ")
    assert error.count("\n") == 1
