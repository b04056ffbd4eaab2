from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from hf_lstm_sentiment import SentimentLSTMConfig, SentimentLSTMForSequenceClassification, load_reviews, predict
from hf_lstm_sentiment.inference import onnx
from hf_lstm_sentiment.inference.onnx import export_onnx, make_graph
from hf_lstm_sentiment.inference.onnx_classify import OnnxClassifier
from hf_lstm_sentiment.model.loading import Network
from hf_lstm_sentiment.utils import imports as extras
from tests.hub_clients import run_script
from tests.reviews import make_reviews, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["a wonderful film", "", "boring and dull word1", "great " * 400, "<pad> <unk> wonderful <pad>", "naïve 🎬 x"]

# Run where neither torch nor transformers nor this package can be imported.
WITHOUT_TORCH = """
import importlib.abc, runpy, sys


class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformers", "hf_lstm_sentiment"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, Absent())
for name in ("torch", "transformers", "hf_lstm_sentiment"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{name} can be imported, so this would show nothing")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def small_model(**config):
    torch.manual_seed(0)
    config = SentimentLSTMConfig(vocab_size=50, embedding_size=6, hidden_size=8, **config)
    return SentimentLSTMForSequenceClassification(config).eval()


def graph_of(model):
    inner = model.sentiment_lstm
    return make_graph(Network(model.config, inner.word_embeddings, inner.lstm, model.classifier))


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported") / "onnx"
    return directory, export_onnx(trained, output_dir=directory)


@pytest.mark.parametrize(
    ("pooling", "bidirectional", "layers"), list(itertools.product(["last", "max", "mean"], [False, True], [1, 2]))
)
def test_the_graph_computes_what_the_model_does(pooling, bidirectional, layers):
    model = small_model(pooling=pooling, bidirectional=bidirectional, num_hidden_layers=layers)
    session = onnxruntime.InferenceSession(graph_of(model).SerializeToString())
    for batch_size, length in ((1, 1), (3, 0), (1, 0), (2, 7), (5, 64), (4, 300)):
        ids = torch.randint(50, (batch_size, length))
        # Padding anywhere, and reviews without words.
        mask = (torch.rand(batch_size, length) > 0.4).long()
        mask[1:2] = 0
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).logits.numpy()
        (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
        np.testing.assert_allclose(logits, expected, atol=2e-6, rtol=0)
        assert batch_size == 1 or length == 0 or len(np.unique(logits)) > 2


def test_a_model_that_reads_its_padding_is_not_exported():
    with pytest.raises(ValueError, match="naive_padding is on: this model demonstrates a mistake"):
        graph_of(small_model(naive_padding=True))


def test_what_an_export_holds(exported, trained):
    directory, export = exported
    names = {"model.onnx", "model_int8.onnx", "tokenizer.json", "classify.py", "export.json"}
    assert {path.name for path in directory.iterdir()} == names
    assert export.bytes == {
        "model.safetensors": (trained / "model.safetensors").stat().st_size,
        **{name: (directory / name).stat().st_size for name in ("model.onnx", "model_int8.onnx")},
    }
    assert 0 < export.largest_difference["model.onnx"] < 1e-5
    # Eight bits are fewer than 32, and enough.
    assert export.largest_difference["model.onnx"] < export.largest_difference["model_int8.onnx"] < 0.5
    report = json.loads((directory / "export.json").read_text())
    assert report == {
        "bytes": export.bytes,
        "largest_difference": export.largest_difference,
        "shapes": [list(shape) for shape in onnx.SHAPES],
    }
    operators = [node.op_type for node in onnx_load(directory / "model_int8.onnx").graph.node]
    assert "DynamicQuantizeLSTM" in operators
    assert "LSTM" not in operators


def onnx_load(path):
    import onnx

    return onnx.load(path)


def test_texts_get_the_answers_of_the_package(exported, trained):
    expected = predict(TEXTS, model=trained)
    answers = OnnxClassifier(exported[0], model="model.onnx")(TEXTS)
    assert [label for label, _ in answers] == [label for label, _ in expected]
    assert [score for _, score in answers] == pytest.approx([score for _, score in expected], abs=1e-6)
    assert len({round(score, 4) for _, score in answers}) > 3
    alone = [OnnxClassifier(exported[0], model="model.onnx")([text])[0][1] for text in TEXTS]
    assert alone == pytest.approx([score for _, score in answers], abs=1e-6)
    assert OnnxClassifier(exported[0])([]) == []
    in_pairs = OnnxClassifier(exported[0], model="model.onnx")(TEXTS, batch_size=2)
    assert [score for _, score in in_pairs] == pytest.approx([score for _, score in answers], abs=1e-6)
    with pytest.raises(TypeError, match="texts is one string; pass a list of strings"):
        OnnxClassifier(exported[0])("a wonderful film")


def test_a_process_without_torch_classifies(exported, trained, tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_TORCH, str(exported[0] / "classify.py"), *TEXTS[:3]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expected = predict(TEXTS[:3], model=trained)
    rows = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [(label, text.strip()) for label, _, text in rows] == [
        (label, text) for (label, _), text in zip(expected, TEXTS, strict=False)
    ]
    # In eight bits.
    assert [float(score) for _, score, _ in rows] == pytest.approx([score for _, score in expected], abs=0.05)


def test_what_is_lost_is_measured_on_the_reviews_that_were_named(trained, tmp_path):
    reviews = write_csv(tmp_path / "reviews.csv", make_reviews(120, seed=5))
    export = export_onnx(trained, output_dir=tmp_path / "onnx", reviews=reviews, max_reviews=20)
    test = load_reviews(reviews, max_test_samples=20).test
    expected = [label for label, _ in predict(list(test["text"]), model=trained)]
    right = [(label == "POSITIVE") == bool(truth) for label, truth in zip(expected, test["label"], strict=True)]
    assert export.reviews == f"20 test reviews of {reviews}"
    assert export.accuracy["torch"] == export.accuracy["model.onnx"] == sum(right) / 20
    assert export.changed_answers["model.onnx"] == 0
    int8 = [label for label, _ in OnnxClassifier(tmp_path / "onnx")(list(test["text"]))]
    assert export.changed_answers["model_int8.onnx"] == sum(a != b for a, b in zip(int8, expected, strict=True)) / 20
    difference = export.mean_probability_difference
    assert difference["model.onnx"] < 1e-6 < difference["model_int8.onnx"] < 0.05
    assert json.loads((tmp_path / "onnx" / "export.json").read_text())["accuracy"] == export.accuracy


def test_a_graph_that_computes_something_else_is_refused(trained, tmp_path, monkeypatch):
    def other_graph(network):
        network.head.bias.data += 0.01
        graph = make_graph(network)
        network.head.bias.data -= 0.01
        return graph

    monkeypatch.setattr(onnx, "make_graph", other_graph)
    with pytest.raises(RuntimeError, match=r"model.onnx differs from the model by 1.0e-02 in a logit"):
        export_onnx(trained, output_dir=tmp_path / "onnx")


def test_what_is_no_checkpoint_of_this_package(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no model; pass a run directory"):
        export_onnx(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is of type 'bert'; this package classifies with its own"):
        export_onnx(tmp_path)


def test_the_missing_extra_is_named(trained, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hf_lstm_sentiment\[onnx\]"'):
        export_onnx(trained)


def test_the_script(run):
    done = run_script("export_onnx.py", run, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert (run / "onnx" / "model_int8.onnx").is_file()
    assert f"model.onnx         {(run / 'onnx' / 'model.onnx').stat().st_size:>12,} bytes" in done.stdout
    assert done.stderr == ""


def test_the_script_answers_a_mistake_in_one_line():
    done = run_script("export_onnx.py", Path("nowhere"), env=os.environ)
    assert done.returncode == 1
    assert done.stderr == "error: nowhere holds no model; pass a run directory, such as runs/v2_glove-seed42\n"
