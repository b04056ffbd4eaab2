from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from hf_lstm_sentiment import Classifier, SentimentLSTMConfig, load_reviews, predict
from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.inference import onnx_graph
from hf_lstm_sentiment.inference.onnx import export_onnx, summary
from hf_lstm_sentiment.inference.onnx_classify import OnnxClassifier
from hf_lstm_sentiment.inference.onnx_graph import make_graph, onnx_bytes
from hf_lstm_sentiment.model.loading import Network
from hf_lstm_sentiment.model.packed_lstm import PackedLSTM
from hf_lstm_sentiment.utils import imports as extras
from tests.reviews import make_reviews, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ["a wonderful film", "", "boring and dull word1", "great " * 400, "<pad> <unk> wonderful <pad>", "naïve 🎬 x"]

# Run where neither torch nor transformers nor this package can be imported.
WITHOUT_TORCH = """
import runpy, sys

for name in ("torch", "transformers", "hf_lstm_sentiment"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
sys.stdout.reconfigure(encoding="ascii")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def small_network(labels=2, **config):
    torch.manual_seed(0)
    names = None if labels == 2 else {index: f"label {index}" for index in range(labels)}
    config = SentimentLSTMConfig(vocab_size=50, embedding_size=6, hidden_size=8, id2label=names, **config)
    head = torch.nn.Linear(16 if config.bidirectional else 8, 1 if labels == 2 else labels)
    return Network(config, torch.nn.Embedding(50, 6), PackedLSTM.from_config(config), head).eval()


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("exported")
    return directory, export_onnx(trained, output_dir=directory)


@pytest.mark.parametrize("labels", [2, 5])
@pytest.mark.parametrize(("bidirectional", "layers"), [(False, 1), (True, 2)])
@pytest.mark.parametrize("pooling", ["last", "max", "mean"])
def test_the_graph_computes_what_the_model_does(pooling, bidirectional, layers, labels):
    network = small_network(labels, pooling=pooling, bidirectional=bidirectional, num_hidden_layers=layers)
    session = onnxruntime.InferenceSession(onnx_bytes(network))
    facts = session.get_modelmeta().custom_metadata_map
    assert (facts["pooling"], facts["directions"]) == (pooling, "2" if bidirectional else "1")
    for batch_size, length in ((1, 1), (3, 0), (1, 0), (0, 3), (0, 0), (2, 7), (5, 64), (4, 300)):
        ids = torch.randint(50, (batch_size, length))
        # Padding anywhere, and reviews without words; any value but 0 is a real token.
        mask = 3 * (torch.rand(batch_size, length) > 0.4).long()
        mask[1:2] = 0
        with torch.no_grad():
            expected = network(ids, mask != 0).numpy()
        inputs = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        logits, states, weight, bias = session.run(["logits", "states", "weight", "bias"], inputs)
        assert logits.shape == (batch_size, labels)
        if labels == 2:
            assert not logits[:, 0].any()
            logits = logits[:, 1]
        np.testing.assert_allclose(logits, expected, atol=2e-6, rtol=0)
        assert batch_size < 2 or length == 0 or len(np.unique(logits)) > 1
        assert states.shape == (length + 1, max(batch_size, 1), 16 if bidirectional else 8)
        # Where a state knows nothing of later tokens, a browser makes of them what the text so far would get.
        count = int((mask[:1] != 0).sum())
        if count and not bidirectional:
            read = states[:count, 0]
            pooled = {"last": read[-1], "max": read.max(axis=0), "mean": read.mean(axis=0)}[pooling]
            np.testing.assert_allclose((pooled @ weight.T + bias).squeeze(), expected[0], atol=2e-6, rtol=0)


def test_weights_of_eight_bits_are_computed_with_in_float32():
    network = small_network(bidirectional=True, num_hidden_layers=2)
    proto = make_graph(network, int8_weights=True)
    assert len([one for one in proto.graph.initializer if one.data_type == 3]) == 5  # word vectors, 2 x 2 layers
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("embedding") or "weight_" in name:
                scale = weight.abs().amax(dim=-1, keepdim=True) / 127
                weight.copy_((weight / scale).round() * scale)
        ids, mask = torch.randint(50, (5, 64)), torch.ones(5, 64, dtype=torch.int64)
        expected = network(ids, mask != 0).numpy()
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (logits,) = session.run(["logits"], {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    np.testing.assert_allclose(logits[:, 1], expected, atol=2e-6, rtol=0)


def test_what_an_export_holds(exported, trained):
    directory, export = exported
    folder = directory / "onnx"
    names = {"model.onnx", "model_quantized.onnx", "tokenizer.json", "classify.py", "export.json"}
    assert {path.name for path in folder.iterdir()} == names
    # Beside it, what transformers.js reads.
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (directory / name).read_bytes() == (trained / name).read_bytes()
    paths = (trained / "model.safetensors", folder / "model.onnx", folder / "model_quantized.onnx")
    assert export["bytes"] == {path.name: path.stat().st_size for path in paths}
    assert json.loads((folder / "export.json").read_text()) == export
    # Eight bits are fewer than 32, and enough.
    exact, quantized = export["largest_difference"].values()
    assert 0 < exact < 1e-5
    assert exact < quantized < 0.5
    graph = onnx.load(folder / "model_quantized.onnx").graph
    (node,) = [node for node in graph.node if node.op_type == "DynamicQuantizeLSTM"]
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    # A scale for each gate of each unit. Products of an unsigned and a signed byte must fit into 16 bits with a sign.
    assert held[node.input[8]].shape == (1, 4 * 16)
    for name in node.input[1:3]:
        assert held[name].dtype == np.int8
        assert 2 * 255 * np.abs(held[name].astype(int)).max() < 2**15


def test_texts_get_the_answers_of_the_package(exported, trained):
    classifier = OnnxClassifier(exported[0] / "onnx", model="model.onnx")
    expected = predict(TEXTS, model=trained)
    answers = classifier(TEXTS)
    assert [label for label, _ in answers] == [label for label, _ in expected]
    assert [score for _, score in answers] == pytest.approx([score for _, score in expected], abs=1e-6)
    assert len({round(score, 4) for _, score in answers}) > 3
    np.testing.assert_allclose(classifier.logits(TEXTS), Classifier.from_pretrained(trained).logits(TEXTS), atol=1e-5)
    alone = [classifier([text])[0] for text in TEXTS]
    assert [score for _, score in alone] == pytest.approx([score for _, score in answers], abs=1e-6)
    assert classifier([]) == []
    with pytest.raises(TypeError, match="texts is one string; pass a list of strings"):
        classifier("a wonderful film")
    with pytest.raises(TypeError, match=r"text 1 is None \(NoneType\); every text must be a string"):
        classifier(["a wonderful film", None])
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        classifier(["a film \ud83d"])


def test_a_process_without_torch_classifies(exported, trained, tmp_path):
    command = [sys.executable, "-I", "-c", WITHOUT_TORCH, str(exported[0] / "onnx" / "classify.py"), *TEXTS[:3]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for line, text, (label, score) in zip(
        done.stdout.splitlines(), TEXTS[:3], predict(TEXTS[:3], model=trained), strict=True
    ):
        said, number, shown = line.split(" ", 2)
        # In eight bits.
        assert (said, float(number), shown.strip()) == (label, pytest.approx(score, abs=0.05), text)


def test_what_is_lost_is_measured_on_the_reviews_that_were_named(trained, tmp_path):
    reviews = write_csv(tmp_path / "reviews.csv", make_reviews(120, seed=5))
    export = export_onnx(trained, output_dir=tmp_path / "out", reviews=reviews, max_reviews=20)
    test = load_reviews(reviews, max_test_samples=20).test
    expected = [label for label, _ in predict(test["text"], model=trained)]
    int8 = [label for label, _ in OnnxClassifier(tmp_path / "out" / "onnx")(test["text"][:])]
    right = sum((label == "POSITIVE") == truth for label, truth in zip(expected, test["label"], strict=True)) / 20
    changed = sum(a != b for a, b in zip(int8, expected, strict=True)) / 20
    assert export["reviews"] == f"20 test reviews of {reviews}"
    assert export["accuracy"]["torch"] == export["accuracy"]["model.onnx"] == right
    assert export["changed_answers"] == {"model.onnx": 0, "model_quantized.onnx": changed}
    assert f"20 test reviews of {reviews}: torch {right:.2%}" in summary(export)


def test_a_graph_that_computes_something_else_is_refused(trained, tmp_path, monkeypatch):
    def other_graph(network):
        network.head.bias.data += 0.01
        graph = make_graph(network)
        network.head.bias.data -= 0.01
        return graph

    monkeypatch.setattr(onnx_graph, "make_graph", other_graph)
    with pytest.raises(RuntimeError, match=r"model.onnx differs from the model by 1.0e-02 in a logit"):
        export_onnx(trained, output_dir=tmp_path)


def test_what_cannot_be_exported(trained, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="naive_padding is on: this model demonstrates a mistake"):
        onnx_bytes(small_network(naive_padding=True))
    with pytest.raises(FileNotFoundError, match="holds no model; pass a run directory"):
        export_onnx(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="is of type 'bert'; this package classifies with its own"):
        export_onnx(tmp_path)
    with pytest.raises(ValueError, match="reviews comes with the package, which stays as it is; name a directory"):
        export_onnx("reviews")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "hf_lstm_sentiment\[onnx\]"'):
        export_onnx(trained)


def test_the_command(run, capsys):
    assert main(["export", str(run)]) == 0
    said = capsys.readouterr()
    assert f"model.onnx           {(run / 'onnx' / 'model.onnx').stat().st_size:>12,} bytes" in said.out
    assert said.err == ""
