from __future__ import annotations

import csv
import gc
import gzip
import importlib.util
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lstm_sentiment import (
    Classifier,
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
    predict_files,
    train_tokenizer,
)
from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.data import readers
from hf_lstm_sentiment.data.csv_rows import DELIMITERS
from hf_lstm_sentiment.inference import files as scoring
from hf_lstm_sentiment.inference.files import predict_file
from tests.reviews import make_reviews, refused

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")

INPUTS = ["csv", "tsv", "jsonl", "ndjson", "json", "parquet", "txt", "csv.gz"]
OUTPUTS = ["csv", "tsv", "jsonl", "parquet"]
# Whatever a text file can trip over.
NASTY = [
    *("", " blank around ", 'she said "no", twice', "two\nlines", "two\r\nlines", "old\rmac", "tab\there"),
    *("comma, semicolon; and 'quotes'", '"', '""', "\n", "null", "NA"),
    "naïve café 映画 🎬 e\u0301 \u2028 \x85 \ufeff",
    "word1 wonderful",
]
TEXTS = [*NASTY, *(text for text, _ in make_reviews(60))]
ONE_LINE = [text for text in TEXTS if "\n" not in text]


def make(seed=0, **changes):
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS, vocab_size=50, max_length=9)
    model = SentimentLSTMForSequenceClassification(
        SentimentLSTMConfig(vocab_size=len(tokenizer), embedding_size=8, hidden_size=6, **changes)
    )
    return model, tokenizer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "run"
    for part in make():
        part.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier.from_pretrained(run)


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(scoring, "WINDOW", 8)


@pytest.fixture(scope="module")
def answers(classifier):
    """Of every text, what is said of it alone."""
    texts = [*TEXTS, *(f"word{i % 40} number {i}" for i in range(50))]
    return {text: classifier([text])[0] for text in texts}


@pytest.fixture
def calls(monkeypatch):
    """The texts of each window that is classified."""
    windows, call = [], Classifier.__call__
    monkeypatch.setattr(Classifier, "__call__", lambda self, t, **o: windows.append(t) or call(self, t, **o))
    return windows


def rows_of(texts):
    return [{"id": f"r{i}", "text": text, "note": f'n"{i}, é'} for i, text in enumerate(texts)]


def write(path, rows):
    kind = path.suffix
    if kind == ".gz":
        plain = write(path.with_name(f"plain{path.with_suffix('').suffix}"), rows)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    elif kind == ".txt":
        path.write_bytes("".join(f"{row['text']}\n" for row in rows).encode())
    elif kind == ".json":
        path.write_bytes(json.dumps(rows).encode())
    elif kind in (".jsonl", ".ndjson"):
        path.write_bytes("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    elif kind == ".parquet":
        # Row groups that fit no window and no part.
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=DELIMITERS[kind])
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().decode().removesuffix("\n").split("\n") if line]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=DELIMITERS[path.suffix], strict=True))
    return [{**row, "score": float(row["score"])} for row in rows]


def check(found, rows, answers, added=("label", "score")):
    """Every row once, in order, with all its columns and the answer for its text."""
    assert [{key: value for key, value in row.items() if key not in added} for row in found] == rows
    assert all(list(row)[-2:] == list(added) for row in found)
    expected = [answers[row["text"]] for row in rows]
    assert [row[added[0]] for row in found] == [p.label for p in expected]
    assert [row[added[1]] for row in found] == pytest.approx([p.score for p in expected], rel=0, abs=1e-6)


def score(source, output, model, **options):
    return predict_file(source, output, model=model, **{"rows_per_part": 20, "batch_size": 4, **options})


class KilledError(BaseException):
    pass


@pytest.mark.parametrize("wanted", OUTPUTS)
@pytest.mark.parametrize("given_", INPUTS)
def test_every_pair_of_formats(tmp_path, classifier, answers, small_windows, given_, wanted):
    texts = ONE_LINE if given_ == "txt" else TEXTS
    rows = [{"text": text} for text in texts] if given_ == "txt" else rows_of(texts)
    output = tmp_path / f"out.{wanted}"
    source = write(tmp_path / f"in.{given_}", rows)
    assert score(source, output, classifier) == len(rows)
    check(read(output), rows, answers)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, output.name])


@pytest.mark.parametrize("wanted", OUTPUTS)
@pytest.mark.parametrize("labels", [("NEGATIVE", "POSITIVE"), ("bad", "so, so", "good")])
def test_more_columns_where_asked_for_and_unsure_is_an_answer(tmp_path, small_windows, wanted, labels):
    classifier = Classifier(*make(id2label=dict(enumerate(labels))))
    texts = [*ONE_LINE, "word1 zzz qqq xyz"]
    bound = sorted(prediction.score for prediction in classifier(texts))[40]
    rows, options = rows_of(texts), {"all_scores": True, "unsure_below": bound}
    source, output = write(tmp_path / "in.jsonl", rows), tmp_path / f"out.{wanted}"
    kill(source, output, classifier, known_column=True, **options)
    assert score(source, output, classifier, known_column=True, **options) == len(rows)
    expected = classifier(texts, **options)
    assert {"UNSURE"} < {prediction.label for prediction in expected}
    assert (expected[0].known, expected[-1].known) == (0, 0.25)
    for row, prediction in zip(read(output), expected, strict=True):
        assert list(row)[3:] == ["label", "score", "known", *(f"score_{label}" for label in labels)]
        assert (row["label"], row["score"]) == (prediction.label, pytest.approx(prediction.score, abs=1e-6))
        assert float(row["known"]) == prediction.known
        found = {label: float(row[f"score_{label}"]) for label in labels}
        assert found == pytest.approx(prediction.scores, abs=1e-6)


def test_options_that_do_not_fit_are_refused_before_any_work(tmp_path, classifier):
    source = write(tmp_path / "in.jsonl", [{"text": "a", "score_positive": 1, "predicted_score_POSITIVE": 2}])
    for options, message in (
        ({"unsure_below": 0.4}, "unsure_below is 0.4; allowed: above 0.5"),
        ({"all_scores": True}, "columns for label and score and 'predicted_score_POSITIVE' too"),
        ({"allscores": True}, "unexpected keyword argument 'allscores'"),
    ):
        refused(lambda o=options: score(source, tmp_path / "out.csv", classifier, **o), message)
        refused(lambda o=options: predict_files([source], tmp_path / "out", model=classifier, **o), message)
    assert not list(tmp_path.glob("out*/*"))
    assert not list(tmp_path.glob("out.csv*"))


@pytest.mark.parametrize("wanted", OUTPUTS)
def test_scores_keep_all_their_digits(tmp_path, classifier, wanted):
    source = write(tmp_path / "in.csv", rows_of(TEXTS))
    output = tmp_path / f"out.{wanted}"
    score(source, output, classifier, rows_per_part=1_000)
    assert [row["score"] for row in read(output)] == [p.score for p in classifier(TEXTS, batch_size=4)]


class Builder:
    """Describes a data set of the Hub whose rows are streamed."""

    hash = "1"
    info = datasets.DatasetInfo()

    def __init__(self, rows, breaks_after=None):
        self.rows, self.breaks_after = rows, breaks_after

    def as_streaming_dataset(self):
        def tables():
            for start in range(0, len(self.rows), 10):
                if self.breaks_after is not None and start >= self.breaks_after:
                    raise RuntimeError("connection lost\nlong story")
                yield start, pa.Table.from_pylist(self.rows[start : start + 10])

        examples = datasets.iterable_dataset.ArrowExamplesIterable(tables, {})
        features = datasets.Features(dict.fromkeys(("id", "text", "note"), datasets.Value("string")))
        return {"train": datasets.IterableDataset(examples, info=datasets.DatasetInfo(features=features))}


def test_a_data_set_of_the_hub_is_streamed(tmp_path, classifier, answers, small_windows, monkeypatch):
    rows = rows_of(ONE_LINE[:50])
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: Builder(rows))
    for kind in OUTPUTS:
        assert score("some/reviews", tmp_path / f"out.{kind}", classifier) == 50
        check(read(tmp_path / f"out.{kind}"), rows, answers)
    with pytest.raises(ValueError, match="splits 'train', not 'dev'; choose with --split"):
        score("some/reviews", tmp_path / "none.csv", classifier, split="dev")
    rows[20]["text"] = None
    with pytest.raises(ValueError, match=r"some/reviews, row 21: the text is None; .*--text_column"):
        score("some/reviews", tmp_path / "none.csv", classifier)
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: Builder([]))
    with pytest.raises(ValueError, match="some/reviews: split 'train' holds no row"):
        score("some/reviews", tmp_path / "empty.csv", classifier)


def test_a_stream_that_breaks_is_continued(tmp_path, classifier, monkeypatch):
    # More rows than a stream hands over at once.
    rows = rows_of(f"word{i % 40} number {i}" for i in range(1_050))
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: Builder(rows, breaks_after=1_030))
    with pytest.raises(OSError, match=r"^some/reviews, after row 1000: connection lost; call again to go on$"):
        score("some/reviews", tmp_path / "out.csv", classifier, rows_per_part=400)
    assert len(list((tmp_path / "out.csv.parts").glob("part-*.csv"))) == 2
    monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: Builder(rows))
    assert score("some/reviews", tmp_path / "out.csv", classifier, rows_per_part=400) == 1_050
    assert [row["id"] for row in read(tmp_path / "out.csv")] == [row["id"] for row in rows]
    monkeypatch.setattr(Builder, "hash", "2")
    with pytest.raises(FileExistsError):
        score("some/reviews", tmp_path / "out.csv", classifier, rows_per_part=400)


def test_parquet_keeps_types_and_metadata(tmp_path, classifier, small_windows):
    count = 30
    source = pa.table(
        {
            "text": pa.array(ONE_LINE[:count]).dictionary_encode(),
            "when": pa.array([10**18 + i for i in range(count)], type=pa.timestamp("ns", tz="UTC")),
            "price": pa.array([Decimal(i).scaleb(-2) for i in range(count)], type=pa.decimal128(9, 2)),
            "nested": pa.array([{"a": [i], "b": None} for i in range(count)]),
            "small": pa.array([None, *range(count - 1)], type=pa.int8()),
        }
    ).replace_schema_metadata({"made by": "hand"})
    pq.write_table(source, tmp_path / "in.parquet", row_group_size=11)
    score(tmp_path / "in.parquet", tmp_path / "out.parquet", classifier)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(source.column_names).schema.equals(source.schema)
    assert found.select(source.column_names).to_pylist() == source.to_pylist()
    assert found.schema.metadata[b"made by"] == b"hand"
    assert found.schema.field("score").type == pa.float64()
    assert datasets.load_dataset("parquet", data_files=str(tmp_path / "out.parquet"), split="train").num_rows == count
    score(tmp_path / "in.parquet", tmp_path / "out.csv", classifier)
    assert read(tmp_path / "out.csv")[3]["price"] == "0.03"
    assert json.loads(read(tmp_path / "out.csv")[3]["nested"]) == {"a": [3], "b": None}


def test_what_csv_and_json_have_no_type_for(tmp_path, classifier):
    pq.write_table(pa.table({"text": ["a"], "when": [datetime(2020, 1, 2, 3, 4, 5)]}), tmp_path / "in.parquet")
    score(tmp_path / "in.parquet", tmp_path / "out.jsonl", classifier)
    assert read(tmp_path / "out.jsonl")[0]["when"] == "2020-01-02 03:04:05"
    pq.write_table(pa.table({"text": ["a"], "picture": [b"\x00"]}), tmp_path / "bytes.parquet")
    for kind in ("csv", "jsonl"):
        with pytest.raises(ValueError, match=r"the data hold a bytes, .*\.parquet"):
            score(tmp_path / "bytes.parquet", tmp_path / f"bytes.{kind}", classifier)


def test_json_objects_of_several_shapes(tmp_path, classifier, small_windows):
    rows = [
        {"text": "a", "n": 1},
        {"text": "b", "n": 2.5, "more": {"x": 1}},
        *({"text": f"c{i}", "n": None, "ok": True} for i in range(20)),
        {"text": "d", "late": ["x"], "more": {"y": "z"}},
    ]
    source = write(tmp_path / "in.jsonl", rows)
    score(source, tmp_path / "out.jsonl", classifier)
    assert [dict(list(row.items())[:-2]) for row in read(tmp_path / "out.jsonl")] == rows
    score(source, tmp_path / "out.csv", classifier)
    found = read(tmp_path / "out.csv")
    assert list(found[0]) == ["text", "n", "more", "ok", "late", "label", "score"]
    assert [found[i]["n"] for i in (0, 1, 2)] == ["1", "2.5", ""]
    assert (found[1]["more"], found[2]["ok"], found[-1]["late"]) == ('{"x": 1}', "true", '["x"]')
    score(source, tmp_path / "out.parquet", classifier)
    found = read(tmp_path / "out.parquet")
    assert [row["n"] for row in found[:3]] == [1.0, 2.5, None]
    assert found[1]["more"] == {"x": 1, "y": None}
    assert (found[-1]["late"], found[0]["late"]) == (["x"], None)


@pytest.mark.parametrize("values", [[1, "one"], [{"a": 1}, [1]], [2**70, 1]])
def test_json_without_a_common_type_is_refused_for_parquet_at_once(tmp_path, classifier, small_windows, values):
    for distance in (0, 20):
        rows = [{"text": "a", "x": values[0]}] * (1 + distance) + [{"text": "b", "x": values[1]}]
        source = write(tmp_path / "in.jsonl", rows)
        with pytest.raises(ValueError, match=r"in\.jsonl, rows \d+ to \d+: no type holds a column: .*\.jsonl"):
            score(source, tmp_path / "out.parquet", "/no/model")
    assert score(source, tmp_path / "out.jsonl", classifier) == 22


@settings(deadline=None, max_examples=20)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30), min_size=1, max_size=9)
)
def test_any_text_comes_through(classifier, texts):
    rows = [{"id": text, "text": text} for text in texts]
    with tempfile.TemporaryDirectory() as directory:
        for given_, wanted in (("csv", "jsonl"), ("jsonl", "csv"), ("csv", "tsv"), ("jsonl", "jsonl")):
            folder = Path(directory)
            output = folder / f"{given_}-out.{wanted}"
            score(write(folder / f"in.{given_}", rows), output, classifier, rows_per_part=3)
            assert [(row["id"], row["text"]) for row in read(output)] == [(text, text) for text in texts]


@pytest.mark.parametrize("wanted", OUTPUTS)
def test_no_rows_leave_a_header(tmp_path, classifier, wanted):
    (tmp_path / "in.csv").write_text("id,text\n")
    (tmp_path / "in.txt").write_text("")
    (tmp_path / "in.jsonl").write_text("\n")
    empty = {"id": pa.array([], pa.int64()), "text": pa.array([], pa.string())}
    pq.write_table(pa.table(empty), tmp_path / "in.parquet")
    columns = {"csv": ["id", "text"], "txt": ["text"], "jsonl": [], "parquet": ["id", "text"]}
    for given_, names in columns.items():
        output = tmp_path / f"{given_}.{wanted}"
        assert score(tmp_path / f"in.{given_}", output, classifier) == 0
        assert read(output) == []
        if wanted == "parquet":
            assert pq.read_schema(output).names == [*names, "label", "score"]
        elif wanted != "jsonl":
            assert output.read_text() == DELIMITERS[output.suffix].join([*names, "label", "score"]) + "\n"


def test_no_column_of_the_source_is_overwritten(tmp_path, classifier):
    for taken in ("label", "score", "KNOWN"):
        source = write(tmp_path / "in.csv", [{"text": "a", taken: "0"}])
        added = ["predicted_label", "predicted_score", "predicted_known"]
        for wanted in ("csv", "jsonl", "parquet"):
            output = tmp_path / f"{taken}.{wanted}"
            score(source, output, classifier, known_column=True)
            if wanted == "parquet":
                assert pq.read_schema(output).names == ["text", taken, *added]
            else:
                first = output.read_text().splitlines()[0]
                assert (list(json.loads(first)) if wanted == "jsonl" else first.split(",")) == ["text", taken, *added]
    # One that comes late.
    source = write(tmp_path / "late.jsonl", [{"text": "a"}, {"text": "b", "label": "kept"}])
    score(source, tmp_path / "late.out.jsonl", classifier)
    first, second = read(tmp_path / "late.out.jsonl")
    assert (list(first), list(second)) == (["text", *added[:2]], ["text", "label", *added[:2]])
    source = write(tmp_path / "in.csv", [{"text": "a", "label": "0", "predicted_score": "1"}])
    with pytest.raises(ValueError, match="columns for label and score and 'predicted_score' too; rename or remove"):
        score(source, tmp_path / "out.csv", "/no/model")


def test_the_text_column_is_found_or_named(tmp_path, classifier):
    rows = [{"title": "wonderful", "Review": "terrible word1 word2"}]
    source = write(tmp_path / "in.csv", rows)
    for name, options in (("found", {}), ("named", {"text_column": "title"})):
        score(source, tmp_path / f"{name}.csv", classifier, **options)
        expected = classifier([rows[0][options.get("text_column", "Review")]])[0]
        found = read(tmp_path / f"{name}.csv")[0]
        assert (found["label"], found["score"]) == (expected.label, pytest.approx(expected.score, abs=1e-6))
    with pytest.raises(ValueError, match=r"column 'body' not found; the data has 'title', 'Review'.*--text_column"):
        score(source, tmp_path / "out.csv", "/no/model", text_column="body")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"id,text\n1,a\n2,b\n3,c,d\n", r"a\.csv, row 3 \(line .\): it has 3 fields and the header 2"),
        ("a.txt", b"a\nb\n\xff\n", r"a\.txt, row 3: byte 0xff is not UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n\n{"text": null}\n', r"row 2 \(line .\): the text is None; .*--text_column"),
        ("a.jsonl", b'{"text": "a"}\n["b"]\n', r"row 2 \(line .\): it is a list; one object per line is read"),
        ("a.parquet", b"no parquet", r"a\.parquet cannot be read as a Parquet file"),
    ],
)
def test_defects_are_named_before_a_model_is_loaded(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        score(tmp_path / name, tmp_path / "out.csv", "/no/model")
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("source", "output", "options", "message"),
    [
        ("in.csv", "out.xlsx", {}, r"out\.xlsx: files of kind '\.xlsx' are not written; allowed: \.csv, \.tsv"),
        ("in.csv", "out.txt", {}, r"files of kind '\.txt' are not written"),
        ("in.csv", "other.csv", {}, r"other\.csv is both what is read and what is to be written"),
        ("in.csv", "none/out.csv", {}, "none: no such directory; make it"),
        ("none.csv", "out.csv", {}, r"none.csv: no such file or directory; allowed: a file \(\.csv"),
        ("./none", "out.csv", {}, "./none: no such file or directory"),
        ("a b", "out.csv", {}, "a b: no such file or directory"),
        ("in.doc", "out.csv", {}, r"files of kind '\.doc' are not read; allowed: \.csv"),
        ("folder", "out.csv", {}, r"folder is a directory; name its files, such as .*folder.\*\.csv"),
        ("nobody/nothing", "out.csv", {}, "nobody/nothing: not found on the Hub, or the Hub cannot be reached"),
        ("in.csv", "out.csv", {"batch_size": 2.5}, "batch_size is 2.5; allowed: a whole number of at least 1"),
        ("in.csv", "out.csv", {"rows_per_part": 0}, "rows_per_part is 0; allowed: a whole number of at least 1"),
        ("in.csv", "out.csv", {}, "/no/model: no such file or directory"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_done(tmp_path, monkeypatch, source, output, options, message):
    monkeypatch.chdir(tmp_path)
    Path("other.csv").symlink_to(write(Path("in.csv"), rows_of(["a"])))
    Path("in.doc").write_text("a")
    Path("folder").mkdir()
    refused(lambda: score(source, output, "/no/model", **options), message)
    assert not list(tmp_path.glob("out*"))


def test_what_is_there_already_is_not_touched(tmp_path, classifier):
    source = write(tmp_path / "in.csv", rows_of(["a"]))
    (tmp_path / "out.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"out\.csv is there already; move it away, or name another output"):
        score(source, tmp_path / "out.csv", "/no/model")
    assert (tmp_path / "out.csv").read_text() == "precious"
    (tmp_path / "new.csv.parts").mkdir()
    (tmp_path / "new.csv.parts" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"new\.csv\.parts is in the way and holds no parts"):
        score(source, tmp_path / "new.csv", classifier)
    assert (tmp_path / "new.csv.parts" / "thesis.txt").read_text() == "precious"
    assert not (tmp_path / "new.csv").exists()


def test_text_files_need_no_extra_and_the_others_name_it(tmp_path, classifier, monkeypatch):
    for kind in INPUTS:
        write(tmp_path / f"in.{kind}", rows_of(ONE_LINE[:9]))
    for name in ("pyarrow", "pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    assert importlib.util.find_spec("pyarrow") is None
    for kind in set(INPUTS) - {"parquet"}:
        assert score(tmp_path / f"in.{kind}", tmp_path / f"{kind}.csv", classifier) == 9
    assert score(tmp_path / "csv.csv", tmp_path / "a.jsonl", classifier) == 9
    for source, output, extra in (("in.csv", "a.parquet", "pyarrow"), ("in.parquet", "b.csv", "pyarrow")):
        with pytest.raises(ModuleNotFoundError, match=rf'{extra} is not installed: pip install ".*\[train\]"'):
            score(tmp_path / source, tmp_path / output, "/no/model")
    with pytest.raises(ModuleNotFoundError, match="datasets is not installed"):
        score("stanfordnlp/imdb", tmp_path / "no.csv", "/no/model")


def test_the_bar_counts_rows_and_shows_on_terminals_only(tmp_path, classifier, monkeypatch, capsys):
    bars, original = [], scoring.tqdm
    monkeypatch.setattr(scoring, "tqdm", lambda **options: bars.append(options) or original(**options))
    source = write(tmp_path / "in.txt", rows_of(ONE_LINE))
    for progress in (True, False):
        score(source, tmp_path / f"{progress}.csv", classifier, progress=progress)
        bar = {"total": len(ONE_LINE), "initial": 0, "unit": " reviews"}
        assert bars.pop() == {**bar, "disable": None if progress else True}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("wanted", ["csv", "jsonl", "parquet"])
def test_a_window_of_rows_is_alive_and_not_the_file(tmp_path, classifier, small_windows, calls, monkeypatch, wanted):
    class Tracked(dict):
        __slots__ = ("__weakref__",)

    alive, most, read_json = weakref.WeakValueDictionary(), [], readers._read_json

    def tracked(lines, **options):
        for read in read_json(lines, **options):
            row = Tracked(read.row)
            alive[id(row)] = row
            most.append(len(alive))
            yield read._replace(row=row)

    source = write(tmp_path / "in.jsonl", rows_of(f"text {i}" for i in range(200)))
    monkeypatch.setattr(readers, "_read_json", tracked)
    gc.collect()
    score(source, tmp_path / f"out.{wanted}", classifier)
    # Twice over, and the first one a third time for the names of the columns.
    assert len(most) >= 400
    # One window is read while the one before it is still at hand.
    assert max(most) <= 2 * 8 + 2
    # Windows start anew with each part of 20 rows.
    assert list(map(len, calls)) == [8, 8, 4] * 10


def dies_at(monkeypatch, owner, name, when, *, after=False):
    """Make the call of that number (from 0) the last one; the number of calls so far."""
    calls = []
    original = getattr(owner, name)

    def call(*arguments, **options):
        calls.append(1)
        if len(calls) - 1 == when and not after:
            raise KilledError
        result = original(*arguments, **options)
        if len(calls) - 1 == when:
            raise KilledError
        return result

    monkeypatch.setattr(owner, name, call)
    return calls


def kill(source, output, classifier, **options):
    """Kill a run in its third part."""
    with pytest.MonkeyPatch.context() as patch:
        dies_at(patch, Classifier, "__call__", 7)
        with pytest.raises(KilledError):
            score(source, output, classifier, **options)


def killed_everywhere(source, folder, classifier, wanted, owner, name, *, after=False):
    """Kill a run at each call of something in turn and continue each; the outputs."""
    when, done = 0, False
    while not done:
        output = folder / f"{name.strip('_')}-{after}-{when}.{wanted}"
        with pytest.MonkeyPatch.context() as patch:
            calls = dies_at(patch, owner, name, when, after=after)
            try:
                score(source, output, classifier)
            except KilledError:
                pass
            else:
                done = len(calls) <= when
        if not done:
            assert score(source, output, classifier) == 70
        yield output
        when += 1


@pytest.mark.parametrize("wanted", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Classifier, "__call__"),
        (os, "fsync"),
        (os, "replace"),
        (Path, "unlink"),
        (shutil, "rmtree"),
        (scoring, "join_parts"),
    ],
)
def test_killed_anywhere_and_continued_the_output_is_the_same(tmp_path, classifier, small_windows, wanted, owner, name):
    source = write(tmp_path / "in.jsonl", rows_of(TEXTS[:70]))
    whole = tmp_path / f"whole.{wanted}"
    score(source, whole, classifier)
    expected = whole.read_bytes()
    # After the last step of all there is nothing left to continue.
    for after in (False, True)[: 1 if name == "rmtree" else 2]:
        outputs = list(killed_everywhere(source, tmp_path, classifier, wanted, owner, name, after=after))
        assert len(outputs) > 1
        assert all(output.read_bytes() == expected for output in outputs)
    assert not list(tmp_path.glob("*.parts"))


@pytest.mark.parametrize("given_", INPUTS)
def test_every_source_is_continued(tmp_path, classifier, small_windows, given_):
    source = write(tmp_path / f"in.{given_}", rows_of(ONE_LINE[:70]))
    score(source, tmp_path / "whole.csv", classifier)
    kill(source, tmp_path / "out.csv", classifier)
    assert score(source, tmp_path / "out.csv", classifier) == 70
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.fixture
def stopped(tmp_path, classifier, small_windows):
    """A run of 70 rows that was killed in its third part."""
    source = write(tmp_path / "in.csv", rows_of(TEXTS[:70]))
    kill(source, tmp_path / "out.csv", classifier)
    score(source, tmp_path / "whole.csv", classifier)
    return tmp_path


def test_what_is_done_is_not_done_again(stopped, classifier, calls, caplog):
    parts = stopped / "out.csv.parts"
    assert sorted(path.name for path in parts.iterdir()) == ["manifest.json", "part-00000.csv", "part-00001.csv"]
    # What a kill may leave beside them.
    (parts / ".part-00002.csv.1.tmp").write_bytes(b'torn,"')
    (parts / ".manifest.json.torn").write_bytes(b"{")
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        assert score(stopped / "in.csv", stopped / "out.csv", classifier) == 70
    assert "40 rows are done already and skipped" in caplog.text
    assert list(itertools.chain(*calls)) == TEXTS[40:70]
    assert (stopped / "out.csv").read_bytes() == (stopped / "whole.csv").read_bytes()
    assert not parts.exists()


def test_a_lost_part_is_made_again(stopped, classifier):
    (stopped / "out.csv.parts" / "part-00000.csv").unlink()
    score(stopped / "in.csv", stopped / "out.csv", classifier)
    assert (stopped / "out.csv").read_bytes() == (stopped / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 5}, "batch_size was 4 and is 5"),
        ({"rows_per_part": 30}, "rows_per_part was 20 and is 30"),
        ({"text_column": "note"}, "text_column was None and is 'note'"),
    ],
)
def test_other_options_are_refused(stopped, classifier, options, message):
    before = sorted((stopped / "out.csv.parts").iterdir())
    with pytest.raises(ValueError, match=rf"cannot be continued: {message}\. Run it as it was started, delete that"):
        score(stopped / "in.csv", stopped / "out.csv", classifier, **options)
    assert sorted((stopped / "out.csv.parts").iterdir()) == before


def test_another_source_model_or_release_is_refused(stopped, run, classifier, monkeypatch):
    output = stopped / "out.csv"
    lines = (stopped / "in.csv").read_bytes().splitlines(keepends=True)
    # The same reviews in another order are others.
    (stopped / "other.csv").write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    with pytest.raises(ValueError, match=r"continued: source was 'sha256:.*' and is 'sha256:"):
        score(stopped / "other.csv", output, classifier)
    model, tokenizer = make()
    tokenizer.model_max_length = 8
    for other in (Classifier(*make(seed=1)), Classifier(model, tokenizer)):
        with pytest.raises(ValueError, match=r"model was 'sha256:.*' and is 'sha256:"):
            score(stopped / "in.csv", output, other)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "__version__", "9.9")
        with pytest.raises(ValueError, match=r"hf_lstm_sentiment was '.*' and is '9\.9'"):
            score(stopped / "in.csv", output, classifier)
    # The same ones at another place are the same ones.
    (stopped / "copy.csv").write_bytes((stopped / "in.csv").read_bytes())
    assert score(stopped / "copy.csv", output, shutil.copytree(run, stopped / "moved")) == 70


def test_an_output_that_came_up_meanwhile_is_not_overwritten(stopped, classifier, monkeypatch):
    (stopped / "out.csv").write_text("precious")
    with pytest.raises(FileExistsError, match="is there already"):
        score(stopped / "in.csv", stopped / "out.csv", "/no/model")
    (stopped / "out.csv").unlink()
    join = scoring.join_parts
    monkeypatch.setattr(scoring, "join_parts", lambda *a: (join(*a), (stopped / "out.csv").write_text("precious")))
    for _ in range(2):
        with pytest.raises(FileExistsError, match="is there already"):
            score(stopped / "in.csv", stopped / "out.csv", classifier)
    assert (stopped / "out.csv").read_text() == "precious"
    (stopped / "out.csv").unlink()
    monkeypatch.undo()
    score(stopped / "in.csv", stopped / "out.csv", classifier, rows_per_part=20)
    assert not (stopped / "out.csv.parts").exists()


# Holds the lock of an output, as a run that writes it does.
HOLD = """
import sys
from pathlib import Path
from hf_lstm_sentiment.utils.files import only_writer

with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_killed_one_leaves_no_lock(tmp_path, run, classifier, capsys):
    source, output = write(tmp_path / "in.csv", rows_of(TEXTS[:20])), tmp_path / "out.csv"
    command = [sys.executable, "-c", HOLD, str(output)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        try:
            assert first.stdout.readline().strip() == b"held"
            with pytest.raises(BlockingIOError, match=r"out\.csv is being written by another run at this moment; wait"):
                score(source, output, "/no/model")
            assert main(["predict", str(source), str(output), "--model", str(run)]) == 1
            assert capsys.readouterr().err.count("\n") == 1
            # Another output is nobody else's.
            assert score(source, tmp_path / "other.csv", classifier) == 20
        finally:
            first.kill()
    assert (tmp_path / ".out.csv.lock").exists()
    assert score(source, output, classifier) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "other.csv", "out.csv"]


def test_the_command(stopped, run, answers, capsys):
    options = ["--model", str(run), "--num_threads", "1"]
    whole = str(stopped / "in.csv")
    assert main(["predict", whole, str(stopped / "new.jsonl"), "--text_column", "text", *options]) == 0
    said = capsys.readouterr().out
    assert "new.jsonl: 70 reviews, " in said
    assert said.endswith(" reviews per second\n")
    check(read(stopped / "new.jsonl"), rows_of(TEXTS[:70]), answers)
    assert main(["predict", whole, str(stopped / "b.csv"), "--dtype", "bfloat16", "--known", *options]) == 0
    expected = Classifier.from_pretrained(run, dtype=torch.bfloat16)(TEXTS[:70])
    found = read(stopped / "b.csv")
    assert [row["score"] for row in found] == pytest.approx([p.score for p in expected], abs=1e-6)
    assert [float(row["known"]) for row in found] == [p.known for p in expected]
    capsys.readouterr()
    assert main(["predict", whole, str(stopped / "out.csv"), "--batch_size", "4", *options]) == 1
    *_, said, error = capsys.readouterr().err.splitlines()
    assert said.endswith("in.csv: texts from column 'text'")
    assert error.startswith("error: ")
    assert "rows_per_part was 20 and is 50000" in error
