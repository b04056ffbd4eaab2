"""Run by CI with an installed wheel, away from the source and without any extra: the package classifies."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path

from transformers import AutoModelForSequenceClassification, pipeline

import hf_lstm_sentiment as package
from hf_lstm_sentiment.cli import COMMANDS, main
from hf_lstm_sentiment.model.pretrained_models import held

for extra in ("datasets", "evaluate", "matplotlib", "sklearn", "accelerate", "pandas"):
    assert importlib.util.find_spec(extra) is None, f"{extra} is installed; the core must do without"

assert Path(package.__file__).is_relative_to(sys.prefix), package.__file__
assert files("hf_lstm_sentiment").joinpath("py.typed").is_file()
for room in ("utils", "model", "data", "inference", "evaluation", "hub", "training", "demo", "commands"):
    assert importlib.util.find_spec(f"hf_lstm_sentiment.{room}").origin, f"{room} is not in the wheel"
pages = ("hub/model_card.md", "inference/explanation.html", "inference/explanation.css", "evaluation/report.html")
for name in (*pages, "evaluation/comparison.html", "evaluation/page.css", "demo/demo.css", "demo/space.md"):
    assert files("hf_lstm_sentiment").joinpath(name).is_file(), name

explanation = package.explain("a good film")
assert "good</span>" in explanation.to_html_fragment()

for call in (lambda: package.train("v1"), lambda: package.load_reviews("stanfordnlp/imdb")):
    said = ""
    try:
        call()
    except ModuleNotFoundError as error:
        said = str(error)
    assert 'pip install "hf_lstm_sentiment[train]"' in said

# What comes with the package comes whole, and answers.
for shipped in held():
    folder = Path(package.pretrained(shipped))
    assert (folder / "README.md").is_file(), folder
    assert any((folder / "plots").iterdir()), folder
    (prediction,) = package.predict(["A wonderful film, funny and moving."], model=folder)
    (answer,) = pipeline("text-classification", model=str(folder))(["A wonderful film, funny and moving."])
    assert prediction.label == answer["label"] == "POSITIVE", shipped
    assert AutoModelForSequenceClassification.from_pretrained(folder).config.num_labels == 2


def typed(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("hf-lstm-sentiment")), *words]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


# The console command, of which every word gives its help.
assert typed("--version").stdout == f"hf-lstm-sentiment {package.__version__}\n"
for word in ([], *([command] for command in COMMANDS)):
    with redirect_stdout(io.StringIO()) as help_of:
        try:
            status = main([*word, "--help"])
        except SystemExit as end:
            status = end.code
    assert status == 0, word
    assert "exit status: 0 done" in help_of.getvalue(), word
answered = typed("predict", "-", given="A wonderful film, funny and moving.\n")
assert json.loads(answered.stdout)["label"] == "POSITIVE", answered.stderr
refused = typed("train", "--preset", "v1")
assert refused.returncode == 1, refused
assert refused.stderr.splitlines()[-1].startswith("error: "), refused
assert 'pip install "hf_lstm_sentiment[train]"' in refused.stderr, refused

sys.stdout.write(f"smoke test passed: hf_lstm_sentiment {package.__version__}\n")
