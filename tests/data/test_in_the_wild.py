"""Files as people have them, read by training, prediction and the demo alike: the same rows, or the same refusal.

Every case is one line: the file, its content, the options, and what is expected: the reviews of `ROWS` where it is
None, other reviews, or a part of the message.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import logging
import os
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_lstm_sentiment import load_reviews, predict_file
from hf_lstm_sentiment.demo.page import Models, classify_many
from tests.demo_model import save_model
from tests.reviews import make_reviews, refused, rows_of

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")
# Commas, semicolons, quotes, apostrophes and line breaks in the places where they hurt.
SPECIAL = ["Well, I liked it; really", 'He said "no" twice', "It's a \\ backslash", "naïve café", "two\nlines"]
ROWS = [(t, ("neg", "pos")[y]) for t, y in [*make_reviews(12), *zip(SPECIAL, (0, 1, 0, 1, 0), strict=True)]]
PLAIN, ONE_LINE = ROWS[:12], ROWS[:16]
RANDOM = np.random.default_rng(0).bytes(4096)


def table(rows=ROWS, header=("text", "label"), end="\r\n", **options):
    file = io.StringIO()
    csv.writer(file, lineterminator=end, **options).writerows([header, *rows] if header else rows)
    return file.getvalue()


def tabs(rows, header="text\tlabel\n"):
    """Without quotes around anything."""
    return header + "".join(f"{t}\t{y}\n" for t, y in rows)


def escaped(rows, separator):
    """With quotes as Kaggle's labeledTrainData.tsv has them."""
    quoted = [[f'"{cell}"' for cell in (t.replace('"', '\\"'), y)] for t, y in rows]
    return "\n".join(map(separator.join, [["text", "label"], *quoted])) + "\n"


def objects(rows=ROWS):
    return [{"text": t, "label": y} for t, y in rows]


def with_object(**row):
    return LINES + json.dumps(row)


def parquet(rows=ROWS):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(objects(rows)), file)
    return file.getvalue()


LINES = "".join(json.dumps(row) + "\n" for row in objects())
EXCEL = table(delimiter=";")
INDEXED = [(i, *row) for i, row in enumerate(ROWS)]
TWICE = [(t, t, y) for t, y in ROWS]
OPINION = {"text_column": "opinion", "label_column": "stars"}
SENTIMENT140 = table([(y, i, "Mon Apr 06", "NO_QUERY", "user", t) for i, (t, y) in enumerate(ROWS)], header=None)
SIX = {"column_names": "label,id,date,query,user,text"}
TWO = {"column_names": "text,label"}
LONE = [*PLAIN, ('"Great', "pos"), ('a "fine', "neg"), ('fine"', "neg")]
CYRILLIC = [("\u0445\u043e\u0440\u043e\u0448\u043e" * 9, y) for _, y in PLAIN]
KINDS = [{**o, "more": [None, [], {}, {"a": [1]}, "b", 2.5, [None]][i % 7]} for i, o in enumerate(objects())]
NO_TEXT = r"row 18 \(line 18\): the text is {}; every row needs a string .*with --text_column"
AS_ONE = "its first line is read as one column, 'text.label'; name what separates its fields with --separator"
NO_TEXT_COLUMN = "no column is known as the text; name it with --text_column"
WIDTH = r"row 13 \(line 14\): it has {} fields and the header 2"
TABLE_IN_ONE = "it is a whole table in one object; .*orient="
AN_OBJECT = "; an object per row is read"
DEEP = "its values are nested too deep; flatten or remove them"
LAST = r"row 18 \(line 18\): "
NOT_UTF8 = "byte 0x.. is not UTF-8"
NO_PARQUET = "a.parquet cannot be read as a Parquet file: .*; write it anew"
CASES = {
    # Separators
    "commas": ("a.csv", table(), {}, None),
    "Excel's semicolons": ("a.csv", EXCEL, {}, None),
    "tabs in .csv": ("a.csv", table(delimiter="\t"), {}, None),
    "bars": ("a.csv", table(delimiter="|"), {}, None),
    "quoted semicolons": ("a.csv", table(delimiter=";", quoting=csv.QUOTE_ALL), {}, None),
    "unknown names": ("a.csv", table(delimiter=";", header=("opinion", "stars")), OPINION, None),
    "a tab by name": ("a.csv", table(delimiter="\t"), {"separator": "\\t"}, None),
    "a caret": ("a.csv", table(delimiter="^"), {"separator": "^"}, None),
    "a caret, not named": ("a.csv", table(PLAIN, delimiter="^"), {}, AS_ONE),
    "a caret, the line named": ("a.csv", table(PLAIN, delimiter="^"), {"text_column": "text^label"}, AS_ONE),
    "another one named": ("a.csv", EXCEL, {"separator": ","}, AS_ONE),
    "two separators": ("a.csv", "a;b\tc\n1;2\t3\n", {}, "separated by any of ';', '.t'; name one with --separator"),
    "a separator of two": ("a.csv", table(), {"separator": "::"}, "separator is '::'; allowed: one character"),
    "sep=; line": ("a.csv", "sep=;\r\n" + EXCEL, {}, None),
    "sep=| line": ("a.csv", '"sep=|"\n' + table(delimiter="|"), {}, None),
    # Encodings and line ends
    "byte order mark": ("a.csv", EXCEL.encode("utf-8-sig"), {}, None),
    "UTF-16 text of Excel": ("a.csv", table(delimiter="\t").encode("utf-16"), {}, None),
    "UTF-16 little, no mark": ("a.csv", table().encode("utf-16-le"), {}, None),
    "UTF-16 big, no mark": ("a.tsv", table(delimiter="\t").encode("utf-16-be"), {}, None),
    "UTF-16 of other letters": ("a.csv", table(CYRILLIC).encode("utf-16"), {}, CYRILLIC),
    "UTF-16 of other letters, no mark": ("a.csv", table(CYRILLIC).encode("utf-16-le"), {}, CYRILLIC),
    "UTF-32": ("a.csv", table().encode("utf-32"), {}, None),
    "UTF-16 jsonl": ("a.jsonl", LINES.encode("utf-16"), {}, None),
    "cp1252": ("a.csv", table().encode("cp1252"), {}, r"row 16: byte 0xef is not UTF-8 \(.*--encoding cp1252"),
    "cp1252, named": ("a.csv", table().encode("cp1252"), {"encoding": "cp1252"}, None),
    "an unknown encoding": ("a.csv", table(), {"encoding": "klingon"}, "cannot be read as klingon: .*--encoding"),
    "CR": ("a.csv", table(ONE_LINE, end="\r"), {}, ONE_LINE),
    "CR jsonl": ("a.jsonl", LINES.replace("\n", "\r"), {}, None),
    "blank lines, no last end": ("a.csv", table(PLAIN, end="\n\n").rstrip("\n"), {}, PLAIN),
    "NUL bytes": ("a.csv", table([*PLAIN, ("a\0b", "pos")]), {}, [*PLAIN, ("a\0b", "pos")]),
    # Headers and columns
    "spaces around names": ("a.csv", table(header=(" TEXT ", " Label")), {"text_column": "TEXT"}, None),
    "spaces behind commas": ("a.csv", "text, label\n" + "".join(f'"{t}", {y}\n' for t, y in PLAIN), {}, PLAIN),
    "trailing empty columns": ("a.csv", table([(*r, "", "") for r in ROWS], ("text", "label", "", "")), {}, None),
    "an index of pandas": ("a.csv", table(INDEXED, ("", "text", "label")), {}, None),
    "an index of R": ("a.csv", table(INDEXED), {}, r"row 1 \(line 2\): it has 3 fields and the header 2"),
    "files that were joined": ("a.csv", table(ROWS[:5]) + table(ROWS[5:], ("\ufeffText", "LABEL")), {}, None),
    "no header": ("a.csv", SENTIMENT140, {}, "no column is known as the text.*--column_names"),
    "the advice on that": ("a.csv", SENTIMENT140, SIX, None),
    "a first row that ends in review": ("a.csv", "a good review,1\nbad,0\n", {}, NO_TEXT_COLUMN),
    "names and a header": ("a.csv", table(), TWO, "its first line is a header, .*leave"),
    "too few names": ("a.csv", SENTIMENT140, TWO, "has 6 fields and"),
    "a name too few": ("a.tsv", tabs(PLAIN, ""), {"column_names": "text"}, "has 2 fields and|known as the label"),
    "two of one name": ("a.csv", table(TWICE, ("text", "text", "label")), {}, "several columns called 'text'; rename"),
    "review_text": ("a.csv", table(header=("review_text", "label")), {"text_column": "review_text"}, None),
    "two texts": ("a.csv", table(TWICE, ("reviewText", "comment", "label")), {}, r"several .* the text \('rev"),
    "a column that is not there": ("a.csv", table(), {"text_column": "body"}, "'body' not found; pass another --text"),
    # Quotes and widths
    "a lone quote": ("a.csv", table(PLAIN) + '"Great,pos\nBad,neg\n', {}, r"row 13: unexpected end .*line 14"),
    "lone quotes in .tsv": ("a.tsv", tabs(LONE), {}, LONE),
    "a quote of two meanings": ("a.tsv", tabs([*PLAIN, ('"Great', "pos"), ('Bad"', "neg")]), {},
                                r"row 13 \(line 14\): its quote may be text, or open a field of several lines"),
    "quoted .tsv": ("a.tsv", table(delimiter="\t"), {}, None),
    "Kaggle's .tsv": ("labeledTrainData.tsv", escaped(ONE_LINE, "\t"), {}, ONE_LINE),
    "escaped quotes in .csv": ("a.csv", escaped(ONE_LINE, ","), {}, ONE_LINE),
    "lines in quotes": ("a.csv", '"text;label"\n"a;pos"\n', {"text_column": "text;label"}, AS_ONE),
    "too many fields": ("a.csv", table(PLAIN) + "well, done,pos\n", {}, WIDTH.format(3)),
    "too few fields": ("a.csv", table(PLAIN) + "well done\n", {}, WIDTH.format(1)),
    "too few in .tsv": ("a.tsv", table(PLAIN, delimiter="\t") + "well done\n", {}, WIDTH.format(1)),
    # Objects
    ".ndjson": ("a.ndjson", LINES, {}, None),
    "objects in .json": ("a.json", LINES, {}, None),
    "an indented list": ("a.jsonl", "\ufeff\n" + json.dumps(objects(), indent=2), {}, None),
    **{f"to_json, {orient}": ("a.json", pd.DataFrame(objects()).to_json(orient=orient), {}, expected)
       for orient, expected in (("records", None), ("values", f"row 1: it is .*{AN_OBJECT}"),
                                *((orient, TABLE_IN_ONE) for orient in ("columns", "index", "split", "table")))},
    "null in a list": ("a.json", json.dumps([None, *objects()]), {}, f"row 1: it is null{AN_OBJECT}"),
    "a broken list": ("a.json", json.dumps(objects(), indent=1)[:-2], {}, f"line 69, character 3{AN_OBJECT}"),
    "null first": ("a.jsonl", "null\n" + LINES, {}, rf"row 1 \(line 1\): it is null{AN_OBJECT}"),
    "null last": ("a.jsonl", LINES + "\n\n null", {}, rf"row 18 \(line 20\): it is null{AN_OBJECT}"),
    "a broken line": ("a.jsonl", LINES + '{"text": "a', {}, LAST + "it is not JSON: Unterminated"),
    "single quotes": ("a.jsonl", LINES + "{'text': 'a'}", {}, LAST + "it is not JSON: .*, character 2"),
    "half a pair": ("a.jsonl", with_object(text="\ud800"), {}, LAST + "it holds half of a surrogate"),
    "a key twice": ("a.jsonl", LINES + '{"text": "a", "text": "b"}', {}, LAST + "it has two values called 'text'"),
    "far too deep": ("a.jsonl", LINES + "[" * 3000 + "]" * 3000, {}, LAST + DEEP),
    "many brackets": ("a.jsonl", LINES + json.dumps({"text": "[{" * 99, "label": "pos", "m": [[[]], {}]}), {},
                      [*ROWS, ("[{" * 99, "pos")]),
    "5,000 digits": ("a.jsonl", LINES + f'{{"label": {"1" * 5000}}}', {}, LAST + "Exceeds the limit .4300 digits"),
    "columns of many kinds": ("a.jsonl", "\n".join(map(json.dumps, KINDS)), {}, None),
    # Other forms
    "parquet": ("a.parquet", parquet(), {}, None),
    "csv.gz": ("a.csv.gz", gzip.compress(table().encode()), {}, None),
    "jsonl.gz": ("a.jsonl.gz", gzip.compress(LINES.encode()), {}, None),
    "gzip cut short": ("a.csv.gz", gzip.compress(table().encode())[:200], {}, "cannot be decompressed .*is damaged"),
    "a workbook": ("a.csv", b"PK\x03\x04rest", {}, "a zip archive or a workbook; .*save the table as csv"),
    "labels behind tabs in .txt": ("a.txt", tabs(ONE_LINE, ""), {}, "call the file .tsv, and"),
    "the advice on tabs": ("a.tsv", tabs(ONE_LINE, ""), TWO, ONE_LINE),
    "csv in .txt": ("a.txt", table(delimiter=";"), {}, "call the file .csv, and"),
    "jsonl in .txt": ("a.txt", LINES, {}, "call the file .jsonl, and"),
    "fastText": ("a.txt", "".join(f"__label__{y} {t}\n" for t, y in ONE_LINE), {}, ONE_LINE),
    "fastText with tabs": ("a.txt", "".join(f"__label__{y}\t{t}\n" for t, y in ONE_LINE), {}, ONE_LINE),
    "fastText, half": ("a.txt", "__label__pos good\nbad\n", {}, r"row 2 \(line 2\): .*begins with none or several"),
    "labels behind texts": ("a.txt", "good __label__pos\nbad\n", {}, r"row 1 \(line 1\): .*begins with none"),
    # No data at all
    "empty csv": ("a.csv", "", {}, "is empty; a .csv file starts with a line of column names"),
    "empty parquet": ("a.parquet", "", {}, NO_PARQUET),
    "random bytes": ("a.csv", RANDOM, {}, NOT_UTF8),
    "an unknown kind": ("a.xlsx", "", {}, "are not read; allowed: .csv"),
    # Missing texts
    "null": ("a.jsonl", with_object(text=None, label="pos"), {}, NO_TEXT.format("None")),
    **{f"a text {v}": ("a.jsonl", with_object(text=v, label="pos"), {}, NO_TEXT.format(".*"))
       for v in (1.0, ["a"], {"a": 1})},
    # Texts that look like something else
    **{f"texts of {t!r}": ("a.csv", table([(t, y) for _, y in PLAIN]), {}, [(t, y) for _, y in PLAIN])
       for t in ("", "007", "true", "NA", "2020-01-01")},
    # Names of files
    **{f"called {name}": (name, table(), {}, None)
       for name in ("A.CSV", "my reviews (1).csv", "a[1].csv", "a*.csv", "r\u00e9sum\u00e9.csv", "a%20b.csv")},
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models([str(save_model(tmp_path_factory.mktemp("model") / "run"))])


@pytest.fixture(scope="module")
def classifier(models):
    return models(*models.names).classifier


def learned(path, **options):
    """What training reads of a file, in its order."""
    return [(text, ("neg", "pos")[label]) for text, label in rows_of(load_reviews(path, **options))]


def predicted(path, classifier, **options):
    """What prediction reads of a file: texts whose predictions and other columns are all there."""
    output = path.with_name("output.jsonl")
    options.pop("label_column", None)
    predict_file(path, output, model=classifier, batch_size=4, **options)
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").split("\n") if line]
    texts = [row[options.get("text_column", "text")] for row in rows]
    labels = [prediction.label for prediction in classifier(texts, batch_size=4)]
    assert [row.get("predicted_label") or row["label"] for row in rows] == labels
    return texts


def shown(path, models, pasted=None, text_column=None):
    """What the demo reads of a file, or of what is pasted."""
    (model,) = models.names
    file = None if pasted else str(path)
    html, result = classify_many(models, file, pasted, text_column, model, str(path.with_name("results")))
    if result is None:
        raise ValueError(html)
    with open(result, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row[next(name for name in row if name.lower() == (text_column or "text").lower())] for row in rows]


@pytest.mark.parametrize("name", CASES)
def test_training_prediction_and_the_demo_read_the_same(name, tmp_path, classifier, models):
    file, content, options, expected = CASES[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    # What the demo has a field for, and the kinds that it reads.
    own = {"text_column": options.get("text_column")}
    is_shown = options.keys() <= {"text_column", "label_column"} and path.suffix in (".csv", ".tsv", ".jsonl", ".txt")
    if isinstance(expected, str):
        refused(lambda: learned(path, **options), expected)
        refused(lambda: predicted(path, classifier, **options), expected)
        if is_shown:
            refused(lambda: shown(path, models, **own), "That did not work: ")
        return
    rows = expected or ROWS
    texts = [text for text, _ in rows]
    assert learned(path, **options) == rows
    assert predicted(path, classifier, **options) == texts
    if is_shown:
        assert shown(path, models, **own) == texts
        if isinstance(content, str):
            assert shown(path, models, content, **own) == texts


NOTHING = {"a.jsonl": "", "b.jsonl": "\n\n", "a.json": "[]", "b.json": "{}", "a.csv": "text,label\n"}


@pytest.mark.parametrize("file", NOTHING)
def test_a_file_without_rows_is_none_to_train_on(file, tmp_path):
    (tmp_path / file).write_text(NOTHING[file])
    refused(lambda: load_reviews(tmp_path / file), "holds no row|the text is None")


ARGUMENTS = [
    ({"label_column": "stars"}, "column .stars. not found.*pass another --label_column"),
    ({"text_column": "label", "label_column": "label"}, "cannot be both; name another"),
    ({"labels": ["a", "b"]}, "labels are .'a', 'b'.: .*; allowed: LABEL=NAME for each label"),
    ({"max_validation_samples": -5}, "max_validation_samples is -5; allowed: at least 2"),
    ({"test_fraction": float("nan")}, "test_fraction is nan; allowed"),
    ({"test_fraction": 1e-9}, "too few to split off"),
    *(({"validation_fraction": f}, f"validation_fraction is {f}; allowed") for f in (0, 1)),
    ({"split_seed": -1}, "split_seed is -1; allowed: a whole number from 0 to 4294967295"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS)
def test_arguments(arguments, message, tmp_path):
    (tmp_path / "a.csv").write_text(table())
    refused(lambda: load_reviews(tmp_path / "a.csv", **arguments), message)


@pytest.mark.parametrize("module", ["datasets", "sklearn"])
def test_a_missing_extra_is_named(module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    refused(lambda: load_reviews("stanfordnlp/imdb"), r'pip install "hf_lstm_sentiment\[train\]"')


def test_folders_of_texts_as_aclimdb_has_them(tmp_path, classifier):
    # A file that macOS puts beside each one, and others of the archive.
    texts = {"train/unsup/0_0": "any\n", "imdb.vocab": "the\n", "train/pos/._1_7": "?", "train/urls_pos": "x"}
    for split, rows in (("train", PLAIN), ("test", PLAIN[:6])):
        texts |= {f"{split}/{label}/{i}_7": text for i, (text, label) in enumerate(rows)}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / (name if "vocab" in name else f"{name}.txt")).write_text(text)
    reviews = load_reviews(tmp_path, unlabeled=True)
    assert (len(reviews.train), len(reviews.validation)) == (10, 2)
    assert [(text, ("neg", "pos")[y]) for text, y in zip(reviews.test["text"], reviews.test["label"], strict=True)] == [
        row for label in ("neg", "pos") for row in PLAIN[:6] if row[1] == label
    ]
    assert reviews.unlabeled["text"][:] == ["any"]
    assert sorted(learned(tmp_path / "train")) == sorted(PLAIN)
    # Other content is read anew, even with the size and the time of what was there.
    file = tmp_path / "train" / "unsup" / "0_0.txt"
    then = file.stat().st_mtime_ns
    file.write_text("sky\n")
    os.utime(file, ns=(then, then))
    assert load_reviews(tmp_path, unlabeled=True).unlabeled["text"][:] == ["sky"]
    refused(lambda: predicted(tmp_path / "train", classifier), "train is a directory; name its files, .* --output_dir")
    (tmp_path / "train/pos/2_8.TXT").touch()
    refused(lambda: load_reviews(tmp_path), r"2_8\.TXT is no \.txt file")


def test_the_console_says_what_is_read(tmp_path, classifier, caplog):
    path = tmp_path / "a.csv"
    names, rows = ("clean_text", "review", "sentiment"), [(t, t, y) for t, y in PLAIN]
    path.write_text(table([*rows, names, *rows, names], names, delimiter=";"))
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        load_reviews(path)
        assert predict_file(path, tmp_path / "out.csv", model=classifier) == 24
    said = "texts from column 'review' (not 'clean_text': choose with --text_column)"
    assert f"train reviews: {said}" in caplog.messages
    assert "train reviews: labels from column 'sentiment'" in caplog.messages
    assert f"{path}: {said}" in caplog.messages
    assert "a.csv: its fields are separated by ';'" in caplog.messages


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
    path.write_text("id,text\n1,good\n2,well, done\n3,bad\n")
    csv_path = path.rename(tmp_path / "b.csv")
    assert predict_file(csv_path, tmp_path / "b.jsonl", model=classifier, skip_bad_rows=True) == 2
    bad = json.loads((tmp_path / "b.jsonl.bad_rows.jsonl").read_text())
    assert bad["row"] == {"id": "2", "text": "well", "column 3": " done"}
    assert predict_file(tmp_path / "b.jsonl", tmp_path / "c.jsonl", model=classifier, skip_bad_rows=True) == 2
    assert not (tmp_path / "c.jsonl.bad_rows.jsonl").exists()
