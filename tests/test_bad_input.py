"""What a stranger's data, texts, vectors, checkpoints and arguments do: an error of our own wording, or a result.

Every case of a table is one line: what is given, and a part of the message, or `None` where there is a result.
"""

from __future__ import annotations

import gzip
import json
import math
import pickle
import re

import datasets
import numpy as np
import pytest
import torch

from hf_lstm_sentiment import (
    Classifier,
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
    load_reviews,
    predict,
    train_tokenizer,
)
from tests.reviews import make_reviews

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [(text, ("neg", "pos")[label]) for text, label in make_reviews(20)]
# What an error of somebody else looks like when it reaches a user.
FOREIGN = re.compile(r"Traceback|object has no attribute|NoneType|unpack|subscriptable|^'\w+'$|pyarrow\.lib|state_dict")


def refused(call, message):
    """The call fails with an error that is meant for a reader."""
    with pytest.raises((ValueError, TypeError, OSError, ImportError)) as caught:
        call()
    said = str(caught.value)
    assert re.search(message, said, re.DOTALL), said
    assert len(said) < 1_500
    return said


def csv_of(rows=ROWS, header="text,label", end="\n"):
    return end.join([header, *(",".join(f'"{field}"' for field in row) for row in rows)]) + end


def jsonl_of(rows):
    return "\n".join(json.dumps(row) for row in rows)


def with_row(text, label):
    return csv_of([*ROWS[:7], (text, label), *ROWS[7:]])


OBJECTS = [{"text": text, "label": label} for text, label in ROWS]
DATA = {
    # name: (file, content, keyword arguments, message or None)
    "empty csv": ("a.csv", "", {}, "there is no row in it; a csv"),
    "empty tsv": ("a.tsv", "", {}, "there is no row in it; a csv"),
    "empty jsonl": ("a.jsonl", "", {}, "there is no row in it; a json"),
    "empty json": ("a.json", "", {}, "there is no row in it; a json"),
    "empty parquet": ("a.parquet", "", {}, "write the file anew"),
    "blank csv": ("a.csv", "\n\n\n", {}, "there is no row in it; a csv"),
    "blank jsonl": ("a.jsonl", "\n\n", {}, "there is no row in it; a json"),
    "header only": ("a.csv", "text,label\n", {}, "there is no row in it; a csv"),
    "json: []": ("a.json", "[]", {}, "there is no row in it; a json"),
    "json: {}": ("a.json", "{}", {}, "there is no row in it; a json"),
    "json: a number": ("a.json", "3", {}, "a.json, line 1: it is an int; one object per line is read"),
    "json: a list of texts": ("a.json", '["a", "b"]', {}, "a.json, object 1: it is a str; a list of objects is read"),
    "jsonl: texts": (
        "a.jsonl",
        '"a"\n"b"',
        {},
        "a.jsonl, line 1: it is a str; one object per line is read; a json file is",
    ),
    "jsonl: broken line": (
        "a.jsonl",
        jsonl_of(OBJECTS) + '\n{"text": "a',
        {},
        "a.jsonl, line 21: it is not JSON: Unterminated string.*, character 10; one object",
    ),
    "jsonl: not json": (
        "a.jsonl",
        "hello\nworld",
        {},
        "a.jsonl, line 1: it is not JSON: Expecting value, character 1; one object",
    ),
    "jsonl: single quotes": (
        "a.jsonl",
        "{'text': 'a', 'label': 1}",
        {},
        "a.jsonl, line 1: it is not JSON: .*, character 2; one object",
    ),
    "jsonl: mixed labels": ("a.jsonl", jsonl_of([*OBJECTS, {"text": "a", "label": 1}]), {}, None),
    "jsonl: mixed texts": (
        "a.jsonl",
        jsonl_of([*OBJECTS, {"text": 3, "label": "pos"}]),
        {},
        "row 20: the text is .*correct or remove it",
    ),
    "jsonl: text is a list": (
        "a.jsonl",
        jsonl_of([{**o, "text": [o["text"]]} for o in OBJECTS]),
        {},
        "row 0: the text is .*with --text_column",
    ),
    "jsonl: text is a number": (
        "a.jsonl",
        jsonl_of([{**o, "text": 3} for o in OBJECTS]),
        {},
        "row 0: the text is .*with --text_column",
    ),
    "jsonl: text is an object": (
        "a.jsonl",
        jsonl_of([{**o, "text": {"a": 1}} for o in OBJECTS]),
        {},
        "row 0: the text is .*with --text_column",
    ),
    "jsonl: text is null": (
        "a.jsonl",
        jsonl_of([*OBJECTS, {"text": None, "label": "pos"}]),
        {},
        "row 20: the text is .*correct or remove it",
    ),
    "jsonl: text is missing": (
        "a.jsonl",
        jsonl_of([*OBJECTS, {"label": "pos"}]),
        {},
        "row 20: the text is .*correct or remove it",
    ),
    "jsonl: label is null": (
        "a.jsonl",
        jsonl_of([*OBJECTS, {"text": "a", "label": None}]),
        {},
        "row 20: label .* is not known; allowed: 0 or 1",
    ),
    "jsonl: label is a list": (
        "a.jsonl",
        jsonl_of([{**o, "label": [1]} for o in OBJECTS]),
        {},
        "row 0: label .* is not known; allowed: 0 or 1",
    ),
    "jsonl: label is NaN": (
        "a.jsonl",
        '{"text": "a", "label": NaN}\n',
        {},
        "row 0: label .* is not known; allowed: 0 or 1",
    ),
    "jsonl: bool labels": ("a.jsonl", jsonl_of([{**o, "label": o["label"] == "pos"} for o in OBJECTS]), {}, None),
    "jsonl: float labels": (
        "a.jsonl",
        jsonl_of([{**o, "label": float(o["label"] == "pos")} for o in OBJECTS]),
        {},
        None,
    ),
    "jsonl: half a label": (
        "a.jsonl",
        jsonl_of([*({**o, "label": 1.0} for o in OBJECTS), {"text": "a", "label": 0.5}]),
        {},
        "row 20: label .* is not known; allowed: 0 or 1",
    ),
    "jsonl: lone surrogate": (
        "a.jsonl",
        jsonl_of(OBJECTS) + '\n{"text": "\\ud800", "label": "pos"}',
        {},
        "a.jsonl, line 21: it holds half of a surrogate pair, which is no text; correct or remove it",
    ),
    "jsonl: duplicate key": (
        "a.jsonl",
        '{"text": "a", "text": "b", "label": "pos"}\n' + jsonl_of(OBJECTS),
        {},
        "a.jsonl, line 1: it has two values called .text.; remove or rename one",
    ),
    "jsonl: nested deep": (
        "a.jsonl",
        '{"text": ' + "[" * 3000 + "]" * 3000 + ', "label": 1}',
        {},
        "a.jsonl, line 1: its values are nested more than 100 deep; flatten or remove them",
    ),
    "jsonl: nested deep within reach": (
        "a.jsonl",
        jsonl_of(OBJECTS) + '\n{"text": "a", "label": "pos", "more": ' + "[" * 101 + "]" * 101 + "}",
        {},
        "a.jsonl, line 21: its values are nested more than 100 deep; flatten or remove them",
    ),
    "jsonl: nested and many brackets": (
        "a.jsonl",
        jsonl_of([*OBJECTS, {"text": "[{" * 200, "label": "pos", "more": [[[]], {"a": {}}]}]),
        {},
        None,
    ),
    "jsonl: a number of 5,000 digits": (
        "a.jsonl",
        '{"text": "a", "label": ' + "1" * 5000 + "}",
        {},
        "a.jsonl, line 1: it holds a number of more than 4,300 digits; shorten it",
    ),
    "jsonl: null first": (
        "a.jsonl",
        "null\n" + jsonl_of(OBJECTS),
        {},
        "a.jsonl, line 1: it is null; one object per line is read",
    ),
    "jsonl: null among": (
        "a.jsonl",
        jsonl_of(OBJECTS) + "\n\n null",
        {},
        "a.jsonl, line 22: it is null; one object per line is read",
    ),
    "json: null in a list": (
        "a.json",
        json.dumps([None, *OBJECTS]),
        {},
        "a.json, object 1: it is null; a list of objects is read",
    ),
    "json: a broken list": (
        "a.json",
        json.dumps(OBJECTS, indent=1)[:-2],
        {},
        "a.json: it is not JSON: Expecting ',' delimiter, line 81, character 3; a list of objects is read",
    ),
    "json: a list over many lines": ("a.json", "\ufeff\n" + json.dumps(OBJECTS, indent=4), {}, None),
    "json: an object per line": ("a.json", jsonl_of(OBJECTS), {}, None),
    "json: an object of columns": (
        "a.json",
        json.dumps({"text": ["a", "b"], "label": ["pos", "neg"]}),
        {},
        "row 0: the text is \\['a', 'b'\\]; every row needs a string",
    ),
    "jsonl: columns of many kinds": (
        "a.jsonl",
        jsonl_of({**o, "more": [None, [], {}, {"a": [1]}, "b", 2.5, [None]][i % 7]} for i, o in enumerate(OBJECTS)),
        {},
        None,
    ),
    "jsonl: more columns later": ("a.jsonl", jsonl_of([*OBJECTS, {"text": "a", "label": "pos", "more": 1}]), {}, None),
    "latin-1": ("a.csv", csv_of([*ROWS, ("caf\u00e9", "pos")]).encode("latin-1"), {}, "byte 0x.. is not UTF-8; a csv"),
    "utf-16": ("a.csv", csv_of().encode("utf-16"), {}, "byte 0x.. is not UTF-8; a csv"),
    "utf-16 jsonl": (
        "a.jsonl",
        jsonl_of(OBJECTS).encode("utf-16"),
        {},
        "a.jsonl, line 1: byte 0xff is not UTF-8; save the file as UTF-8",
    ),
    "utf-8 with mark": ("a.csv", csv_of().encode("utf-8-sig"), {}, None),
    "utf-8 with mark jsonl": ("a.jsonl", jsonl_of(OBJECTS).encode("utf-8-sig"), {}, None),
    "NUL bytes": ("a.csv", with_row("a\0b", "pos"), {}, None),
    "only NUL bytes": ("a.csv", "\0" * 1000, {}, "there is no row in it; a csv"),
    "random bytes": ("a.csv", np.random.default_rng(0).bytes(4096), {}, "byte 0x.. is not UTF-8; a csv"),
    "random bytes as parquet": ("a.parquet", np.random.default_rng(0).bytes(4096), {}, "write the file anew"),
    "random bytes as jsonl": (
        "a.jsonl",
        np.random.default_rng(0).bytes(4096),
        {},
        "a.jsonl, line 1: byte 0x.. is not UTF-8; save the file as UTF-8",
    ),
    "a gzip called csv": ("a.csv", gzip.compress(csv_of().encode()), {}, "byte 0x.. is not UTF-8; a csv"),
    "a parquet cut short": ("a.parquet", b"PAR1" + b"\0" * 100, {}, "write the file anew"),
    "an HTML page": ("a.csv", "<!doctype html><html><body>Not found</body></html>", {}, "there is no row in it; a csv"),
    "a pickle called csv": ("a.csv", pickle.dumps({"text": ["a"], "label": [1]}), {}, "byte 0x.. is not UTF-8; a csv"),
    "windows line ends": ("a.csv", csv_of(end="\r\n"), {}, None),
    "old mac line ends": ("a.csv", csv_of(end="\r"), {}, None),
    "no last line end": ("a.csv", csv_of().rstrip("\n"), {}, None),
    "blank lines between": ("a.csv", csv_of(end="\n\n"), {}, None),
    "a column too many": ("a.csv", csv_of() + '"a","pos","x"\n', {}, "line 22.*as many fields in every line"),
    "a column too few": ("a.csv", csv_of() + '"a"\n', {}, "row 20: label "),
    "a quote never closed": ("a.csv", csv_of() + '"a,pos\n', {}, "row 21.*as many fields in every line"),
    "a line break in quotes": ("a.csv", with_row("a\nb", "pos"), {}, None),
    "semicolons": ("a.csv", csv_of().replace(",", ";"), {}, "none is known as the text; name it with --text_column"),
    "tabs called csv": (
        "a.csv",
        csv_of().replace('","', '"\t"').replace("text,label", "text\tlabel"),
        {},
        "none is known as the text; name it with --text_column",
    ),
    "no header": (
        "a.csv",
        csv_of(header=",".join(ROWS[0])),
        {},
        "none is known as the text; name it with --text_column",
    ),
    "two columns of one name": (
        "a.csv",
        csv_of(header="text,text"),
        {},
        "several columns called .text., rename all but one",
    ),
    "two texts and a label": (
        "a.csv",
        csv_of([(a, a, b) for a, b in ROWS], header="text,text,label"),
        {},
        "several columns called .text., rename all but one",
    ),
    "no text column": ("a.csv", csv_of(header="id,label"), {}, "none is known as the text; name it with --text_column"),
    "no label column": (
        "a.csv",
        csv_of(header="text,id"),
        {},
        "none is known as the label; name it with --label_column",
    ),
    "text column misnamed": (
        "a.csv",
        csv_of(),
        {"text_column": "review"},
        "column .review. not found; the data has .text., .label.; pass another --text_column",
    ),
    "label column misnamed": (
        "a.csv",
        csv_of(),
        {"label_column": "stars"},
        "column .stars. not found.*pass another --label_column",
    ),
    "text column of labels": (
        "a.csv",
        csv_of(),
        {"text_column": "label", "label_column": "label"},
        "cannot be both; name another",
    ),
    "columns swapped": (
        "a.csv",
        csv_of(),
        {"text_column": "label", "label_column": "text"},
        "row 0: label .* is not known; allowed: 0 or 1",
    ),
    "empty column name": ("a.csv", csv_of(), {"text_column": ""}, "column .. not found"),
    "column name of markup": (
        "a.csv",
        csv_of(header="text,<script>"),
        {},
        "none is known as the label; name it with --label_column",
    ),
    "an index without a name": (
        "a.csv",
        csv_of([(i, *row) for i, row in enumerate(ROWS)], header=",text,label"),
        {},
        None,
    ),
    "numbers with zeros for texts": ("a.csv", csv_of([("007", x) for _, x in ROWS]), {}, None),
    "upper case columns": ("a.csv", csv_of(header="TEXT,Label"), {}, None),
    "spaces around columns": (
        "a.csv",
        csv_of(header=" text , label "),
        {},
        "none is known as the text; name it with --text_column",
    ),
    "unknown label": (
        "a.csv",
        with_row("a", "mixed"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "empty label": (
        "a.csv",
        with_row("a", ""),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "blank label": (
        "a.csv",
        with_row("a", " "),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label nan": (
        "a.csv",
        with_row("a", "nan"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label NA": (
        "a.csv",
        with_row("a", "NA"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label 2": (
        "a.csv",
        with_row("a", "2"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label -1": (
        "a.csv",
        with_row("a", "-1"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label inf": (
        "a.csv",
        csv_of([(t, {"neg": "0", "pos": "inf"}[x]) for t, x in ROWS]),
        {},
        "row 1: label .* is not known",
    ),
    "label 1e400": (
        "a.csv",
        csv_of([(t, {"neg": "0", "pos": "1e400"}[x]) for t, x in ROWS]),
        {},
        "row 1: label .* is not known",
    ),
    "label of markup": (
        "a.csv",
        with_row("a", "<script>alert(1)</script>"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label of a megabyte": (
        "a.csv",
        with_row("a", "x" * 10**6),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "label in full width": (
        "a.csv",
        with_row("a", "\uff10"),
        {},
        "row 7: label .* is not known; allowed: 0 or 1.*correct or remove the row",
    ),
    "labels with spaces": ("a.csv", with_row("a", " Pos "), {}, None),
    "labels 0.0 and 1.0": ("a.csv", csv_of([(t, {"neg": "0.0", "pos": "1.0"}[x]) for t, x in ROWS]), {}, None),
    "labels 1 to 5": (
        "a.csv",
        csv_of([(t, i % 5 + 1) for i, (t, _) in enumerate(ROWS)]),
        {},
        "row 1: label .* is not known",
    ),
    "one class": (
        "a.csv",
        csv_of([(t, "pos") for t, _ in ROWS]),
        {},
        "none of them is NEGATIVE; both classes are needed",
    ),
    "one of the other class": (
        "a.csv",
        csv_of([*((t, "pos") for t, _ in ROWS), ("a", "neg")]),
        {},
        "too few to split off 20%",
    ),
    "one row": ("a.csv", csv_of(ROWS[:1]), {}, "none of them is POSITIVE"),
    "two rows": ("a.csv", csv_of(ROWS[:2]), {}, "too few to split off 20%"),
    "all rows the same": ("a.csv", csv_of([("a", x) for _, x in ROWS]), {}, None),
    "empty texts": ("a.csv", csv_of([("", x) for _, x in ROWS]), {}, None),
    "numbers for texts": ("a.csv", csv_of([(i, x) for i, (_, x) in enumerate(ROWS)]), {}, None),
    "true and false for texts": ("a.csv", csv_of([("true", x) for _, x in ROWS]), {}, None),
    "dates for texts": ("a.csv", csv_of([("2020-01-01", x) for _, x in ROWS]), {}, None),
    "sample of 0": ("a.csv", csv_of(), {"max_train_samples": 0}, "allowed: at least 2"),
    "sample of 1": ("a.csv", csv_of(), {"max_test_samples": 1}, "allowed: at least 2"),
    "sample below 0": ("a.csv", csv_of(), {"max_validation_samples": -5}, "allowed: at least 2"),
    "sample above all": ("a.csv", csv_of(), {"max_train_samples": 10**9}, None),
    "fraction NaN": ("a.csv", csv_of(), {"test_fraction": math.nan}, "test_fraction is nan; allowed"),
    "fraction near 0": ("a.csv", csv_of(), {"test_fraction": 1e-9}, "too few to split off"),
    "seed below 0": (
        "a.csv",
        csv_of(),
        {"split_seed": -1},
        "split_seed is .*; allowed: a whole number from 0 to 4294967295",
    ),
    "seed too large": (
        "a.csv",
        csv_of(),
        {"split_seed": 2**40},
        "split_seed is .*; allowed: a whole number from 0 to 4294967295",
    ),
    "an unknown kind": ("a.xlsx", "", {}, "are not read; allowed: .csv"),
    "no kind": ("reviews", "text,label", {}, "are not read; allowed: .csv"),
    "a kind in upper case": ("A.CSV", csv_of(), {}, None),
    "a name with spaces": ("my reviews (1).csv", csv_of(), {}, None),
    "a name with brackets": ("a[1].csv", csv_of(), {}, None),
    "a name with a star": ("a*.csv", csv_of(), {}, None),
    "a name beyond ASCII": ("r\u00e9sum\u00e9.csv", csv_of(), {}, None),
    "a name with ..": ("a..b.csv", csv_of(), {}, None),
    "a name with a percent": ("a%20b.csv", csv_of(), {}, None),
    "a name with ::": ("zip::b.csv", csv_of(), {}, "no reviews could be read"),
}


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.mark.parametrize("name", DATA)
@pytest.mark.usefixtures("own_cache")
def test_data(name, tmp_path):
    file, content, arguments, message = DATA[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if message is not None:
        refused(lambda: load_reviews(path, **arguments), message)
        return
    reviews = load_reviews(path, **arguments)
    assert len(reviews.train) + len(reviews.validation) + len(reviews.test) in (20, 21)
    assert "zeros" not in name or "007" in reviews.train["text"]


@pytest.mark.usefixtures("own_cache")
def test_a_name_is_no_pattern(tmp_path):
    (tmp_path / "a*.csv").write_text(csv_of())
    (tmp_path / "ab.csv").write_text(csv_of([("another file", label) for _, label in ROWS]))
    reviews = load_reviews(tmp_path / "a*.csv")
    assert "another file" not in {*reviews.train["text"], *reviews.validation["text"], *reviews.test["text"]}


@pytest.mark.usefixtures("own_cache")
def test_a_line_of_50_megabytes(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(with_row("word " * 10**7, "pos"))
    reviews = load_reviews(path)
    assert max(len(text) for part in (reviews.train, reviews.validation, reviews.test) for text in part["text"]) > 49e6


TEXTS = {
    "empty": "",
    "one space": " ",
    "blank": " \t\n\r\x0b\x0c\u00a0\u2003\u3000",
    "zero width": "\u200b\u200c\u200d\ufeff",
    "a word": "good",
    "unknown words": "xyzzy plugh",
    "upper case": "GOOD FILM",
    "emoji": "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "right to left": "\u0641\u064a\u0644\u0645 \u05d8\u05d5\u05d1 \u202egood",
    "combining marks": "go\u0301\u0302\u0303od " + "e" + "\u0301" * 500,
    "composed and not": "caf\u00e9 cafe\u0301",
    "chinese": "\u597d\u7535\u5f71",
    "control characters": "".join(map(chr, range(32))),
    "NUL": "good\0film",
    "the last code point": "\U0010ffff",
    "non-characters": "\ufffe\uffff",
    "replacement": "\ufffd" * 10,
    "html": "<p>good</p><br /><script>alert('x')</script>&amp;",
    "special tokens": "<pad> <unk> <PAD> <UNK> [PAD] </s> <|endoftext|>",
    "only padding": "<pad><pad> <pad>",
    "json": '{"text": "good"}',
    "template": "{{ 7 * 7 }} {% raw %} ${HOME} %s %n",
    "sql": "'; DROP TABLE reviews; --",
    "a path": "../../etc/passwd",
    "digits": "1234567890 3.14 1,000 10th \u0663",
    "punctuation": "!!! ??? ... --- '' can't \"",
    "turkish i": "\u0130stanbul \u0131",
    "ligatures": "\ufb01lm \u1e9e",
    "a long word": "a" * 100_000,
    "a million words": "good " * 1_000_000,
    "a million unknown words": "zz " * 1_000_000,
    "many line ends": "good\r\nfilm\u2028bad\u2029",
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "run"
    torch.manual_seed(0)
    tokenizer = train_tokenizer([text for text, _ in ROWS], scheme="words", vocab_size=40, max_length=12)
    config = SentimentLSTMConfig(vocab_size=len(tokenizer), embedding_size=6, hidden_size=5)
    SentimentLSTMForSequenceClassification(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def classifier(checkpoint):
    return Classifier.from_pretrained(checkpoint)


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_has_one_answer_alone_and_in_company(name, classifier):
    text = TEXTS[name]
    ((label, score),) = classifier([text])
    assert label in ("NEGATIVE", "POSITIVE")
    assert 0.5 <= score <= 1
    assert classifier(["a good film", text, ""])[1].score == pytest.approx(score, abs=1e-6)
    assert max(map(max, filter(None, classifier.token_ids([text]))), default=0) < classifier.config.vocab_size


@pytest.mark.parametrize("scheme", ["whitespace", "words"])
def test_a_tokenizer_learns_from_any_text(scheme):
    texts = [text for text in TEXTS.values() if len(text) < 10_000]
    tokenizer = train_tokenizer([*texts, "word"], scheme=scheme)
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert all(0 <= i < len(tokenizer) for i in ids)
        # Learnt from these very texts, it knows every word, and none of them is padding.
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.pad_token_id not in ids


NO_TEXTS = [None, 3, 1.5, math.nan, True, b"good", ["good"], ("good",), {"text": "good"}, object, "\ud800", "a\udfffb"]


@pytest.mark.parametrize("wrong", NO_TEXTS, ids=ascii)
def test_what_is_no_text_is_refused_with_its_place(wrong, classifier, checkpoint):
    for call in (
        lambda: classifier(["good", wrong]),
        lambda: predict(["good", wrong], model=checkpoint),
        lambda: train_tokenizer(["good", wrong]),
    ):
        refused(call, "text 1 ")
