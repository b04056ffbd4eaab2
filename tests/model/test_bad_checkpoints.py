"""Checkpoints that are damaged, hostile or no checkpoints, and arguments that make no sense."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from dataclasses import replace

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from hf_lstm_sentiment import (
    PRESETS,
    Classifier,
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
    load_reviews,
    predict,
    predict_file,
    predict_files,
    train,
    train_tokenizer,
)
from hf_lstm_sentiment.evaluation.report import write_report
from hf_lstm_sentiment.hub.push import push_run
from tests.mutations import mutated
from tests.reviews import make_reviews, write_csv
from tests.test_bad_input import FOREIGN, refused

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = [text for text, _ in make_reviews(20)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "run"
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, vocab_size=40, max_length=12)
    config = SentimentLSTMConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=5)
    SentimentLSTMForSequenceClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


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
    """The old format in the place of the new one, with a payload."""
    torch.save(load_file(run / "model.safetensors"), run / "pytorch_model.bin")
    (run / "model.safetensors").unlink()


class Payload:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the checkpoint was run')",))


def grow_vocabulary(run):
    content = json.loads((run / "tokenizer.json").read_text())
    content["model"]["vocab"].update({f"more{i}": 1000 + i for i in range(50)})
    (run / "tokenizer.json").write_text(json.dumps(content))


TABLE = "sentiment_lstm.word_embeddings.weight"
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"
CHECKPOINTS = {
    "no config": (remove(CONFIG), "config.json"),
    "an empty config": (write(CONFIG, ""), "config.json"),
    "a config of random bytes": (write(CONFIG, b"\xff\xfe\x00\x01" * 9), "config.json"),
    "a config cut short": (cut(CONFIG, 0.5), "config.json"),
    "a config that is a list": (write(CONFIG, "[]"), "config.json"),
    "a config nested deep": (write(CONFIG, "[" * 100_000), "config.json is damaged"),
    "a tokenizer_config nested deep": (
        write("tokenizer_config.json", "[" * 100_000),
        "tokenizer_config.json is damaged",
    ),
    "a tokenizer nested deep": (write(TOKENIZER, "[" * 100_000), "tokenizer.json is damaged"),
    "a config that is null": (write(CONFIG, "null"), "config.json"),
    "a config without a type": (write(CONFIG, "{}"), "of type None"),
    "another type": (change(CONFIG, model_type="bert"), "classifies with its own"),
    "an unknown type": (change(CONFIG, model_type="no_such_model"), "is of type .no_such_model."),
    "a type that is a path": (change(CONFIG, model_type="../../etc"), "is of type"),
    "vocab_size 0": (change(CONFIG, vocab_size=0), "vocab_size is 0; allowed"),
    "vocab_size -1": (change(CONFIG, vocab_size=-1), "vocab_size is -1; allowed"),
    "vocab_size a text": (change(CONFIG, vocab_size="42"), "vocab_size is '42'; allowed: int"),
    "vocab_size a list": (change(CONFIG, vocab_size=[42]), "vocab_size"),
    "vocab_size null": (change(CONFIG, vocab_size=None), "vocab_size is None; allowed: int"),
    "vocab_size 1e12": (change(CONFIG, vocab_size=10**12), "weights that its config.json describes"),
    "hidden_size 2**40": (change(CONFIG, hidden_size=2**40), "weights that its config.json describes"),
    "a million layers": (change(CONFIG, num_hidden_layers=10**6), "weights that its config.json describes"),
    "hidden_size wrong": (change(CONFIG, hidden_size=7), "weights that its config.json describes"),
    "two layers for one": (change(CONFIG, num_hidden_layers=2), "weights that its config.json describes"),
    "two directions for one": (change(CONFIG, bidirectional=True), "weights that its config.json describes"),
    "pooling unknown": (change(CONFIG, pooling="attention"), r"pooling is 'attention'; allowed: Literal\['last'"),
    "dropout 1": (change(CONFIG, embedding_dropout=1), "embedding_dropout is 1; allowed"),
    "dropout NaN": (change(CONFIG, classifier_dropout=float("nan")), "classifier_dropout is nan; allowed"),
    "initializer_range 0": (change(CONFIG, initializer_range=0), "initializer_range is 0; allowed"),
    "padding outside": (change(CONFIG, pad_token_id=10**6), "pad_token_id is 1000000; allowed"),
    "padding below 0": (change(CONFIG, pad_token_id=-1), "pad_token_id is -1; allowed"),
    "three labels": (change(CONFIG, id2label={"0": "a", "1": "b", "2": "c"}, label2id=None), "has 3 labels"),
    "labels that are a list": (change(CONFIG, id2label=["a", "b"]), "id2label"),
    "labels that are numbers": (change(CONFIG, id2label={"0": 0, "1": 1}), "id2label"),
    "labels of other keys": (change(CONFIG, id2label={"5": "a", "6": "b"}), "id2label"),
    "labels of no numbers": (change(CONFIG, id2label={"a": "a", "b": "b"}), "id2label"),
    "two labels of one name": (change(CONFIG, id2label={"0": "same", "1": "same"}), "id2label"),
    "another problem": (change(CONFIG, problem_type="regression"), "problem_type"),
    "code of the checkpoint": (
        change(CONFIG, model_type="other", auto_map={"AutoConfig": "evil.Config"}),
        "is of type .other.",
    ),
    "no weights": (remove(WEIGHTS), "model.safetensors"),
    "empty weights": (write(WEIGHTS, b""), "is damaged"),
    "weights of random bytes": (write(WEIGHTS, b"\x01\x02\x03" * 99), "is damaged"),
    "a header of 2**60 bytes": (write(WEIGHTS, b"\x00" * 7 + b"\x10" + b"{}"), "is damaged"),
    "weights cut at 99 %": (cut(WEIGHTS, 0.99), "is damaged"),
    "weights cut at half": (cut(WEIGHTS, 0.5), "is damaged"),
    "weights cut in the header": (cut(WEIGHTS, 0.05), "is damaged"),
    "weights that are HTML": (write(WEIGHTS, "<html>not found</html>"), "is damaged"),
    "weights that are a pickle": (write(WEIGHTS, pickle.dumps(Payload())), "is damaged"),
    "pickled weights": (pickled, "model.safetensors"),
    "a pickle beside": (write("pytorch_model.bin", pickle.dumps(Payload())), None),
    "training_args beside": (write("training_args.bin", pickle.dumps(Payload())), None),
    "no tensors": (weights(dict.clear), "weights that its config.json describes"),
    "a table missing": (weights(lambda t: t.pop(TABLE)), "weights that its config.json describes"),
    "a tensor too many": (weights(lambda t: t.update(x=torch.ones(1))), "weights that its config.json describes"),
    "a table too small": (
        weights(lambda t: t.update({TABLE: t[TABLE][:5].clone()})),
        "weights that its config.json describes",
    ),
    "a table of another width": (
        weights(lambda t: t.update({TABLE: t[TABLE][:, :3].clone()})),
        "weights that its config.json describes",
    ),
    "a table of whole numbers": (weights(lambda t: t.update({TABLE: t[TABLE].long()})), "int64"),
    "NaN in the weights": (weights(lambda t: t[TABLE].fill_(float("nan"))), "not finite"),
    "infinite weights": (weights(lambda t: t["classifier.weight"].fill_(float("inf"))), "not finite"),
    "no tokenizer": (remove(TOKENIZER), "tokenizer.json"),
    "an empty tokenizer": (write(TOKENIZER, ""), "tokenizer.json is damaged"),
    "a tokenizer that is {}": (write(TOKENIZER, "{}"), "tokenizer.json is damaged"),
    "a tokenizer that is a pickle": (write(TOKENIZER, pickle.dumps(Payload())), "tokenizer.json is damaged"),
    "a tokenizer cut short": (cut(TOKENIZER, 0.7), "tokenizer.json is damaged"),
    "a larger vocabulary": (grow_vocabulary, "embedding table"),
    "a tokenizer that panics": (
        change(TOKENIZER, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}),
        "tokenizer.json is damaged .*precompiled_charsmap",
    ),
    "a tokenizer without its unknown word": (
        change(TOKENIZER, model={"type": "WordLevel", "vocab": {"good": 0}, "unk_token": "<unk>"}),
        "tokenizer.json is damaged .*WordLevel error",
    ),
    "an id beyond the table": (
        change(TOKENIZER, model={"type": "WordLevel", "vocab": {"<unk>": 1, "good": 2**31}, "unk_token": "<unk>"}),
        "ids up to 2147483648 and the model's embedding table",
    ),
    "a template of an id beyond the table": (
        change(TOKENIZER, post_processor={"type": "BertProcessing", "sep": ["a", 2**32 - 1], "cls": ["b", 9]}),
        "ids up to 4294967295 and the model's embedding table",
    ),
    "an unknown token with its matching": (
        change("tokenizer_config.json", unk_token={"__type": "AddedToken", "content": "<unk>", "lstrip": False}),
        None,
    ),
    "an unknown token that is a number": (change("tokenizer_config.json", unk_token=3), "unk_token is 3; allowed"),
    "an unknown token of nothing": (change("tokenizer_config.json", unk_token={"content": [1]}), "unk_token is .1.; a"),
    "no tokenizer_config": (remove("tokenizer_config.json"), "tokenizer_config.json"),
    "an empty tokenizer_config": (write("tokenizer_config.json", ""), "tokenizer_config.json"),
    "a tokenizer_config that is a list": (write("tokenizer_config.json", "[]"), "tokenizer_config.json"),
    "length 0": (change("tokenizer_config.json", model_max_length=0), "model_max_length"),
    "length -1": (change("tokenizer_config.json", model_max_length=-1), "model_max_length"),
    "length a text": (change("tokenizer_config.json", model_max_length="many"), "model_max_length"),
    "length NaN": (change("tokenizer_config.json", model_max_length=float("nan")), "model_max_length"),
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
@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, "tokenizer_config.json"])
def test_any_change_of_a_description(name, data, whole, run):
    changed = mutated(json.loads((whole / name).read_text()), lambda values: data.draw(st.sampled_from(values)))
    (run / name).write_text(json.dumps(changed))
    try:
        classifier = Classifier.from_pretrained(run)
    except (ValueError, OSError) as error:
        said = str(error)
        assert not FOREIGN.search(said), said
        assert 20 < len(said) < 1_500, said
    else:
        assert all(0.5 <= score <= 1 for _, score in classifier(["a good film", "", "b \u00e9\U0001f600"]))


@pytest.mark.parametrize("name", ["a file", "an empty directory", "nothing", "a file of weights"])
def test_what_is_no_checkpoint(name, run, tmp_path):
    (tmp_path / "empty").mkdir()
    path = {
        "a file": run / CONFIG,
        "an empty directory": tmp_path / "empty",
        "nothing": tmp_path / "nothing",
        "a file of weights": run / WEIGHTS,
    }[name]
    refused(lambda: Classifier.from_pretrained(path), "no such directory|config.json|is a file; pass a run directory")


def test_a_file_with_a_name_as_on_the_hub(tmp_path, monkeypatch):
    (tmp_path / "reviews.csv").touch()
    monkeypatch.chdir(tmp_path)
    refused(lambda: Classifier.from_pretrained("reviews.csv"), "model reviews.csv is a file; pass a run directory")


TINY = replace(PRESETS["v1"], name="tiny", embedding_size=4, hidden_size=4, vocab_words=20, epochs=1)
ARGUMENTS = {
    "preset unknown": (lambda p: train("v9"), "preset 'v9' is not known; allowed"),
    "preset None": (lambda p: train(None), "preset None is not known; allowed"),
    "preset a number": (lambda p: train(1), "preset 1 is not known; allowed"),
    "preset a list": (lambda p: train(["v1"]), "preset ..v1.. is not known; allowed"),
    "seed below 0": (lambda p: train(TINY, dataset=p, seed=-1), "seed is -1; allowed"),
    "seed too large": (lambda p: train(TINY, dataset=p, seed=2**32), "seed is 4294967296; allowed"),
    "seed a text": (lambda p: train(TINY, dataset=p, seed="x"), "seed is 'x'; allowed"),
    "an unknown argument": (lambda p: train(TINY, dataset=p, learn_rate=1), "learn_rate"),
    "epochs 0": (lambda p: train(TINY, dataset=p, num_train_epochs=0), "num_train_epochs is 0; allowed"),
    "epochs below 0": (lambda p: train(TINY, dataset=p, num_train_epochs=-1), "num_train_epochs is -1"),
    "batch 0": (lambda p: train(TINY, dataset=p, per_device_train_batch_size=0), "per_device_train_batch_size is 0"),
    "rate NaN": (lambda p: train(TINY, dataset=p, learning_rate=float("nan")), "learning_rate is nan"),
    "rate below 0": (lambda p: train(TINY, dataset=p, learning_rate=-1.0), "learning_rate is -1.0"),
    "threads 0": (lambda p: train(TINY, dataset=p, num_threads=0), "num_threads is 0"),
    "strategies apart": (lambda p: train(TINY, dataset=p, eval_strategy="steps", eval_steps=3), "strategy"),
    "no evaluation": (lambda p: train(TINY, dataset=p, eval_strategy="no"), "strategy"),
    "a metric unknown": (lambda p: train(TINY, dataset=p, metric_for_best_model="x"), "metric_for_best_model"),
    "label smoothing": (lambda p: train(TINY, dataset=p, label_smoothing_factor=0.1), "cannot be used here"),
    "push": (lambda p: train(TINY, dataset=p, push_to_hub=True), "an access token is needed"),
    "resume from": (lambda p: train(TINY, dataset=p, resume_from_checkpoint="x"), "cannot be used here"),
    "embedding of 0": (lambda p: train(replace(TINY, embedding_size=0), dataset=p), "embedding_size is 0"),
    "dropout of 2": (lambda p: train(replace(TINY, classifier_dropout=2), dataset=p), "classifier_dropout is 2"),
    "vocabulary of 0": (lambda p: train(replace(TINY, vocab_words=0), dataset=p), "vocab_size is 0"),
    "length of 0": (lambda p: train(replace(TINY, max_length=0), dataset=p), "max_length is 0"),
    "scheme unknown": (lambda p: train(replace(TINY, scheme="bpe"), dataset=p), "scheme is 'bpe'"),
    "sample of 1": (lambda p: train(TINY, dataset=p, max_train_samples=1), "max_train_samples is 1"),
    "texts None": (lambda p: predict(None, model=p), "texts"),
    "model a number": (lambda p: predict(["a"], model=3), "model"),
    "model an empty name": (lambda p: predict(["a"], model=""), "the model is named ''"),
    "model with spaces": (lambda p: predict(["a"], model="no such model"), "model"),
    "data None": (lambda p: load_reviews(None), "dataset"),
    "data a number": (lambda p: load_reviews(3), "dataset"),
    "data an address": (lambda p: load_reviews("http://127.0.0.1:9/a.csv"), "no such file or directory"),
    "data an empty name": (lambda p: load_reviews(""), "the dataset is named ''"),
    "data of nobody's home": (lambda p: load_reviews("~no-such-user/a.csv"), "no such home directory"),
    "data a NUL": (lambda p: load_reviews("a\0b.csv"), "."),
    "rows of an empty name": (lambda p: predict_file("", "a.csv"), "is named ''"),
    "an output of an empty name": (lambda p: predict_file(p, ""), "the output is named ''"),
    "a directory of outputs of an empty name": (lambda p: predict_files([p], ""), "the output is named ''"),
    "a run directory of an empty name": (lambda p: train(TINY, dataset=p, output_dir=""), "the output is named ''"),
    "vectors of an empty name": (
        lambda p: train(replace(TINY, glove=""), dataset=p),
        "--glove '' is not known; allowed",
    ),
    "a report of an empty name": (lambda p: write_report(""), "the run is named ''"),
    "a run to push of an empty name": (lambda p: push_run("", "me/model"), "the run is named ''"),
    "a file onto itself": (lambda p: predict_file(p, p, model="x"), "is both what is read"),
    "batch_size 0 of predict_file": (lambda p: predict_file(p, p, model="x", batch_size=0), "batch_size is 0"),
    "tokenizer of nothing": (lambda p: train_tokenizer([]), "no word found"),
    "tokenizer of a number": (lambda p: train_tokenizer(3), "texts"),
    "config of a list": (lambda p: SentimentLSTMConfig(vocab_size=[1]), "vocab_size"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments(name, tmp_path, monkeypatch):
    call, message = ARGUMENTS[name]
    path = write_csv(tmp_path / "reviews.csv", make_reviews(40))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    try:
        refused(lambda: call(path), message)
    except StrictDataclassError as error:
        assert re.search(message, str(error))  # noqa: PT017
    # Nothing that stands in the way of the corrected call.
    if (tmp_path / "runs").exists():
        assert not any(tmp_path.glob("runs/*/checkpoints/checkpoint-*"))
