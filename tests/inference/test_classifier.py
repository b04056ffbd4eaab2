from __future__ import annotations

import copy
import json
import pickle
import random
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import Dataset, DatasetDict
from transformers import pipeline

from hf_lstm_sentiment import (
    Classifier,
    Prediction,
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
    explain,
    predict,
    train_tokenizer,
)
from hf_lstm_sentiment.inference import classifier as inference
from hf_lstm_sentiment.utils import imports as extras
from tests.reviews import GOOD, NOISE, make_reviews, refused

pytestmark = pytest.mark.usefixtures("one_thread")

MAX_LENGTH = 9
TEXTS = [text for text, _ in make_reviews(60)]
FRAME = pd.DataFrame({"text": ["a"], "label": [1]})
DATA = Dataset.from_dict({"text": ["a"], "label": [1]})
VARIANTS = [
    {},
    {"pooling": "max", "bidirectional": True, "num_hidden_layers": 2},
    {"pooling": "mean", "classifier_dropout": 0.5, "embedding_dropout": 0.5},
]


@cache
def trained(scheme):
    return train_tokenizer(TEXTS, scheme=scheme, vocab_size=50, max_length=MAX_LENGTH)


def tokenizer(scheme="whitespace"):
    return copy.deepcopy(trained(scheme))


def make(words=None, **changes):
    torch.manual_seed(0)
    words = words or len(trained("whitespace"))
    config = SentimentLSTMConfig(vocab_size=words, embedding_size=8, hidden_size=6, **changes)
    model = SentimentLSTMForSequenceClassification(config).eval()
    # So that both labels occur.
    with torch.no_grad():
        model.classifier.weight.mul_(4)
        model.classifier.bias.zero_()
    return model


def save(path, **changes):
    make(**changes).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="module")
def classifier():
    return Classifier(make(), tokenizer())


def texts_of(lengths, seed=0):
    """Texts of so many words, known and unknown ones."""
    generator = random.Random(seed)
    return [" ".join(generator.choices([*GOOD, *NOISE, "unknown", "<pad>"], k=n)) for n in lengths]


def one_by_one(model, texts, tokenizer):
    """Logits of the model itself, for each text alone."""
    with torch.no_grad():
        logits = [model.eval()(torch.tensor([tokenizer(t, truncation=True)["input_ids"]])).logits[0] for t in texts]
    return np.array([float(pair[1] - pair[0]) for pair in logits])


def same(predictions, others):
    assert [p.label for p in predictions] == [p.label for p in others]
    np.testing.assert_allclose([p.score for p in predictions], [p.score for p in others], rtol=0, atol=1e-6)


@pytest.mark.parametrize("changes", VARIANTS)
def test_answers_are_those_of_the_model_one_by_one_in_order(changes, monkeypatch):
    model, own = make(**changes).train(), tokenizer()
    classifier = Classifier(model, own)
    assert not any(module.training for module in model.modules())
    # Empty, blank, as long as allowed, one more, and much more.
    lengths = [0, MAX_LENGTH, MAX_LENGTH + 1, 300, *np.random.default_rng(0).integers(0, 30, 60).tolist(), 0]
    texts = [*texts_of(lengths), "   "]
    expected = one_by_one(model, texts, own)
    for window, batch_size in ((1_000, 7), (1, 1), (5, 3), (8, 40)):
        monkeypatch.setattr(inference, "WINDOW", window)
        found = list(classifier.stream(iter(texts), batch_size=batch_size))
        signed = [p.score if p.label == "POSITIVE" else 1 - p.score for p in found]
        np.testing.assert_allclose(signed, 1 / (1 + np.exp(-expected)), rtol=0, atol=1e-6)
        np.testing.assert_allclose(classifier.logits(texts, batch_size=batch_size), expected, rtol=0, atol=1e-6)
    assert len({found[0], found[-1]}) == 1
    assert predict([], model=classifier) == list(classifier.stream(iter([]))) == []
    assert classifier.logits([]).shape == (0,)


@pytest.fixture(scope="module")
def three():
    return Classifier(make(id2label={0: "bad", 1: "so so", 2: "good"}), tokenizer())


def test_more_than_two_labels_have_a_logit_each(three, tmp_path):
    texts = texts_of([0, 1, 5, MAX_LENGTH, 30, 2])
    save(tmp_path, id2label={0: "bad", 1: "so so", 2: "good"})
    stock = pipeline("text-classification", model=str(tmp_path), top_k=None)
    for classifier in (three, Classifier.from_pretrained(tmp_path)):
        assert classifier.labels == ("bad", "so so", "good")
        assert (classifier.logits(texts).shape, classifier.logits([]).shape) == ((6, 3), (0, 3))
        for found, answers in zip(classifier(texts, all_scores=True), stock(texts, truncation=True), strict=True):
            assert found.scores == pytest.approx({answer["label"]: answer["score"] for answer in answers}, abs=1e-6)
            assert found == (answers[0]["label"], found.scores[answers[0]["label"]])
            assert list(found.scores) == list(classifier.labels)


def test_an_answer_that_is_not_probable_enough_is_unsure(classifier, three):
    texts = texts_of([4] * 30)
    for each in (classifier, three):
        plain = each(texts)
        bound = sorted(prediction.score for prediction in plain)[15]
        for name, options in (("UNSURE", {}), ("?", {"unsure_label": "?"})):
            found = predict(texts, model=each, unsure_below=bound, **options)
            assert [p.score for p in found] == [p.score for p in plain]
            assert [p.label for p in found] == [p.label if p.score >= bound else name for p in plain]
            assert [p.label for p in found].count(name) == 15


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ("a good film", {}, "texts is one string; pass a list of strings"),
        (None, {}, "texts is None; pass a list of strings"),
        (Path("reviews.csv"), {}, r"texts is PosixPath\('reviews.csv'\); .* for a file, call predict_file"),
        (FRAME, {}, r'texts is a DataFrame; pass its column of texts: predict\(frame\["text"\]\)'),
        ({"text": ["a"]}, {}, r'texts is a dict; pass its column of texts: predict\(frame\["text"\]\)'),
        (DATA, {}, r'texts is a Dataset; pass its column of texts: predict\(frame\["text"\]\)'),
        (DatasetDict(test=DATA), {}, r'texts of one split: predict\(data\["test"\]\["text"\]\)'),
        (["good"] * 5 + [7], {}, r"text 5 is 7 \(int\); every text must be a string"),
        (["a"], {"batch_size": 0}, "batch_size is 0; allowed: a whole number of at least 1"),
        (["a"], {"batch_size": 2.5}, "batch_size is 2.5; allowed: a whole number of at least 1"),
        (["a"], {"unsure_below": 0.5}, r"unsure_below is 0\.5; allowed: above 0\.5 \(of 2 labels, the most prob"),
        (["a"], {"unsure_below": 70}, r"unsure_below is 70; allowed: above 0.5 .*, to 1"),
        (["a"], {"unsure_below": "0.7"}, r"unsure_below is '0\.7'; allowed"),
        (["a"], {"unsure_below": float("nan")}, "unsure_below is nan; allowed"),
        (["a"], {"unsure_below": 0.7, "unsure_label": " "}, "unsure_label is ' '; allowed: a text that is none of"),
        (["a"], {"unsure_below": 0.7, "unsure_label": "POSITIVE"}, "is 'POSITIVE'; allowed: a text that is none"),
    ],
)
def test_what_cannot_be_classified_is_refused(classifier, texts, options, message):
    refused(lambda: list(classifier.stream(texts, **options)), message)
    if "unsure_below" not in options:
        refused(lambda: classifier.logits(texts, **options), message)


def test_anything_that_yields_texts_can_be_classified(classifier):
    texts = texts_of([2, 4, 3])
    frame = pd.DataFrame({"text": texts}, index=[7, 3, 5])
    for kind in (frame["text"], Dataset.from_dict({"text": texts})["text"], np.array(texts), tuple(texts)):
        assert predict(iter(kind), model=classifier) == predict(kind, model=classifier) == classifier(texts)
        np.testing.assert_array_equal(classifier.logits(iter(kind)), classifier.logits(texts))
    table = frame.join(pd.DataFrame(predict(frame["text"], model=classifier), index=frame.index))
    assert (list(table), list(table.index)) == (["text", "label", "score"], [7, 3, 5])
    assert list(zip(table["label"], table["score"], strict=True)) == classifier(texts)


def test_a_prediction_is_a_pair_that_knows_more(classifier):
    texts = ["word1 word2", "word1 zzz qqq xyz", "zzz", "", "word1 " * MAX_LENGTH + "zzz"]
    plain, found = classifier(texts), predict(texts, model=classifier, all_scores=True)
    assert [prediction.known for prediction in found] == [1, 0.25, 0, 0, 1]
    assert {prediction.scores for prediction in plain} == {None}
    assert found == plain
    for (label, score), one in zip(plain, found, strict=True):
        assert one == (label, score) == Prediction(label, score)
        assert (list(one.scores), one.scores[label]) == (["NEGATIVE", "POSITIVE"], score)
        assert sum(one.scores.values()) == pytest.approx(1, abs=1e-12)
        for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
            assert (type(again), tuple(again), again.known) == (Prediction, (label, score), one.known)
            assert again.scores == one.scores
        assert repr(one) == f"Prediction(label={label!r}, score={score!r}, known={one.known}, scores={one.scores!r})"
    assert repr(plain[1]) == f"Prediction(label={plain[1][0]!r}, score={plain[1][1]!r}, known=0.25)"
    assert np.isnan(Prediction("POSITIVE", 0.9).known)


def test_a_tokenizer_larger_than_the_table_is_refused():
    words = len(tokenizer())
    with pytest.raises(ValueError, match=rf"ids up to {words - 1} and .* {words - 1} rows; they do not"):
        Classifier(make(words - 1), tokenizer())
    Classifier(make(words + 1), tokenizer())


def test_the_packaged_model_has_a_name(checkpoint, classifier, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packaged = Classifier.from_pretrained().fingerprint()
    # A directory of data is no model.
    (tmp_path / "reviews").mkdir()
    assert Classifier.from_pretrained("reviews").fingerprint() == packaged
    assert predict(["great"], model="reviews") == predict(["great"])
    assert explain("great", model="reviews") == explain("great")
    (tmp_path / "reviews").rmdir()
    shutil.copytree(checkpoint, tmp_path / "reviews")
    assert Classifier.from_pretrained("reviews").fingerprint() == classifier.fingerprint()


@pytest.mark.parametrize("variant", [None, "fp16"])
@pytest.mark.parametrize("size", ["1GB", "1KB"])
def test_shards_and_variants_are_loaded(tmp_path, classifier, variant, size):
    make().save_pretrained(tmp_path, max_shard_size=size, variant=variant)
    tokenizer().save_pretrained(tmp_path)
    assert (len(list(tmp_path.glob("model*.safetensors"))) > 1) == (size == "1KB")
    assert Classifier.from_pretrained(tmp_path, variant=variant).fingerprint() == classifier.fingerprint()
    with pytest.raises(OSError, match=r"model\.other\.safetensors"):
        Classifier.from_pretrained(tmp_path, variant="other")


@pytest.mark.parametrize(
    ("weight_map", "said"),
    [
        ({"a": "../model.safetensors"}, "allowed: names of safetensors"),
        ({"a": 3}, "allowed: names of safetensors"),
        ({}, "allowed: names of safetensors"),
        ("model.safetensors", "allowed: names of safetensors"),
        ({"a": "model-00001-of-00003.safetensors"}, "does not hold the weights that its config"),
        ({"a": "model-9.safetensors"}, r"holds no model-9\.safetensors; pass a run directory or a Hub repository"),
    ],
)
def test_an_index_names_shards_beside_it_only(tmp_path, weight_map, said):
    tokenizer().save_pretrained(tmp_path)
    make().save_pretrained(tmp_path, max_shard_size="1KB")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(lambda: Classifier.from_pretrained(tmp_path), said)


def test_a_model_that_cannot_be_had_is_refused(tmp_path, checkpoint, classifier, monkeypatch):
    refused(lambda: predict(["a"], model=tmp_path / "none"), "no such file or directory; allowed: a run directory or")
    refused(lambda: predict(["a"], model="no such model"), "the model no such model: no such file or directory")
    refused(lambda: predict(["a"], model="nobody/nothing"), "model nobody/nothing is no directory here.*connect")
    refused(lambda: predict(["a"], model=classifier, dtype="int8"), "dtype is 'int8', and model is a Classifier, which")
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    refused(lambda: predict(["a"], model=checkpoint, backend="onnx"), r'pip install "hf_lstm_sentiment\[onnx\]"')


def test_no_code_of_the_checkpoint_is_run(tmp_path, classifier):
    run, mark = save(tmp_path / "run"), tmp_path / "mark"
    poison = f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
    sources = sorted(run.glob("*.py"))
    assert len(sources) == 3
    for path in sources:
        path.write_text(poison + path.read_text())
    assert "auto_map" in json.loads((run / "config.json").read_text())
    same(predict(["wonderful"], model=run), classifier(["wonderful"]))
    assert not mark.exists()


def test_stream_reads_one_window_ahead_and_no_more(classifier, monkeypatch):
    monkeypatch.setattr(inference, "WINDOW", 5)
    read = []

    def source():
        for number, text in enumerate(texts_of([4] * 23)):
            read.append(number)
            yield text

    stream = classifier.stream(source())
    assert not read
    for count in range(1, 24):
        next(stream)
        assert len(read) == min(-(-count // 5) * 5, 23)
    assert next(stream, None) is None


def test_the_tokenizer_of_the_caller_changes_nothing_and_is_not_changed(classifier):
    texts, own = texts_of([0, 2, 5, 9, 20]), tokenizer()
    own.backend_tokenizer.enable_truncation(2)
    own.backend_tokenizer.enable_padding(length=30)
    before = own.backend_tokenizer.to_str()
    early = Classifier(make(), own)
    assert own.backend_tokenizer.to_str() == before
    own.backend_tokenizer.enable_truncation(1)
    assert early(texts) == classifier(texts)


@pytest.mark.parametrize("changes", VARIANTS)
def test_a_loaded_classifier_and_one_made_of_a_model_agree_bit_for_bit(tmp_path, changes):
    own = tokenizer()
    loaded, made = Classifier.from_pretrained(save(tmp_path, **changes)), Classifier(make(**changes), own)
    texts = texts_of([0, 1, 5, 9, 30, 5])
    # From memory that is aligned as that of the model in hand.
    loaded.network.load_state_dict({k: v.clone() for k, v in loaded.network.state_dict().items()}, assign=True)
    np.testing.assert_array_equal(loaded.logits(texts), made.logits(texts))
    assert loaded.fingerprint() == made.fingerprint()
    assert (loaded.max_length, loaded.labels, loaded.unk_token_id) == (MAX_LENGTH, ("NEGATIVE", "POSITIVE"), 1)
    assert loaded.token_ids(texts) == own(texts)["input_ids"]


def test_the_fingerprint_tells_what_decides_the_scores():
    moved, shorter = make(), tokenizer()
    with torch.no_grad():
        moved.classifier.bias.add_(1e-6)
    shorter.model_max_length = 3
    made = [*((make(**changes), tokenizer()) for changes in VARIANTS), (moved, tokenizer()), (make(), shorter)]
    prints = [Classifier(*parts).fingerprint() for parts in made]
    assert len(set(prints)) == len(prints)
    assert Classifier(make(), tokenizer()).fingerprint() == prints[0]


def test_half_precision_weights_are_computed_in_single_precision(tmp_path):
    model, texts = make(), texts_of([1, 5, 9])
    model.half().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    logits = Classifier.from_pretrained(tmp_path).logits(texts)
    np.testing.assert_allclose(logits, one_by_one(model.float(), texts, tokenizer()), atol=1e-6)


@pytest.mark.parametrize("able", [False, True])
@pytest.mark.parametrize("changes", VARIANTS)
def test_bfloat16_says_nearly_the_same_and_is_warned_of_where_the_processor_has_none(
    tmp_path, monkeypatch, recwarn, changes, able
):
    run, texts = save(tmp_path / "run", **changes), texts_of([0, 3, 9, 1, MAX_LENGTH, 30])
    monkeypatch.setattr(inference, "autocast_computes_lstm", lambda dtype: able)
    exact = Classifier.from_pretrained(run)
    assert not [warning for warning in recwarn if "bfloat16" in str(warning.message)]
    classifier = Classifier.from_pretrained(run, dtype=torch.bfloat16)
    said = [str(warning.message) for warning in recwarn if "bfloat16" in str(warning.message)]
    assert ["float32, the default, is fast and exact" in line for line in said] == [True] * (not able)
    found, expected = classifier.logits(texts), exact.logits(texts)
    assert {layer.weight.dtype for layer in (classifier.network.embedding, classifier.network.head)} == {
        torch.bfloat16,
        torch.float32,
    }
    assert 0 < np.abs(found - expected).max() < 2e-2
    # A file that was begun in one of them is not continued in the other.
    assert classifier.fingerprint() != exact.fingerprint()
    assert Classifier.from_pretrained(run, dtype="bfloat16").fingerprint() == classifier.fingerprint()


@pytest.mark.parametrize("changes", [*VARIANTS, {"id2label": dict(enumerate("abc"))}])
def test_onnxruntime_gives_the_same_answers_and_in_eight_bits_nearly(tmp_path, changes):
    run, texts = save(tmp_path / "run", **changes), texts_of([0, 3, 9, 1, MAX_LENGTH, 30])
    expected = Classifier.from_pretrained(run)
    found = {dtype: Classifier.from_pretrained(run, backend="onnx", dtype=dtype) for dtype in ("float32", "int8")}
    logits = {dtype: classifier.logits(texts, batch_size=4) for dtype, classifier in found.items()}
    np.testing.assert_allclose(logits["float32"], expected.logits(texts), rtol=0, atol=2e-6)
    np.testing.assert_allclose(logits["int8"], expected.logits(texts), rtol=0, atol=5e-2)
    assert np.abs(logits["int8"] - expected.logits(texts)).max() > 1e-4
    assert len({classifier.fingerprint() for classifier in (expected, *found.values())}) == 3
    same(predict(texts, model=run, backend="onnx"), expected(texts))


@pytest.mark.parametrize(
    "wrong", ["jax float32 cpu", "torch float16 cpu", "torch int8 cpu", "onnx bfloat16 cpu", "onnx float32 cuda"]
)
def test_what_no_backend_computes_is_refused(checkpoint, wrong):
    options = dict(zip(("backend", "dtype", "device"), wrong.split(), strict=True))
    said = f"{', '.join(f'{name} {value!r}' for name, value in options.items())}; allowed: ".replace(
        "backend", "backend is"
    )
    refused(lambda: Classifier.from_pretrained(checkpoint, **options), said)


def test_workers_compute_each_batch_as_one_thread_does():
    classifier, texts, seen = Classifier(make(**VARIANTS[1]), tokenizer()), texts_of(range(60)), set()
    expected, here = classifier.logits(texts, batch_size=4), threading.get_ident()

    def compute(ids, mask):
        seen.add((threading.get_ident() == here, torch.get_num_threads()))
        return classifier.network(ids, mask)

    classifier.compute = compute
    torch.set_num_threads(3)
    try:
        np.testing.assert_array_equal(classifier.logits(texts, batch_size=4), expected)
        # A single batch gets all threads.
        classifier.logits(texts[:4])
        assert seen == {(False, 1), (True, 3)}
        classifier.compute = lambda ids, mask: [][0]
        with pytest.raises(IndexError):
            classifier.logits(texts, batch_size=4)
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)


def test_a_naive_model_gets_its_padding(tmp_path):
    model, own = make(naive_padding=True), tokenizer()
    save(tmp_path, naive_padding=True)
    texts = texts_of([0, 1, 4, 9, 30])
    ids = own(texts, truncation=True, padding="max_length", return_tensors="pt")["input_ids"]
    assert ids.shape == (5, MAX_LENGTH)
    with torch.no_grad():
        expected = model(ids).logits[:, 1]
    for classifier in (Classifier(model, own), Classifier.from_pretrained(tmp_path)):
        np.testing.assert_allclose(classifier.logits(texts, batch_size=2), expected, atol=1e-6)
    own.model_max_length = int(1e30)
    with pytest.raises(ValueError, match="a naive_padding model needs the length"):
        Classifier(model, own)
