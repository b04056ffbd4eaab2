"""Files as people have them, read by training and by prediction alike: the same rows, or the same refusal.

Every case is one line: the file, its content, the options, and what is expected: the reviews of `ROWS` where it is
None, else a part of the message.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_lstm_sentiment import Classifier, load_reviews, predict_file
from tests.demo_model import save_model
from tests.reviews import make_reviews

pytestmark = pytest.mark.usefixtures("one_thread")
# Commas, semicolons, quotes, apostrophes and line breaks in the places where they hurt.
SPECIAL = ["Well, I liked it; really", 'He said "no" twice', "It's a \\ backslash", "naïve café", "two\nlines"]
ROWS = [(t, ("neg", "pos")[y]) for t, y in [*make_reviews(12), *zip(SPECIAL, (0, 1, 0, 1, 0), strict=True)]]
PLAIN = ROWS[:12]
ONE_LINE = ROWS[:16]


def table(rows=ROWS, header=("text", "label"), end="\r\n", **options):
    file = io.StringIO()
    csv.writer(file, lineterminator=end, **options).writerows([header, *rows] if header else rows)
    return file.getvalue()


def escaped(rows, separator):
    """With quotes as Kaggle's labeledTrainData.tsv has them."""
    quoted = [[f'"{cell}"' for cell in (t.replace('"', '\\"'), y)] for t, y in rows]
    return "\n".join(map(separator.join, [["text", "label"], *quoted])) + "\n"


def objects(rows=ROWS):
    return [{"text": t, "label": y} for t, y in rows]


def indexed(rows=ROWS):
    return [(i, *row) for i, row in enumerate(rows)]


def parquet(rows=ROWS):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(objects(rows)), file)
    return file.getvalue()


FRAME = {name: {str(i): row[k] for i, row in enumerate(PLAIN)} for k, name in enumerate(("text", "label"))}
SPLIT = {"columns": ["text", "label"], "index": list(range(12)), "data": PLAIN}
LINES = "".join(json.dumps(row) + "\n" for row in objects())
EXCEL = table(delimiter=";")
SENTIMENT140 = [(y, i, "Mon Apr 06", "NO_QUERY", "user", t) for i, (t, y) in enumerate(ROWS)]
SIX = "label,id,date,query,user,text"
TABLE_IN_ONE = "it is a whole table in one object; .*orient="
WIDTH = r"row 13 \(line 14\): it has {} fields and the header 2"
CASES = {
    # Separators
    "commas": ("a.csv", table(), {}, None),
    "Excel's semicolons": ("a.csv", EXCEL, {}, None),
    "Excel's semicolons, named": ("a.csv", EXCEL, {"separator": ";"}, None),
    "semicolons, a column of two": ("a.csv", EXCEL, {"text_column": "text;label"}, "holds ';'.*--separator ';'"),
    "the advice on that, followed": ("a.csv", EXCEL, {"separator": ";", "text_column": "text"}, None),
    "tabs in .csv": ("a.csv", table(delimiter="\t"), {}, None),
    "bars": ("a.csv", table(delimiter="|"), {}, None),
    "commas in .tsv": ("a.tsv", table(), {}, None),
    "quoted semicolons": ("a.csv", table(delimiter=";", quoting=csv.QUOTE_ALL), {}, None),
    "unknown names": (
        "a.csv",
        table(delimiter=";", header=("opinion", "stars")),
        {"text_column": "opinion", "label_column": "stars"},
        None,
    ),
    "a tab by name": ("a.csv", table(delimiter="\t"), {"separator": "\\t"}, None),
    "a caret": ("a.csv", table(delimiter="^"), {"separator": "^"}, None),
    "a caret, not named": ("a.csv", table(PLAIN, delimiter="^"), {}, "none is known as the text; name it with"),
    "two separators": (
        "a.csv",
        "a;b\tc\n1;2\t3\n",
        {},
        "separated by any of ';', '.t'; name one with --separator",
    ),
    "a separator of two": ("a.csv", table(), {"separator": "::"}, "separator is '::'; allowed: one character"),
    "sep=; line": ("a.csv", "sep=;\r\n" + EXCEL, {}, None),
    "sep=, line": ("a.csv", "sep=,\n" + table(), {}, None),
    "sep=| line": ("a.csv", '"sep=|"\n' + table(delimiter="|"), {}, None),
    # Encodings and line ends
    "byte order mark": ("a.csv", EXCEL.encode("utf-8-sig"), {}, None),
    "mark and sep line": ("a.csv", ("sep=;\r\n" + EXCEL).encode("utf-8-sig"), {}, None),
    "UTF-16 text of Excel": ("a.csv", table(delimiter="\t").encode("utf-16"), {}, None),
    "UTF-16 little, no mark": ("a.csv", table().encode("utf-16-le"), {}, None),
    "UTF-16 big, no mark": ("a.tsv", table(delimiter="\t").encode("utf-16-be"), {}, None),
    "UTF-16 jsonl": ("a.jsonl", LINES.encode("utf-16"), {}, None),
    "cp1252": (
        "a.csv",
        table().encode("cp1252"),
        {},
        r"row 16 .*byte 0xef is not UTF-8; .*--encoding cp1252",
    ),
    "cp1252, named": ("a.csv", table().encode("cp1252"), {"encoding": "cp1252"}, None),
    "an unknown encoding": ("a.csv", table(), {"encoding": "klingon"}, "encoding is 'klingon'; allowed: utf-8"),
    "CR": ("a.csv", table(ONE_LINE, end="\r"), {}, None),
    "LF": ("a.csv", table(end="\n"), {}, None),
    "CR jsonl": ("a.jsonl", LINES.replace("\n", "\r"), {}, None),
    # Headers
    "spaces around names": ("a.csv", table(header=(" text ", " label")), {}, None),
    "spaces behind commas": ("a.csv", "text, label\n" + "".join(f'"{t}", {y}\n' for t, y in PLAIN), {}, None),
    "trailing empty columns": ("a.csv", table([(*r, "", "") for r in ROWS], ("text", "label", "", "")), {}, None),
    "trailing empty fields": ("a.csv", table([(*r, "") for r in ROWS]), {}, None),
    "an index of pandas": ("a.csv", table(indexed(), ("", "text", "label")), {}, None),
    "an index of R": ("a.csv", table(indexed()), {}, r"row 1 \(line 2\): it has 3 fields and the header 2"),
    "a header in the middle": ("a.csv", table([*ROWS[:5], ("text", "label"), *ROWS[5:]]), {}, None),
    "no header": ("a.csv", table(SENTIMENT140, header=None), {}, "none is known as the text.*--column_names"),
    "the advice on that": ("a.csv", table(SENTIMENT140, header=None), {"column_names": SIX}, None),
    "a first row that ends in review": ("a.csv", "a good review,1\nbad,0\n", {}, "none is known as the text"),
    "names and a header": ("a.csv", table(), {"column_names": "text,label"}, "its first line is a header, .*leave"),
    "names and another": ("a.csv", table(header=("Review", "Class")), {"column_names": "text,label"}, "is a header"),
    "names as a list": ("a.csv", table(header=None), {"column_names": ["text", "label"]}, None),
    "no header, semicolons": ("a.csv", table(header=None, delimiter=";"), {"column_names": "text,label"}, None),
    "too few names": ("a.csv", table(SENTIMENT140, header=None), {"column_names": "text,label"}, "has 6 fields and"),
    "an empty name": ("a.csv", table(), {"column_names": "text,,label"}, "allowed: a name for each column"),
    "two of one name": ("a.csv", table([(t, t, y) for t, y in ROWS], ("text", "text", "label")), {}, "several columns"),
    # Quotes and widths
    "a lone quote": (
        "a.csv",
        table(PLAIN) + '"Great,pos\nBad,neg\n',
        {},
        r"row 13 \(line 14\): unexpected end",
    ),
    "a lone quote in .tsv": (
        "a.tsv",
        "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in [*PLAIN, ('"Great', "pos"), ('a "fine', "neg")]),
        {},
        [*PLAIN, ('"Great', "pos"), ('a "fine', "neg")],
    ),
    "two lone quotes in .tsv": (
        "a.tsv",
        "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in [*PLAIN, ('"Great', "pos"), ('fine"', "neg")]),
        {},
        [*PLAIN, ('"Great', "pos"), ('fine"', "neg")],
    ),
    "quoted .tsv": ("a.tsv", table(delimiter="\t"), {}, None),
    "Kaggle's .tsv": ("labeledTrainData.tsv", escaped(ONE_LINE, "\t"), {}, None),
    "escaped quotes in .csv": ("a.csv", escaped(ONE_LINE, ","), {}, None),
    "too many fields": ("a.csv", table(PLAIN) + "well, done,pos\n", {}, WIDTH.format(3)),
    "too few fields": ("a.csv", table(PLAIN) + "well done\n", {}, WIDTH.format(1)),
    "too few in .tsv": ("a.tsv", table(PLAIN, delimiter="\t") + "well done\n", {}, WIDTH.format(1)),
    # Columns
    "review_text": ("a.csv", table(header=("review_text", "label")), {}, None),
    "reviewText": ("a.csv", table(header=("reviewText", "label")), {}, None),
    "review_text and comment": (
        "a.csv",
        table([(t, t, y) for t, y in ROWS], ("review_text", "comment", "label")),
        {},
        r"several could be the text \('review_text', 'comment'\); name it with --text_column",
    ),
    # Other forms
    ".ndjson": ("a.ndjson", LINES, {}, None),
    "a list": ("a.json", json.dumps(objects()), {}, None),
    "an indented list": ("a.json", json.dumps(objects(), indent=2), {}, None),
    "pandas' columns": ("a.json", json.dumps(FRAME), {}, TABLE_IN_ONE),
    "pandas' index": ("a.json", json.dumps({str(i): o for i, o in enumerate(objects())}), {}, TABLE_IN_ONE),
    "pandas' split": ("a.json", json.dumps(SPLIT), {}, TABLE_IN_ONE),
    "pandas' values": ("a.json", json.dumps(PLAIN), {}, "row 1: it is a list; a list of objects is read"),
    "lists of columns": ("a.json", json.dumps({"text": ["a"], "label": [1]}), {}, TABLE_IN_ONE),
    "parquet": ("a.parquet", parquet(), {}, None),
    "csv.gz": ("a.csv.gz", gzip.compress(table().encode()), {}, None),
    "jsonl.gz": ("a.jsonl.gz", gzip.compress(LINES.encode()), {}, None),
    "gzip without its name": ("a.csv", gzip.compress(table().encode()), {}, None),
    "gzip cut short": ("a.csv.gz", gzip.compress(table().encode())[:200], {}, "cannot be decompressed .*is damaged"),
    "a workbook": ("a.csv", b"PK\x03\x04rest", {}, "a zip archive or a workbook; .*save the table as csv"),
    "fastText": ("a.txt", "".join(f"__label__{y} {t}\n" for t, y in ONE_LINE), {}, None),
    "fastText, half": ("a.txt", "__label__pos good\nbad\n", {}, r"row 2 \(line 2\): .*begins with none or several"),
    "fastText, two labels": ("a.txt", "__label__pos __label__neg good\n", {}, "none or several __label__"),
    "labels behind tabs in .txt": ("a.txt", "".join(f"{t}\t{y}\n" for t, y in ONE_LINE), {}, "call the file .tsv, and"),
    "the advice on tabs": (
        "a.tsv",
        "".join(f"{t}\t{y}\n" for t, y in ONE_LINE),
        {"column_names": "text,label"},
        ONE_LINE,
    ),
    # Missing texts
    "null": ("a.jsonl", LINES + '{"text": null, "label": 1}\n', {}, r"row 18 \(line 18\): the text is None; every row"),
    "null in parquet": ("a.parquet", parquet([*PLAIN, (None, "pos")]), {}, "row 13: the text is None; every row"),
    "no text": ("a.jsonl", LINES + '{"label": 1}\n', {}, r"row 18 \(line 18\): the text is None; every row"),
    "a number": ("a.jsonl", LINES + '{"text": 1.0, "label": 1}\n', {}, r"row 18 \(line 18\): the text is 1.0; every"),
}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    return Classifier.from_pretrained(save_model(tmp_path_factory.mktemp("model") / "run"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def learned(path, **options):
    """What training reads of a file, in its order."""
    found = load_reviews(path, **options)
    parts = (found.train, found.validation, found.test)
    rows = sorted(row for part in parts for row in zip(part["row"], part["text"], part["label"], strict=True))
    return [(text, ("neg", "pos")[label]) for _, text, label in rows]


def predicted(path, classifier, **options):
    """What prediction reads of a file: texts whose predictions and other columns are all there."""
    output = path.with_name("output.jsonl")
    text_column = options.get("text_column")
    options = {name: value for name, value in options.items() if name not in ("label_column", "labels")}
    predict_file(path, output, model=classifier, batch_size=4, **options)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n") if line]
    names = [text_column] if text_column else ["text", "review_text", "reviewText"]
    texts = [next(row[name] for name in names if name in row) for row in rows]
    labels = [prediction.label for prediction in classifier(texts, batch_size=4)]
    assert [row.get("predicted_label", row["label"]) for row in rows] == labels
    return texts


@pytest.mark.parametrize("name", CASES)
def test_training_and_prediction_read_the_same(name, tmp_path, classifier):
    file, content, options, expected = CASES[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if isinstance(expected, str):
        for read in (lambda: learned(path, **options), lambda: predicted(path, classifier, **options)):
            with pytest.raises(ValueError, match=expected):
                read()
        return
    shorter = any(word in name for word in ("fastText", "CR", "Kaggle", "escaped"))
    rows = expected or (ONE_LINE if shorter and name != "CR jsonl" else PLAIN if "behind" in name else ROWS)
    assert learned(path, **options) == rows
    assert predicted(path, classifier, **options) == [text for text, _ in rows]


def class_labels(*names, values=None):
    """A data set on disk whose label column has names."""
    values = values or [y == "pos" for _, y in PLAIN]
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    columns = {"text": [text for text, _ in PLAIN], "label": list(map(int, values))}
    return datasets.Dataset.from_dict(columns, features=features)


TURNED = [y == "neg" for _, y in PLAIN]
THREE = [2 * (y == "pos") for _, y in PLAIN]
NAMED = {
    "negative, positive": (class_labels("negative", "positive"), None),
    "positive, negative": (class_labels("positive", "negative", values=TURNED), None),
    "good, bad": (class_labels("good", "bad", values=TURNED), None),
    "Fresh, Rotten": (class_labels("Fresh", "Rotten", values=TURNED), None),
    "LABEL_1, LABEL_0": (class_labels("LABEL_1", "LABEL_0", values=TURNED), None),
    "three with one left out": (class_labels("negative", "neutral", "positive", values=THREE), None),
    "three in another order": (class_labels("pos", "neu", "neg", values=[2 - v for v in THREE]), None),
    "three": (
        class_labels("neg", "neu", "pos", values=[1, *THREE[1:]]),
        "row 1: label 'neu' is not known; allowed",
    ),
}


@pytest.mark.parametrize("kind", ["saved", "parquet"])
@pytest.mark.parametrize("name", NAMED)
def test_names_of_classes_are_used_or_refused(name, kind, tmp_path):
    data, expected = NAMED[name]
    path = tmp_path / f"data.{kind}"
    if kind == "saved":
        data.save_to_disk(path)
    else:
        data.to_parquet(path)
    if expected is None:
        assert learned(path) == PLAIN
    else:
        with pytest.raises(ValueError, match=expected):
            learned(path)


LABELS = {
    # negative, positive, option, message
    "booleans": ("False", "True", None, None),
    "upper case booleans": ("FALSE", "TRUE", None, None),
    "words": ("rotten", "fresh", None, None),
    "a model's": ("LABEL_0", "LABEL_1", None, None),
    "0 and 4, said": ("0", "4", "0=negative 4=positive", None),
    "1 and 2, said": ("1", "2", {"1": "neg", "2": "pos"}, None),
    "turned, said": ("1", "0", "1=negative 0=positive", None),
    "more words": ("very bad", "so=so", "'very bad=negative' so=so=positive", None),
    "half said": ("0", "4", "0=negative", "label '4' is not known; allowed: '0'"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_are_understood_or_explained(name, tmp_path):
    negative, positive, labels, message = LABELS[name]
    path = tmp_path / "a.csv"
    path.write_text(table([(t, positive if y == "pos" else negative) for t, y in PLAIN]))
    if message is None:
        assert learned(path, labels=labels) == PLAIN
    else:
        with pytest.raises(ValueError, match=message):
            learned(path, labels=labels)


def test_rows_of_labels_without_a_meaning_are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(table([*PLAIN[:5], ("so so", "3"), *PLAIN[5:], ("hm", "3")]))
    assert learned(path, labels="neg=negative pos=positive 3=") == PLAIN
    reviews = load_reviews(path, labels="neg=negative pos=positive 3=")
    rows = sorted(row for part in (reviews.train, reviews.validation, reviews.test) for row in part["row"])
    assert rows == [*range(5), *range(6, 13)]


def test_folders_of_texts_as_aclimdb_has_them(tmp_path, classifier):
    for split, rows in (("train", PLAIN), ("test", PLAIN[:6])):
        for i, (text, label) in enumerate(rows):
            folder = tmp_path / "aclImdb" / split / label
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}_7.txt").write_text(text)
    unlabeled = tmp_path / "aclImdb" / "train" / "unsup"
    unlabeled.mkdir()
    (unlabeled / "0_0.txt").write_text("any\n")
    (tmp_path / "aclImdb" / "imdb.vocab").write_text("the\n")
    reviews = load_reviews(tmp_path / "aclImdb", unlabeled=True)
    assert (len(reviews.train), len(reviews.validation), len(reviews.test)) == (10, 2, 6)
    assert list(zip(reviews.test["text"], reviews.test["label"], strict=True)) == [
        (text, int(label == "pos")) for label in ("neg", "pos") for text, y in PLAIN[:6] if y == label
    ]
    assert reviews.unlabeled["text"][:] == ["any"]
    assert sorted(learned(tmp_path / "aclImdb" / "train")) == sorted(PLAIN)
    with pytest.raises(ValueError, match=r"train is a directory; name its files"):
        predicted(tmp_path / "aclImdb" / "train", classifier)


def test_the_console_says_which_columns_are_read(tmp_path, classifier, caplog):
    path = tmp_path / "a.csv"
    path.write_text(table([(t, t, y) for t, y in PLAIN], ("clean_text", "review", "sentiment"), delimiter=";"))
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        load_reviews(path)
        predict_file(path, tmp_path / "out.csv", model=classifier)
    said = "texts from column 'review' (not 'clean_text': choose with --text_column)"
    assert f"train reviews: {said}, labels from column 'sentiment'" in caplog.messages
    assert f"{path}: {said}" in caplog.messages
    assert "a.csv: its fields are separated by ';'" in caplog.messages


def test_headers_that_come_again_are_told(tmp_path, classifier, caplog):
    path = tmp_path / "a.csv"
    path.write_text(table([*PLAIN, ("text", "label"), *PLAIN, ("text", "label")]))
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        assert predict_file(path, tmp_path / "out.csv", model=classifier) == 24
    assert caplog.text.count("the header comes again in 2 places, where it is left out") == 1


def test_bad_rows_are_set_aside_and_counted(tmp_path, classifier, caplog):
    path, output = tmp_path / "a.jsonl", tmp_path / "out.csv"
    path.write_text('{"text": "good"}\n{"text": null, "id": 7}\n\nnull\n{"text": "bad"}\n{"text"')
    with pytest.raises(ValueError, match=r"row 2 \(line 2\): the text is None; .*; --skip_bad_rows leaves such"):
        predict_file(path, output, model=classifier)
    assert predict_file(path, output, model=classifier, skip_bad_rows=True) == 2
    with output.open(newline="") as file:
        assert [row["text"] for row in csv.DictReader(file)] == ["good", "bad"]
    bad = [json.loads(line) for line in (tmp_path / "out.csv.bad_rows.jsonl").read_text().splitlines()]
    assert [(row["number"], row["line"]) for row in bad] == [(2, 2), (3, 4), (5, 6)]
    assert bad[0]["row"] == {"text": None, "id": 7}
    assert bad[1]["problem"].startswith("it is null")
    assert f"3 rows that could not be read are in {tmp_path / 'out.csv.bad_rows.jsonl'}" in caplog.messages
    path.write_text("id,text\n1,good\n2\n3,bad\n")
    csv_path = path.rename(tmp_path / "b.csv")
    assert predict_file(csv_path, tmp_path / "b.jsonl", model=classifier, skip_bad_rows=True) == 2
    assert predict_file(tmp_path / "b.jsonl", tmp_path / "c.jsonl", model=classifier, skip_bad_rows=True) == 2
    assert not (tmp_path / "c.jsonl.bad_rows.jsonl").exists()


@pytest.mark.parametrize("taken", ["Label", "SCORE"])
def test_added_columns_never_differ_by_their_case_alone(tmp_path, classifier, taken):
    path = tmp_path / "a.csv"
    path.write_text(f"text,{taken}\ngood,1\n")
    predict_file(path, tmp_path / "out.csv", model=classifier)
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == f"text,{taken},predicted_label,predicted_score"


def test_numbers_that_are_none_never_reach_json(tmp_path, classifier):
    rows = [{"text": "a", "n": float("nan"), "more": {"x": [float("inf"), 1.5]}}]
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0]))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for kind in ("jsonl", "parquet"):
        predict_file(tmp_path / f"a.{kind}", tmp_path / f"{kind}.jsonl", model=classifier)
        text = (tmp_path / f"{kind}.jsonl").read_text()
        row = json.loads(text, parse_constant=lambda name: pytest.fail(name))
        assert (row["n"], row["more"]) == (None, {"x": [None, 1.5]})
