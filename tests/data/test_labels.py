from __future__ import annotations

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value

from hf_lstm_sentiment.data.reviews import load_reviews, reviews_from
from tests.reviews import refused, rows_of

pytestmark = pytest.mark.usefixtures("own_cache")


def source(folder, labels, name="a.csv"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("text,label\n" + "".join(f"text {i},{label}\n" for i, label in enumerate(labels)))
    return path


def named(reviews):
    """The name of every review's label, by the place of the review."""
    return [reviews.label_names[label] for _, label in rows_of(reviews)]


NAMES = {
    # labels as they stand, `labels`, names in order
    "stars": ([5, 1, 2, 3, 4, 10] * 6, None, ("1", "2", "3", "4", "5", "10")),
    "stars with decimal points": (["1.0", "2.0", "-1.0"] * 6, None, ("-1", "1", "2")),
    "texts": (["spam", "ham", "Eggs and bacon"] * 6, None, ("Eggs and bacon", "ham", "spam")),
    "two": (["spam", "ham"] * 6, None, ("ham", "spam")),
    "two numbers": ([4, 0] * 6, None, ("0", "4")),
    "three sentiments": (["neg", "pos", "neutral"] * 6, None, ("neg", "neutral", "pos")),
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
    assert all(len(set(part["label"])) == len(names) for part in (reviews.train, reviews.validation, reviews.test))
    assert reviews.summary()["labels"] == list(names)
    assert f"{len(names)} labels, in this order: {names[0]} (" in caplog.text
    if meant is None and len(names) > 2:
        assert [str(label).removesuffix(".0") for label in labels] == named(reviews)


SENTIMENTS = {
    # labels of a negative review, of a positive one, `labels`
    "words": (
        ["neg", "Negative", " bad ", "rotten", "False", "LABEL_0"],
        ["POS", "good", "fresh", "TRUE", "1.0"],
        None,
    ),
    "said": (["0", "very bad"], ["4", "so=so"], "0=negative 4=positive 'very bad=NEG' so=so=good"),
    "turned": (["1"], ["0"], "1=negative 0=positive"),
    "by a mapping": (["1"], ["2"], {"1": "neg", "2": "pos"}),
}


@pytest.mark.parametrize("name", SENTIMENTS)
def test_words_of_two_sentiments_are_these(name, tmp_path):
    negative, positive, meant = SENTIMENTS[name]
    pairs = [(label, name) for labels, name in ((negative, "NEGATIVE"), (positive, "POSITIVE")) for label in labels] * 6
    reviews = load_reviews(source(tmp_path, [label for label, _ in pairs]), labels=meant)
    assert reviews.label_names == ("NEGATIVE", "POSITIVE")
    assert named(reviews) == [name for _, name in pairs]
    assert "labels" not in reviews.summary()


def test_values_of_json_are_labels(tmp_path):
    for negative, positive in ((False, True), (0.0, 1.0), (0, "pos")):
        rows = [{"text": f"text {i}", "label": label} for i, label in enumerate([negative, positive] * 6)]
        (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        assert named(load_reviews(tmp_path / "a.jsonl")) == ["NEGATIVE", "POSITIVE"] * 6


def test_rows_of_a_label_without_a_name_are_left_out(tmp_path):
    path = source(tmp_path, [1, 2, 3, 4, 5] * 6)
    reviews = load_reviews(path, labels="1=negative 2=negative 4=positive 5=positive 3=")
    assert named(reviews) == ["NEGATIVE", "NEGATIVE", "POSITIVE", "POSITIVE"] * 6
    rows = sorted(row for part in (reviews.train, reviews.validation, reviews.test) for row in part["row"])
    assert rows == [row for row in range(30) if row % 5 != 2]
    assert load_reviews(path, labels={"1": "a", "2": None, "3": "", "4": "b", "5": "c"}).label_names == ("a", "b", "c")


def save_classes(path, names, labels):
    """Save a data set whose label column has names."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=names)})
    texts = [f"text {i}" for i in range(len(labels))]
    data = Dataset.from_dict({"text": texts, "label": labels}, features=features)
    (data.to_parquet if path.suffix else data.save_to_disk)(path)
    return path


@pytest.mark.parametrize(
    ("names", "labels", "name"),
    [
        (["Fresh", "Rotten"], [1, 0], "saved"),
        (["LABEL_1", "LABEL_0"], [1, 0], "a.parquet"),
        (["negative", "unused", "positive"], [0, 2], "a.parquet"),
    ],
)
def test_names_of_classes_decide_and_not_their_numbers(names, labels, name, tmp_path):
    assert named(load_reviews(save_classes(tmp_path / name, names, labels * 6))) == ["NEGATIVE", "POSITIVE"] * 6


def test_class_names_keep_their_order_and_those_without_reviews_are_none(tmp_path):
    names, labels = ["terrible", "poor", "unused", "good", "excellent"], [0, 1, 4, 3] * 6
    reviews = load_reviews(save_classes(tmp_path / "a", names, labels))
    assert reviews.label_names == ("terrible", "poor", "good", "excellent")
    labels[7] = -1
    wrong = save_classes(tmp_path / "b", names, labels)
    refused(lambda: load_reviews(wrong), "row 8: label -1 has no name; known: 'terrible', 'poor'")


AB = ["a", "b"] * 6
FRACTION = r"row 1 .*: label '{}' is a number with a fraction.*: round them, or say what each means: --labels"
MISSING = r"row 13 \(line 14\): the label is missing .*; correct or remove the row"
SLIP = r"row 41 \(line 42\): label {} is not known; allowed: 0 or 1, neg or pos, .*correct or remove the row"
REFUSED = {
    **{f"a fraction {x}": ([x, 1.5] * 6, None, FRACTION.format(x)) for x in (0.5, "inf", "1e400")},
    **{f"a missing label {x!r}": ([*AB, x], None, MISSING) for x in ("", " ", "nan")},
    "names of another case": ([*["a", "B"] * 6, "b"], None, "'B' and 'b' .*only in case .*--labels 'a=a B=B'"),
    "names of other spaces": ([*AB, "b "], None, "'b' and 'b ' .*white space; correct them, or make them one"),
    "one class": (["a"] * 12, None, "all 12 training reviews have the label 'a'; at least two labels"),
    "one sentiment": (["neg"] * 12, None, "no review of POSITIVE; both classes are needed"),
    **{
        f"a slip {x[:9]}": ([*["neg", "pos"] * 20, x], None, SLIP.format(".*")) for x in ("pso", "2", "-1", "x" * 10**6)
    },
    "a class of one": ([*AB, "c"], None, "row 13 .*1 of the 3 labels stand in one training review only, as 'c'"),
    "3,000 classes of one": (range(3_000), None, "3,000 of the 3,000 labels stand in one .*, as '0'"),
    "too few": ([*AB, "c", "c", "c"], None, "2 of 'c', .* are too few to split off 20% .* at least 5 of each"),
    "two rows": (["neg", "pos"], None, "too few to split off 20%"),
    "a label two ways": (AB, "a=x A=y b=z", "'a' means 'x' and 'y'; allowed: LABEL=NAME"),
    "names said of another case": (AB, "a=x b=X", "two names differ only in case"),
    "one name said": (AB, "a=x b=x", r"the names are \['x'\]; allowed"),
    "a quote never closed": (AB, "a='x b=y", "No closing quotation; allowed: LABEL=NAME"),
    "nothing said": (AB, "", r"the names are \[\]; allowed"),
    "no label said": (AB, "a b=x", "one of them has no label; allowed"),
    "half said": (AB, "a=x c=y", r"row 2 \(line 3\): label 'b' is not known; allowed: 'a', 'c'"),
    "a name said that none has": (AB, "a=x b=y c=z", "no review of z; every label needs some"),
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


def test_reviews_from_texts_and_labels(tmp_path):
    labels = np.array([3, 1, 2] * 10)
    texts = [f"text {i}" for i in range(30)]
    reviews = reviews_from(texts, labels, validation_fraction=0.25, split_seed=7)
    same = load_reviews(source(tmp_path, labels), validation_fraction=0.25, split_seed=7)
    assert reviews.digests == same.digests
    assert reviews.label_names == same.label_names == ("1", "2", "3")
    assert named(reviews) == list(map(str, labels))
    assert reviews_from(texts, [label > 1 for label in labels]).label_names == ("NEGATIVE", "POSITIVE")
    assert reviews_from(texts, torch.tensor(labels)).label_names == ("1", "2", "3")
    # Other labels of the same texts are not taken out of the cache.
    assert reviews_from(texts, ["c", *"ab", *"cab" * 9]).label_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [
        (pd.DataFrame({"text": ["a", "b"]}), [0, 1], "texts is a DataFrame; pass its column of texts"),
        (["a", "b"], pd.DataFrame({"y": [0, 1]}), "labels is .*; pass a list with one for each"),
        (["text"], "a", "labels is 'a'; pass a list"),
        (["a", "b"], ["a"], "2 texts and 1 labels; pass a label for each"),
        ([], [], "0 texts"),
        (["a", None] * 10, ["a", "b"] * 10, "text 1 is None"),
        (["a", "\ud800"] * 10, ["a", "b"] * 10, "half of a surrogate pair"),
        (["a", "b"] * 10, [["a"], ["b"]] * 10, "row 1: the label is .*one label per review"),
        (["a", "b"] * 10, [0.25, 0.75] * 10, "row 1: label 0.25 is a number with a fraction"),
        (["a", "b"] * 10, ["a", None] * 10, "row 2: the label is missing"),
        (["a", "b"] * 10, pd.array(["a", None] * 10, dtype="string"), "label 1 is <NA>; allowed: texts, whole numbers"),
        (["a", "b"] * 10, np.eye(2)[[0, 1] * 10], r"label 0 is array\(.*; allowed: texts, whole numbers"),
    ],
)
def test_texts_and_labels_that_cannot_be_are_refused(texts, labels, message):
    refused(lambda: reviews_from(texts, labels), message)


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
