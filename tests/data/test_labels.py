from __future__ import annotations

import logging

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_lstm_sentiment.data.labels import class_counts
from hf_lstm_sentiment.data.reviews import load_recorded_reviews, load_reviews, reviews_from
from tests.reviews import refused


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def source(folder, labels, name="a.csv"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels)))
    return path


def named(reviews):
    """The name of every review's label, by the place of the review."""
    parts = (reviews.train, reviews.validation, reviews.test)
    pairs = [(row["row"], reviews.label_names[row["label"]]) for part in parts for row in part]
    return [name for _, name in sorted(pairs)]


NAMES = {
    # labels as they stand, `labels`, names in order
    "stars": ([5, 1, 2, 3, 4, 10] * 6, None, ("1", "2", "3", "4", "5", "10")),
    "stars with decimal points": (["1.0", "2.0", "-1.0"] * 6, None, ("-1", "1", "2")),
    "texts": (["spam", "ham", "Eggs and bacon"] * 6, None, ("Eggs and bacon", "ham", "spam")),
    "two": (["spam", "ham"] * 6, None, ("ham", "spam")),
    "two numbers": ([4, 0] * 6, None, ("0", "4")),
    "three sentiments": (["neg", "pos", "neutral"] * 6, None, ("neg", "neutral", "pos")),
    "two sentiments": (["neg", "Pos", "positive", "0"] * 6, None, ("NEGATIVE", "POSITIVE")),
    "two sentiments, said": ([1, 2, 3, 4] * 6, "1=neg 2=bad 3=Positive 4=pos", ("NEGATIVE", "POSITIVE")),
    "said in an order": ([1, 2, 3] * 6, "3=great 1=poor '2=so so'", ("great", "poor", "so so")),
    "said by a mapping": ([1, 2, 3] * 6, {1: "poor", 2: "great", 3: "poor"}, ("poor", "great")),
    "of another case": (["Spam", "spam", "HAM"] * 6, "spam=spam ham=ham", ("spam", "ham")),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_come_from_the_data_or_the_user(name, tmp_path, caplog):
    labels, meant, names = NAMES[name]
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        reviews = load_reviews(source(tmp_path, labels), labels=meant)
    assert reviews.label_names == names
    assert all(all(class_counts(part, len(names))) for part in (reviews.train, reviews.validation, reviews.test))
    if names == ("NEGATIVE", "POSITIVE"):
        assert "labels" not in reviews.summary()
    else:
        assert reviews.summary()["labels"] == list(names)
        assert f"{len(names)} labels, in this order: {names[0]} (" in caplog.text
    if meant is None and len(names) > 2:
        assert [str(label).removesuffix(".0") for label in labels] == named(reviews)


def test_rows_of_a_label_without_a_name_are_left_out(tmp_path):
    path = source(tmp_path, [1, 2, 3, 4, 5] * 6)
    reviews = load_reviews(path, labels="1=negative 2=negative 4=positive 5=positive 3=")
    assert named(reviews) == ["NEGATIVE", "NEGATIVE", "POSITIVE", "POSITIVE"] * 6
    assert load_reviews(path, labels={"1": "a", "2": None, "3": "", "4": "b", "5": "c"}).label_names == ("a", "b", "c")


def test_class_names_keep_their_order_and_those_without_reviews_are_none(tmp_path):
    names = ["terrible", "poor", "unused", "good", "excellent"]
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    columns = {"text": [f"text {i}" for i in range(24)], "label": [0, 1, 4, 3] * 6}
    Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "a")
    assert load_reviews(tmp_path / "a").label_names == ("terrible", "poor", "good", "excellent")
    columns["label"][7] = -1
    Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "b")
    refused(lambda: load_reviews(tmp_path / "b"), "row 8: label -1 has no name; known: 'terrible', 'poor'")


REFUSED = {
    "a fraction": (
        [0.5, 1.5] * 6,
        None,
        r"row 1 \(line 2\): label '0.5' is a number with a fraction.*: round them, or",
    ),
    "a missing label": ([*["a", "b"] * 6, ""], None, r"row 13 \(line 14\): the label is missing"),
    "names of another case": ([*["a", "B"] * 6, "b"], None, "'B' and 'b' .*only in case .*--labels 'a=a B=B'"),
    "names of other spaces": (
        [*["a", "b"] * 6, "b "],
        None,
        "'b' and 'b ' .*white space; correct them, or make them one",
    ),
    "one class": (["a"] * 12, None, "all 12 training reviews have the label 'a'; at least two labels"),
    "one sentiment": (["neg"] * 12, None, "none of them is POSITIVE; both classes are needed"),
    "a slip": (
        [*["neg", "pos"] * 300, *["pso"] * 6],
        None,
        r"row 601 \(line 602\): label 'pso' is not known; allowed: 0",
    ),
    "a class of one": ([*["a", "b"] * 6, "c"], None, "row 13 .*label 'c' stands in one training review only"),
    "3,000 classes of one": (range(3_000), None, "label '0' .* and so do 2,999 more of the 3,000 labels"),
    "too few": ([*["a", "b"] * 6, "c", "c", "c"], None, "2 of 'c', are too few to split off 20% .* at least 5 of each"),
    "a label two ways": (["a", "b"] * 6, "a=x A=y b=z", "'a' means 'x' and 'y'; allowed: LABEL=NAME"),
    "names said of another case": (["a", "b"] * 6, "a=x b=X", "two names differ only in case"),
    "one name said": (["a", "b"] * 6, "a=x b=x", "all of them mean 'x'; allowed"),
    "nothing said": (["a", "b"] * 6, "", "there are none; allowed"),
    "no label said": (["a", "b"] * 6, "a b=x", "one of them has no label; allowed"),
    "half said": (["a", "b"] * 6, "a=x c=y", r"row 2 \(line 3\): label 'b' is not known; allowed: 'a', 'c'"),
    "a name said that none has": (["a", "b"] * 6, "a=x b=y c=z", "none of them is z; every label needs some"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_labels_that_cannot_be_are_refused(name, tmp_path):
    labels, meant, message = REFUSED[name]
    refused(lambda: load_reviews(source(tmp_path, labels), labels=meant), message)


def test_labels_of_held_out_reviews(tmp_path):
    source(tmp_path / "d", ["a", "b", "c"] * 6, "train.csv")
    source(tmp_path / "d", ["a", "b"] * 6, "test.csv")
    reviews = load_reviews(tmp_path / "d")
    assert reviews.label_names == ("a", "b", "c")
    assert "test: holds no review of c" in reviews.notes
    source(tmp_path / "d", ["a", "b", "x", "x"] * 6, "test.csv")
    message = (
        r"12 reviews of split 'test' have the label 'x' \(test\.csv, row 3 .*no training review has.*--labels .*x="
    )
    refused(lambda: load_reviews(tmp_path / "d"), message)
    assert len(load_reviews(tmp_path / "d", labels="a=a b=b c=c x=").test) == 12


def test_samples_hold_every_label(tmp_path):
    path = source(tmp_path, [*["a", "b"] * 60, *["c"] * 6])
    refused(lambda: load_reviews(path, max_train_samples=2), "max_train_samples is 2; allowed: at least 3, one review")
    refused(lambda: load_reviews(path, max_train_samples=4), "holds none of c; raise max_train_samples")


def test_folders_of_any_names_are_labels(tmp_path):
    for split in ("train", "test"):
        for name in ("good", "bad", "so so"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(6):
                (tmp_path / split / name / f"{i}.txt").write_text(f"{split} {name} {i}")
    reviews = load_reviews(tmp_path)
    assert reviews.label_names == ("bad", "good", "so so")
    assert len(reviews.test) == 18
    for row in reviews.test:
        assert row["text"].split(" ", 1)[1].startswith(reviews.label_names[row["label"]])


def test_reviews_from_texts_and_labels(tmp_path):
    labels = np.array([3, 1, 2] * 10)
    texts = [f"text {i}" for i in range(30)]
    reviews = reviews_from(texts, labels, validation_fraction=0.25, split_seed=7)
    same = load_reviews(source(tmp_path, labels), validation_fraction=0.25, split_seed=7)
    assert reviews.digests == same.digests
    assert reviews.label_names == same.label_names == ("1", "2", "3")
    assert named(reviews) == list(map(str, labels))
    assert reviews_from(texts, [label > 1 for label in labels]).label_names == ("NEGATIVE", "POSITIVE")
    changed = reviews_from(texts, ["c", *"ab", *"cab" * 9])
    assert changed.label_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        ("text", ["a"], "texts is 'text'; pass a list"),
        (["text"], "a", "labels is 'a'; pass a list"),
        (["a", "b"], ["a"], "2 texts and 1 labels; pass a label for each"),
        ([], [], "0 texts"),
        (["a", None] * 10, ["a", "b"] * 10, "text 1 is None"),
        (["a", "\ud800"] * 10, ["a", "b"] * 10, "half of a surrogate pair"),
        (["a", "b"] * 10, [["a"], ["b"]] * 10, "row 1: the label is .*one label per review"),
        (["a", "b"] * 10, [0.25, 0.75] * 10, "row 1: label 0.25 is a number with a fraction"),
        (["a", "b"] * 10, ["a", None] * 10, "row 2: the label is missing"),
    ],
)
def test_texts_and_labels_that_cannot_be_are_refused(texts, labels, message):
    refused(lambda: reviews_from(texts, labels), message)


def test_recorded_names_are_compared(tmp_path):
    reviews = load_reviews(source(tmp_path, ["a", "b", "c"] * 10))
    metrics = {"dataset": reviews.summary(), "options": {}}
    assert load_recorded_reviews(metrics, tmp_path / "a.csv", of="run").label_names == ("a", "b", "c")
    refused(
        lambda: load_recorded_reviews(metrics, source(tmp_path, ["a", "b", "d"] * 10), of="run"),
        r"labels was \['a', 'b', 'c'\] and is \['a', 'b', 'd'\]",
    )


def test_class_weights():
    reviews = reviews_from([f"text {i}" for i in range(60)], [*"aaab" * 15])
    assert reviews.class_weights("balanced") == pytest.approx([0.655, 2.111], abs=0.001)
    assert reviews.class_weights("1, 2.5") == reviews.class_weights([1, 2.5]) == [1, 2.5]
    for wrong, message in [
        ("1", r"are \[1.0\]; allowed: 2 .* \(a, b\)"),
        ("1,-1", "at least 0"),
        ("0,0", "above 0"),
        ("nan,1", "finite"),
        ("balance", "class_weights is 'balance'; allowed: balanced, or a number for each label .*a, b"),
        ([None, 1], "allowed: balanced"),
    ]:
        refused(lambda wrong=wrong: reviews.class_weights(wrong), message)
