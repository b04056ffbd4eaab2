"""The handler of Inference Endpoints, called as the service calls it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.hub import handler as packaged
from hf_lstm_sentiment.hub.push import publishable_files
from tests.hub_clients import push, received
from tests.reviews import make_reviews

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [text for text, _ in make_reviews(40)]
SERVED = {"handler.py", "onnx/model.onnx", "onnx/model_quantized.onnx", "onnx/tokenizer.json"}
# It imports the file of the repository by its path, makes the class with the folder, and passes decoded JSON.
SERVICE = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("handler", "handler.py")
sys.modules["handler"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
handler = module.EndpointHandler(path=".")
assert "hf_lstm_sentiment" not in sys.modules
print(json.dumps([handler(request) for request in json.loads(sys.argv[1])]))
"""


@pytest.fixture(scope="module")
def handler(trained):
    spec = importlib.util.spec_from_file_location("handler", packaged.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(path=str(trained))


def test_answers(handler, trained):
    expected = Classifier.from_pretrained(trained)(TEXTS)
    answers = handler({"inputs": TEXTS})
    assert [answer["label"] for answer in answers] == [prediction.label for prediction in expected]
    assert [answer["score"] for answer in answers] == pytest.approx([p.score for p in expected], abs=1e-6)
    assert handler({"inputs": []}) == []
    assert len(handler({"inputs": ""})) == 1
    (both,) = handler({"inputs": TEXTS[0], "parameters": {"top_k": None}})
    assert both[0] == {"label": answers[0]["label"], "score": pytest.approx(expected[0].score)}
    assert {answer["label"] for answer in both} == {"NEGATIVE", "POSITIVE"}
    assert sum(answer["score"] for answer in both) == pytest.approx(1)
    assert handler({"inputs": TEXTS[0], "parameters": None}) == both[:1]


def test_long_texts_are_cut_unless_told_otherwise(handler):
    long = f"{'word1 ' * 3_000}wonderful wonderful wonderful"
    (cut,) = handler({"inputs": long, "parameters": {"function_to_apply": "none"}})
    assert cut == handler({"inputs": f"{long} awful" * 3, "parameters": {"function_to_apply": "none"}})[0]
    assert cut != handler({"inputs": long, "parameters": {"function_to_apply": "none", "truncation": False}})[0]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"text": "good"}, '"inputs" is None; allowed: a text or a list'),
        (["good"], "the request is .'good'.; allowed: an object"),
        ({"inputs": "good", "parameters": [1]}, "allowed: an object with .* as one"),
        ({"inputs": ["good", 7]}, '"inputs" holds 7 at place 1; allowed: texts'),
        ({"inputs": "good \ud83d"}, r'"inputs" holds .good .ud83d. at place 0; allowed: texts of whole characters'),
        ({"inputs": "good", "parameters": {"temperature": 1}}, "temperature is 1; allowed: no parameter but top_k,"),
        ({"inputs": "good", "parameters": {"top_k": True}}, "top_k is True; allowed: a whole number of at least 1"),
        ({"inputs": "good", "parameters": {"truncation": "yes"}}, "truncation is 'yes'; allowed: true or false"),
        ({"inputs": "good", "parameters": {"function_to_apply": []}}, "allowed: softmax, sigmoid, none"),
    ],
)
def test_what_is_wrong_with_a_request_is_said(handler, request_, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[")):
        handler(request_)


def test_a_push_for_serving_adds_what_serves(hub, run):
    first = push(run, "user/served", for_serving=True)
    published = received(hub, "user/served")
    assert published.keys() == publishable_files(run).keys() | SERVED
    # The export is the same again.
    assert push(run, "user/served", for_serving=True) == first
    push(run, "user/served", tag="plain")
    # An export of other weights would be wrong; the handler is right for all.
    assert received(hub, "user/served").keys() == publishable_files(run).keys() | {"handler.py"}
    assert not (run / "onnx").exists()


@pytest.mark.slow
def test_a_published_repository_is_served_without_the_package(trained, tmp_path):
    import onnxruntime

    from hf_lstm_sentiment.inference.onnx_classify import OnnxClassifier

    for name, path in publishable_files(trained, export_to=tmp_path / "export").items():
        (tmp_path / "repository" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repository" / name).write_bytes(path.read_bytes())
    requests = [{"inputs": TEXTS}, {"inputs": TEXTS[0], "parameters": {"top_k": 2}}]
    command = [sys.executable, "-I", "-c", SERVICE, json.dumps(requests)]
    done = subprocess.run(command, cwd=tmp_path / "repository", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    many, ((best, _),) = json.loads(done.stdout)
    expected = Classifier.from_pretrained(trained)(TEXTS)
    assert [(a["label"], pytest.approx(a["score"], abs=1e-6)) for a in many] == expected
    assert best == many[0]
    assert onnxruntime.InferenceSession(tmp_path / "repository" / "onnx" / "model_quantized.onnx")
    for name in ("model.onnx", "model_quantized.onnx"):
        answers = OnnxClassifier(tmp_path / "repository" / "onnx", model=name)(TEXTS)
        assert [answer[0] for answer in answers] == [prediction.label for prediction in expected]
