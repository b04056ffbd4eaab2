"""Checkpoints that are damaged, hostile or no checkpoints."""

from __future__ import annotations

import json
import pickle
import shutil

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hf_lstm_sentiment import Classifier
from tests.demo_model import save_model
from tests.mutations import mutated
from tests.reviews import FOREIGN, refused

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def remove(name):
    return lambda run: (run / name).unlink()


def write(name, content):
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def cut(name, part):
    return lambda run: (run / name).write_bytes((run / name).read_bytes()[: int((run / name).stat().st_size * part)])


def change(name, **fields):
    def spoil(run):
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, **fields}))

    return spoil


def weights(edit):
    def spoil(run):
        tensors = load_file(run / "model.safetensors")
        edit(tensors)
        save_file(tensors, run / "model.safetensors", metadata={"format": "pt"})

    return spoil


def pickled(run):
    """The old format in the place of the new one."""
    torch.save(load_file(run / WEIGHTS), run / "pytorch_model.bin")
    (run / WEIGHTS).unlink()


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the checkpoint was run')",))


def words(vocabulary):
    return change(TOKENIZER, model={"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"})


TABLE = "sentiment_lstm.word_embeddings.weight"
MISFIT = "weights that its config.json describes"
CONFIG, TOKENIZER, SETTINGS, WEIGHTS = "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"
DESCRIPTIONS = [CONFIG, TOKENIZER, SETTINGS]
CHECKPOINTS = {
    "no config": (remove(CONFIG), "config.json"),
    "a config that is a list": (write(CONFIG, "[]"), "config.json"),
    **{f"{name} nested deep": (write(name, "[" * 100_000), f"{name} is damaged") for name in DESCRIPTIONS},
    "another type": (change(CONFIG, model_type="bert"), "classifies with its own"),
    "vocab_size 0": (change(CONFIG, vocab_size=0), "vocab_size is 0; allowed"),
    "vocab_size a text": (change(CONFIG, vocab_size="42"), "'vocab_size' expected int, got str .value: '42'"),
    "vocab_size 1e12": (change(CONFIG, vocab_size=10**12), MISFIT),
    "a million layers": (change(CONFIG, num_hidden_layers=10**6), MISFIT),
    "two layers for one": (change(CONFIG, num_hidden_layers=2), MISFIT),
    "pooling unknown": (change(CONFIG, pooling="attention"), "expected one of .'last', 'max', 'mean'.*attention"),
    "dropout NaN": (change(CONFIG, classifier_dropout=float("nan")), "classifier_dropout is nan; allowed"),
    "three labels": (change(CONFIG, id2label={"0": "a", "1": "b", "2": "c"}, label2id=None), MISFIT),
    "labels that are a list": (change(CONFIG, id2label=["a", "b"]), "id2label"),
    "label2id that is none": (change(CONFIG, id2label=None, label2id=True), "label2id True; allowed: objects"),
    "labels of no numbers": (change(CONFIG, id2label={"a": "a", "b": "b"}), "id2label"),
    "two labels of one name": (change(CONFIG, id2label={"0": "same", "1": "same"}), "id2label"),
    "another problem": (change(CONFIG, problem_type="regression"), "problem_type"),
    "code of the checkpoint": (change(CONFIG, model_type="x", auto_map={"AutoConfig": "evil.C"}), "is of type .x."),
    "no weights": (remove(WEIGHTS), "model.safetensors"),
    "empty weights": (write(WEIGHTS, b""), "is damaged"),
    "a header of 2**60 bytes": (write(WEIGHTS, b"\x00" * 7 + b"\x10" + b"{}"), "is damaged"),
    "weights cut at 99 %": (cut(WEIGHTS, 0.99), "is damaged"),
    "weights that are a pickle": (write(WEIGHTS, pickle.dumps(Payload())), "is damaged"),
    "pickled weights": (pickled, "model.safetensors"),
    "a pickle beside": (write("pytorch_model.bin", pickle.dumps(Payload())), None),
    "a table missing": (weights(lambda t: t.pop(TABLE)), MISFIT),
    "a tensor too many": (weights(lambda t: t.update(x=torch.ones(1))), MISFIT),
    "a table of whole numbers": (weights(lambda t: t.update({TABLE: t[TABLE].long()})), "int64"),
    "NaN in the weights": (weights(lambda t: t[TABLE].fill_(float("nan"))), "not finite"),
    "no tokenizer": (remove(TOKENIZER), "tokenizer.json"),
    "a tokenizer that is a pickle": (write(TOKENIZER, pickle.dumps(Payload())), "tokenizer.json is damaged"),
    "a tokenizer that panics": (
        change(TOKENIZER, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "tokenizer.json is damaged .*precompiled_charsmap",
    ),
    "a tokenizer without its unknown word": (words({"good": 0}), "tokenizer.json is damaged .*WordLevel error"),
    "an id beyond the table": (
        words({"<unk>": 1, "good": 2**31}),
        "ids up to 2147483648 and the model's embedding table",
    ),
    "a template of an id beyond the table": (
        change(TOKENIZER, post_processor={"type": "BertProcessing", "sep": ["a", 2**32 - 1], "cls": ["b", 9]}),
        "ids up to 4294967295 and the model's embedding table",
    ),
    "an unknown token with its matching": (change(SETTINGS, unk_token={"content": "<unk>", "lstrip": False}), None),
    "an unknown token that is a number": (change(SETTINGS, unk_token=3), "unk_token is 3; allowed"),
    "an unknown token of nothing": (change(SETTINGS, unk_token={"content": [1]}), "unk_token is .1.; a"),
    "no tokenizer_config": (remove(SETTINGS), SETTINGS),
    "length 0": (change(SETTINGS, model_max_length=0), "model_max_length"),
    "length NaN": (change(SETTINGS, model_max_length=float("nan")), "model_max_length"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name, run):
    spoil, message = CHECKPOINTS[name]
    spoil(run)
    if message is None:
        assert len(Classifier.from_pretrained(run)(["good"])) == 1
    else:
        refused(lambda: Classifier.from_pretrained(run), message)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", [CONFIG, pytest.param(TOKENIZER, marks=pytest.mark.slow), SETTINGS])
def test_any_change_of_a_description(name, data, whole, run):
    changed = mutated(json.loads((whole / name).read_text()), lambda values: data.draw(st.sampled_from(values)))
    (run / name).write_text(json.dumps(changed))
    try:
        classifier = Classifier.from_pretrained(run)
    except (ValueError, OSError) as error:
        said = str(error)
        # transformers tells which types a field may have, by Python's names of them.
        said = said.replace("NoneType", "None") if "(Field '" in said else said
        assert not FOREIGN.search(said), said
        assert 20 < len(said) < 1_500, said
    else:
        assert all(0.5 <= score <= 1 for _, score in classifier(["a good film", "", "b \u00e9\U0001f600"]))


def test_what_is_no_checkpoint(run, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    for path in (run / CONFIG, run / WEIGHTS, tmp_path / "empty", tmp_path / "nothing"):
        message = "no such file|config.json|is a file; pass a run directory"
        refused(lambda path=path: Classifier.from_pretrained(path), message)
    # A file with a name as on the Hub.
    monkeypatch.chdir(run)
    refused(lambda: Classifier.from_pretrained(CONFIG), "model config.json is a file; pass a run directory")
