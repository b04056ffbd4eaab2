"""Files of reviews as strangers have them: the reviews, or a readable error.

Every case is one line: the file, its content, and a part of the message, or `None` where there are reviews.
"""

from __future__ import annotations

import gzip
import json
import math
import pickle
import sys

import datasets
import numpy as np
import pytest

from hf_lstm_sentiment import load_reviews
from tests.reviews import make_reviews, refused

ROWS = [(text, ("neg", "pos")[label]) for text, label in make_reviews(20)]
OBJECTS = [{"text": text, "label": label} for text, label in ROWS]
RANDOM = np.random.default_rng(0).bytes(4096)


def csv_of(rows=ROWS, header="text,label", end="\n"):
    return end.join([header, *(",".join(f'"{field}"' for field in row) for row in rows)]) + end


def jsonl_of(rows):
    return "\n".join(json.dumps(row) for row in rows)


def with_row(text, label):
    return csv_of([*ROWS[:7], (text, label), *ROWS[7:]])


def with_object(**row):
    return jsonl_of([*OBJECTS, row])


def relabeled(**names):
    return csv_of([(text, names[label]) for text, label in ROWS])


def all_texts(text):
    return csv_of([(text, label) for _, label in ROWS])


NO_ROW = "holds no row"
IS_EMPTY = "is empty; a .* file starts with a line of column names"
NO_PARQUET = "a.parquet cannot be read as a Parquet file: .*; write it anew"
NOT_UTF8 = "byte 0x.. is not UTF-8"
NO_TEXT_COLUMN = "none is known as the text; name it with --text_column"
NO_LABEL_COLUMN = "none is known as the label; name it with --label_column"
TWO_NAMES = "several columns called .text.; rename all but one"
LABEL = "row {}.*: label .* is not known; allowed: 0 or 1"
MISSING = r"row {} .*: the label is missing .*; correct or remove the row"
FRACTION = "label .* is a number with a fraction; .*: round them, or say what each means: --labels"
ONE_OBJECT, A_LIST = "; one object per line is read", "; a list of objects is read"
DEEP = "its values are nested more than 100 deep; flatten or remove them"
FILES = {
    # What is no data at all
    "empty csv": ("a.csv", "", IS_EMPTY),
    "empty tsv": ("a.tsv", "", IS_EMPTY),
    "empty jsonl": ("a.jsonl", "", NO_ROW),
    "empty json": ("a.json", "", NO_ROW),
    "empty parquet": ("a.parquet", "", NO_PARQUET),
    "blank csv": ("a.csv", "\n\n\n", IS_EMPTY),
    "blank jsonl": ("a.jsonl", "\n\n", NO_ROW),
    "header only": ("a.csv", "text,label\n", NO_ROW),
    "only NUL bytes": ("a.csv", "\0" * 1000, NO_TEXT_COLUMN),
    "an HTML page": ("a.csv", "<!doctype html><html><body>Not found</body></html>", NO_TEXT_COLUMN),
    "random bytes": ("a.csv", RANDOM, NOT_UTF8),
    "random bytes as jsonl": ("a.jsonl", RANDOM, f"a.jsonl, row 1: {NOT_UTF8}"),
    "random bytes as parquet": ("a.parquet", RANDOM, NO_PARQUET),
    "a parquet cut short": ("a.parquet", b"PAR1" + b"\0" * 100, NO_PARQUET),
    "a gzip called csv": ("a.csv", gzip.compress(csv_of().encode()), None),
    "a pickle called csv": ("a.csv", pickle.dumps({"text": ["a"], "label": [1]}), NOT_UTF8),
    "an unknown kind": ("a.xlsx", "", "are not read; allowed: .csv"),
    "no kind": ("reviews", "text,label", "are not read; allowed: .csv"),
    # json
    "json: half a character": ("a.json", b"\xf0", "a.json, row 1: byte 0xf0 is not UTF-8; save the file as UTF-8"),
    "json: []": ("a.json", "[]", NO_ROW),
    "json: {}": ("a.json", "{}", NO_ROW),
    "json: a number": ("a.json", "3", f"a.json, row 1 .line 1.: it is an int{ONE_OBJECT}"),
    "json: a list of texts": ("a.json", '["a", "b"]', f"a.json, row 1: it is a str{A_LIST}"),
    "json: null in a list": ("a.json", json.dumps([None, *OBJECTS]), f"a.json, row 1: it is null{A_LIST}"),
    "json: a broken list": ("a.json", json.dumps(OBJECTS, indent=1)[:-2], f"line 81, character 3{A_LIST}"),
    "json: a list over many lines": ("a.json", "\ufeff\n" + json.dumps(OBJECTS, indent=4), None),
    "json: an object per line": ("a.json", jsonl_of(OBJECTS), None),
    "json: columns": (
        "a.json",
        '{"text": ["a", "b"], "label": [0, 1]}',
        "it is a whole table in one object",
    ),
    "jsonl: texts": ("a.jsonl", '"a"\n"b"', f"a.jsonl, row 1 .line 1.: it is a str{ONE_OBJECT}"),
    "jsonl: a broken line": (
        "a.jsonl",
        jsonl_of(OBJECTS) + '\n{"text": "a',
        "row 21 .line 21.: it is not JSON: Unterminated",
    ),
    "jsonl: not json": ("a.jsonl", "hello\nworld", "row 1 .line 1.: it is not JSON: Expecting value, character 1"),
    "jsonl: single quotes": ("a.jsonl", "{'text': 'a', 'label': 1}", "row 1 .line 1.: it is not JSON: .*, character 2"),
    "jsonl: null first": ("a.jsonl", "null\n" + jsonl_of(OBJECTS), f"a.jsonl, row .* .line 1.: it is null{ONE_OBJECT}"),
    "jsonl: null among": (
        "a.jsonl",
        jsonl_of(OBJECTS) + "\n\n null",
        f"a.jsonl, row .* .line 22.: it is null{ONE_OBJECT}",
    ),
    "jsonl: half a pair": (
        "a.jsonl",
        with_object(text="\ud800", label="pos"),
        "row 21 .line 21.: it holds half of a surrogate",
    ),
    "jsonl: a key twice": (
        "a.jsonl",
        '{"text": "a", "text": "b"}',
        "row 1 .line 1.: it has two values called .text.; remove",
    ),
    "jsonl: far too deep": ("a.jsonl", f'{{"text": {"[" * 3000}{"]" * 3000}}}', f"row 1 .line 1.: {DEEP}"),
    "jsonl: too deep": (
        "a.jsonl",
        jsonl_of(OBJECTS) + f'\n{{"more": {"[" * 101}{"]" * 101}}}',
        f"row 21 .line 21.: {DEEP}",
    ),
    "jsonl: many brackets": ("a.jsonl", with_object(text="[{" * 200, label="pos", more=[[[]], {"a": {}}]), None),
    "jsonl: 5,000 digits": (
        "a.jsonl",
        f'{{"label": {"1" * 5000}}}',
        "row 1 .line 1.: it holds a number of more than 4,300",
    ),
    "jsonl: more columns later": ("a.jsonl", with_object(text="a", label="pos", more=1), None),
    "jsonl: columns of many kinds": (
        "a.jsonl",
        jsonl_of({**o, "more": [None, [], {}, {"a": [1]}, "b", 2.5, [None]][i % 7]} for i, o in enumerate(OBJECTS)),
        None,
    ),
    # Encodings and lines
    "latin-1": ("a.csv", with_row("caf\u00e9", "pos").encode("latin-1"), NOT_UTF8),
    "utf-16": ("a.csv", csv_of().encode("utf-16"), None),
    "utf-16 jsonl": ("a.jsonl", jsonl_of(OBJECTS).encode("utf-16"), None),
    "utf-8 with mark": ("a.csv", csv_of().encode("utf-8-sig"), None),
    "utf-8 with mark jsonl": ("a.jsonl", jsonl_of(OBJECTS).encode("utf-8-sig"), None),
    "NUL bytes": ("a.csv", with_row("a\0b", "pos"), None),
    "windows line ends": ("a.csv", csv_of(end="\r\n"), None),
    "old mac line ends": ("a.csv", csv_of(end="\r"), None),
    "no last line end": ("a.csv", csv_of().rstrip("\n"), None),
    "blank lines between": ("a.csv", csv_of(end="\n\n"), None),
    "a line break in quotes": ("a.csv", with_row("a\nb", "pos"), None),
    "a column too many": ("a.csv", csv_of() + '"a","pos","x"\n', "row 21 .line 22.: it has 3 fields and the header 2"),
    "a column too few": ("a.csv", csv_of() + '"a"\n', "row 21 .line 22.: it has 1 fields and the header 2"),
    "a quote never closed": (
        "a.csv",
        csv_of() + '"a,pos\n',
        "row 21 .line 22.: unexpected end of data; correct",
    ),
    "semicolons": ("a.csv", csv_of().replace(",", ";"), None),
    "tabs called csv": ("a.csv", csv_of().replace('","', '"\t"').replace("text,", "text\t"), None),
    # Columns
    "no header": ("a.csv", csv_of(header=",".join(ROWS[0])), NO_TEXT_COLUMN),
    "no text column": ("a.csv", csv_of(header="id,label"), NO_TEXT_COLUMN),
    "no label column": ("a.csv", csv_of(header="text,id"), NO_LABEL_COLUMN),
    "a column of markup": ("a.csv", csv_of(header="text,<script>"), NO_LABEL_COLUMN),
    "spaces around columns": ("a.csv", csv_of(header=" text , label "), None),
    "upper case columns": ("a.csv", csv_of(header="TEXT,Label"), None),
    "two texts": ("a.csv", csv_of(header="text,text"), TWO_NAMES),
    "two texts and a label": ("a.csv", csv_of([(a, a, b) for a, b in ROWS], header="text,text,label"), TWO_NAMES),
    "an index": ("a.csv", csv_of([(i, *row) for i, row in enumerate(ROWS)], header=",text,label"), None),
    # Texts
    "mixed texts": ("a.jsonl", with_object(text=3, label="pos"), "row 21.*: the text is .*correct or"),
    "a text of null": (
        "a.jsonl",
        with_object(text=None, label="pos"),
        "row 21.*: the text is .*correct or",
    ),
    "a text that is missing": (
        "a.jsonl",
        with_object(label="pos"),
        "row 21.*: the text is .*correct or",
    ),
    **{
        f"texts like {value!r}": (
            "a.jsonl",
            jsonl_of([{**o, "text": value} for o in OBJECTS]),
            "row 1.*: the text is .*with --text_column",
        )
        for value in (["a"], 3, {"a": 1})
    },
    **{f"texts of {text!r}": ("a.csv", all_texts(text), None) for text in ("a", "", "007", "7", "true", "2020-01-01")},
    # Labels
    **{
        f"label {label[:30]!r}": ("a.csv", with_row("a", label), LABEL.format(8) + ".*correct or remove the row")
        for label in ("mixed", "NA", "2", "-1", "<script>alert(1)</script>", "x" * 10**6, "\uff10")
    },
    **{f"label {label!r}": ("a.csv", with_row("a", label), MISSING.format(8)) for label in ("", " ", "nan")},
    "label inf": ("a.csv", relabeled(neg="0", pos="inf"), "row 2.*: " + FRACTION),
    "label 1e400": ("a.csv", relabeled(neg="0", pos="1e400"), "row 2.*: " + FRACTION),
    "labels 1 to 5": ("a.csv", csv_of([(t, i % 5 + 1) for i, (t, _) in enumerate(ROWS)]), "4 of '1'.*too few"),
    "labels 0.0 and 1.0": ("a.csv", relabeled(neg="0.0", pos="1.0"), None),
    "labels with spaces": ("a.csv", with_row("a", " Pos "), None),
    "labels of bool": ("a.jsonl", jsonl_of([{**o, "label": o["label"] == "pos"} for o in OBJECTS]), None),
    "labels of float": ("a.jsonl", jsonl_of([{**o, "label": float(o["label"] == "pos")} for o in OBJECTS]), None),
    "labels of two kinds": ("a.jsonl", with_object(text="a", label=1), None),
    "half a label": ("a.jsonl", with_object(text="a", label=0.5), "row 21.*: " + FRACTION),
    "a label of null": ("a.jsonl", with_object(text="a", label=None), MISSING.format(21)),
    "a label of NaN": ("a.jsonl", with_object(text="a", label=math.nan), MISSING.format(21)),
    "a list of labels": ("a.jsonl", with_object(text="a", label=[1]), "row 21.*: .*one label per review"),
    # How many
    "one class": ("a.csv", relabeled(neg="pos", pos="pos"), "none of them is NEGATIVE; both classes are needed"),
    "one of the other class": ("a.csv", csv_of([("a", "neg"), *ROWS[1::2]]), "too few to split off 20%"),
    "one row": ("a.csv", csv_of(ROWS[:1]), "none of them is POSITIVE"),
    "two rows": ("a.csv", csv_of(ROWS[:2]), "too few to split off 20%"),
    # Names
    **{
        f"called {name}": (name, csv_of(), None)
        for name in (
            "A.CSV",
            "my reviews (1).csv",
            "a[1].csv",
            "a*.csv",
            "r\u00e9sum\u00e9.csv",
            "a..b.csv",
            "a%20b.csv",
        )
    },
    "called zip::b.csv": ("zip::b.csv", csv_of(), None),
}
SEED = "split_seed is .*; allowed: a whole number from 0 to 4294967295"
ARGUMENTS = [
    ({"text_column": "review"}, "column .review. not found; the data has .text., .label.; pass another --text_column"),
    ({"label_column": "stars"}, "column .stars. not found.*pass another --label_column"),
    ({"text_column": "label", "label_column": "label"}, "cannot be both; name another"),
    ({"text_column": "label", "label_column": "text"}, "in one training review only, and so do 19 more"),
    ({"text_column": ""}, "column .. not found"),
    ({"max_train_samples": 0}, "allowed: at least 2"),
    ({"max_test_samples": 1}, "allowed: at least 2"),
    ({"max_validation_samples": -5}, "allowed: at least 2"),
    ({"max_train_samples": 10**9}, None),
    ({"test_fraction": math.nan}, "test_fraction is nan; allowed"),
    ({"test_fraction": 1e-9}, "too few to split off"),
    ({"split_seed": -1}, SEED),
    ({"split_seed": 2**40}, SEED),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def texts_of(reviews):
    return [text for part in (reviews.train, reviews.validation, reviews.test) for text in part["text"]]


@pytest.mark.parametrize("name", FILES)
def test_a_file(name, tmp_path):
    file, content, message = FILES[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if message is not None:
        refused(lambda: load_reviews(path), message)
        return
    texts = texts_of(load_reviews(path))
    assert len(texts) in (20, 21)
    assert "007" not in name or set(texts) == {"007"}


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS)
def test_arguments(arguments, message, tmp_path):
    (tmp_path / "a.csv").write_text(csv_of())
    if message is None:
        assert len(texts_of(load_reviews(tmp_path / "a.csv", **arguments))) == 20
    else:
        refused(lambda: load_reviews(tmp_path / "a.csv", **arguments), message)


@pytest.mark.parametrize("module", ["datasets", "sklearn"])
def test_a_missing_extra_is_named(module, tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(csv_of())
    for source in (tmp_path / "a.csv", "stanfordnlp/imdb"):
        monkeypatch.setitem(sys.modules, module, None)
        refused(lambda source=source: load_reviews(source), r'pip install "hf_lstm_sentiment\[train\]"')


def test_a_name_is_no_pattern(tmp_path):
    (tmp_path / "a*.csv").write_text(csv_of())
    (tmp_path / "ab.csv").write_text(all_texts("another file"))
    assert "another file" not in texts_of(load_reviews(tmp_path / "a*.csv"))


def test_a_line_of_50_megabytes(tmp_path):
    (tmp_path / "a.csv").write_text(with_row("word " * 10**7, "pos"))
    assert max(map(len, texts_of(load_reviews(tmp_path / "a.csv")))) > 49e6
