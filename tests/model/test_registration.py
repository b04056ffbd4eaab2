"""What the Auto factories do in a process that has imported the package and nothing else of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from hf_lstm_sentiment import pretrained
from hf_lstm_sentiment.model.loading import ShippedConfig, read_config
from hf_lstm_sentiment.model.pretrained_models import held
from tests.demo_model import save_model

TEXTS = ["a wonderful film", "a terrible film", ""]
SLOW_TO_IMPORT = ["transformers.modeling_utils", "torch._dynamo", "datasets", "evaluate", "matplotlib", "sklearn"]
# Each in a process of its own.
SCRIPTS = {
    "alone": """
from hf_lstm_sentiment.cli import main
status = main(["predict", *texts])
shipped = sorted(sys.modules)
from hf_lstm_sentiment import predict
answer = status, shipped, [p.label for p in predict(texts, model=run)]
""",
    "pipeline": """
import hf_lstm_sentiment
from transformers import pipeline
answer = [p["label"] for p in pipeline("text-classification", model=run, tokenizer=run)(texts)]
""",
    "auto": """
import hf_lstm_sentiment
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification
autos, config = (AutoModel, AutoModelForSequenceClassification), AutoConfig.from_pretrained(run)
models = [auto.from_config(config) for auto in autos] + [auto.from_pretrained(run) for auto in autos]
models += [AutoModel.from_pretrained(run, trust_remote_code=True)]
assert {type(model).__module__ for model in models} == {"hf_lstm_sentiment.model.modeling_sentiment_lstm"}
answer = [type(model).__name__ for model in models]
assert [auto._model_mapping[type(config)].__name__ for auto in autos] == answer[:2]
""",
}
MODELS = ["SentimentLSTMModel", "SentimentLSTMForSequenceClassification"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each script answers in a process of its own, and what it has imported."""
    checkpoint = save_model(tmp_path_factory.mktemp("model") / "run")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    found = {}
    for name, script in SCRIPTS.items():
        names = f"import json, sys\nrun, texts = {str(checkpoint)!r}, {TEXTS!r}\n"
        source = f"{names}{script}\nprint(json.dumps([answer, sorted(sys.modules)]))"
        done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found[name] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_every_way_gives_the_same_answers(answers):
    assert answers["pipeline"][0] == answers["alone"][0][2]
    assert answers["auto"][0] == [*MODELS, *MODELS, MODELS[0]]


def test_classifying_imports_no_model_class_and_with_the_shipped_model_no_transformers(answers):
    (status, shipped, _), modules = answers["alone"]
    assert status == 0
    assert "hf_lstm_sentiment.inference.classifier" in shipped
    assert not {*SLOW_TO_IMPORT, "transformers", "huggingface_hub", "filelock", "yaml"} & set(shipped)
    assert "hf_lstm_sentiment.model.packed_lstm" in modules
    assert not set(SLOW_TO_IMPORT) & set(modules)


@pytest.mark.parametrize("name", held())
def test_the_configuration_of_a_shipped_model_is_that_which_transformers_reads(name):
    light = ShippedConfig.read(pretrained(name))
    whole = read_config(pretrained(name), None)
    used = {"bidirectional", "embedding_size", "hidden_size", "id2label", "label_names", "naive_padding", "num_logits"}
    used |= {"num_hidden_layers", "pad_token_id", "pooling", "vocab_size"}
    assert used <= vars(light).keys()
    assert {key: value for key, value in vars(light).items() if getattr(whole, key, value) != value} == {
        "dtype": light.dtype
    }
