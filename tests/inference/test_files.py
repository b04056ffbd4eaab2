from __future__ import annotations

import csv
import gc
import gzip
import itertools
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import weakref
from contextlib import suppress
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

from hf_lstm_sentiment import Classifier, predict_files
from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.data import readers
from hf_lstm_sentiment.data.csv_rows import DELIMITERS
from hf_lstm_sentiment.inference import files as scoring
from hf_lstm_sentiment.inference.files import predict_file
from hf_lstm_sentiment.utils.files import only_writer
from tests.demo_model import save_model
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


@pytest.fixture(scope="module")
def answers(small):
    """Of every text, what is said of it alone."""
    texts = [*TEXTS, *(f"word{i % 40} number {i}" for i in range(50))]
    return {text: small([text])[0] for text in texts}


def rows_of(texts):
    return [{"id": f"r{i}", "text": text, "note": f'n"{i}, é'} for i, text in enumerate(texts)]


def write(path, rows):
    objects = [json.dumps(row, ensure_ascii=False) for row in rows]
    lines = {
        ".txt": [row.get("text") for row in rows],
        ".json": [json.dumps(rows)],
        ".jsonl": objects,
        ".ndjson": objects,
    }
    if path.suffix == ".gz":
        plain = write(path.with_name(f"plain{path.with_suffix('').suffix}"), rows)
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    elif path.suffix in lines:
        path.write_bytes("".join(f"{line}\n" for line in lines[path.suffix]).encode())
    elif path.suffix == ".parquet":
        # Row groups that fit no window and no part.
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=DELIMITERS[path.suffix])
            writer.writeheader()
            writer.writerows(rows)
    return path


def read(path):
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_bytes().decode().removesuffix("\n").split("\n") if line]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=DELIMITERS[path.suffix], strict=True))


def check(found, rows, answers):
    """Every row once, in order, with all its columns and the answer for its text."""
    assert [dict(list(row.items())[:-2]) for row in found] == rows
    assert all(list(row)[-2:] == ["label", "score"] for row in found)
    expected = [answers[row["text"]] for row in rows]
    assert [row["label"] for row in found] == [p.label for p in expected]
    assert scores_of(found) == pytest.approx([p.score for p in expected], rel=0, abs=1e-6)


def scores_of(rows):
    return [float(row["score"]) for row in rows]


def score(source, output, model, **options):
    return predict_file(source, output, model=model, **{"rows_per_part": 20, "batch_size": 4, **options})


def kill(source, output, small, calls, **options):
    """End a run in its third part."""
    calls.allowed = len(calls) + 7
    with pytest.raises(SystemExit):
        score(source, output, small, **options)
    calls.allowed = None
    calls.clear()


@pytest.mark.parametrize("wanted", OUTPUTS)
@pytest.mark.parametrize("given_", INPUTS)
def test_every_pair_of_formats_killed_and_continued(tmp_path, small, answers, small_windows, calls, given_, wanted):
    texts = ONE_LINE if given_ == "txt" else TEXTS
    rows = [{"text": text} for text in texts] if given_ == "txt" else rows_of(texts)
    source, output = write(tmp_path / f"in.{given_}", rows), tmp_path / f"out.{wanted}"
    kill(source, output, small, calls)
    assert score(source, output, small) == len(rows)
    check(read(output), rows, answers)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([source.name, output.name])


@pytest.mark.parametrize("wanted", OUTPUTS)
@pytest.mark.parametrize("labels", [("NEGATIVE", "POSITIVE"), ("bad", "so, so", "good")])
def test_more_columns_where_asked_for_and_unsure_is_an_answer(tmp_path, small_windows, calls, wanted, labels):
    small = Classifier.from_pretrained(save_model(tmp_path / "model", labels))
    texts = [*ONE_LINE, "word1 zzz qqq xyz"]
    bound = sorted(prediction.score for prediction in small(texts))[40]
    rows, options = rows_of(texts), {"all_scores": True, "unsure_below": bound}
    source, output = write(tmp_path / "in.jsonl", rows), tmp_path / f"out.{wanted}"
    kill(source, output, small, calls, known_column=True, **options)
    assert score(source, output, small, known_column=True, **options) == len(rows)
    expected = small(texts, **options)
    assert {"UNSURE"} < {prediction.label for prediction in expected}
    # Scores have all their digits.
    score(source, tmp_path / f"all.{wanted}", small, rows_per_part=1_000, batch_size=64)
    assert scores_of(read(tmp_path / f"all.{wanted}")) == [
        found.score for start in range(0, len(texts), 8) for found in small(texts[start : start + 8])
    ]
    assert (expected[0].known, expected[-1].known) == (0, 0.25)
    for row, prediction in zip(read(output), expected, strict=True):
        assert list(row)[3:] == ["label", "score", "known", *(f"score_{label}" for label in labels)]
        assert (row["label"], float(row["known"])) == (prediction.label, prediction.known)
        assert float(row["score"]) == pytest.approx(prediction.score, abs=1e-6)
        found = {label: float(row[f"score_{label}"]) for label in labels}
        assert found == pytest.approx(prediction.scores, abs=1e-6)


class Builder:
    """Describes a data set of the Hub whose rows are streamed."""

    hash = "1"
    info = datasets.DatasetInfo()

    def __init__(self, rows, breaks_after=None):
        self.rows, self.breaks_after = rows, breaks_after

    def as_streaming_dataset(self, split):
        if split != "train":
            raise ValueError(f"Bad split: {split}")

        def tables():
            for start in range(0, len(self.rows), 10):
                if self.breaks_after is not None and start >= self.breaks_after:
                    raise RuntimeError("connection lost\nlong story")
                yield start, pa.Table.from_pylist(self.rows[start : start + 10])

        examples = datasets.iterable_dataset.ArrowExamplesIterable(tables, {})
        features = datasets.Features(dict.fromkeys(("id", "text", "note"), datasets.Value("string")))
        return datasets.IterableDataset(examples, info=datasets.DatasetInfo(features=features))


def test_a_data_set_of_the_hub_is_streamed_and_continued(tmp_path, small, answers, small_windows, monkeypatch):
    def offered(rows, **options):
        monkeypatch.setattr(datasets, "load_dataset_builder", lambda name: Builder(rows, **options))

    rows = rows_of(ONE_LINE[:50])
    offered(rows)
    for kind in OUTPUTS:
        assert score("some/reviews", tmp_path / f"out.{kind}", small) == 50
        check(read(tmp_path / f"out.{kind}"), rows, answers)
    with pytest.raises(ValueError, match="Bad split: dev; choose with --split"):
        score("some/reviews", tmp_path / "none.csv", small, split="dev")
    rows[20]["text"] = None
    with pytest.raises(ValueError, match=r"some/reviews, row 21: the text is None; .*; --skip_bad_rows leaves"):
        score("some/reviews", tmp_path / "none.csv", small)
    # More rows than a stream hands over at once.
    rows = rows_of(f"word{i % 40} number {i}" for i in range(1_050))
    offered(rows, breaks_after=1_030)
    with pytest.raises(OSError, match=r"^some/reviews, row 1001: connection lost; call again to go on"):
        score("some/reviews", tmp_path / "long.csv", small, rows_per_part=400)
    assert len(list((tmp_path / "long.csv.parts").glob("part-*.csv"))) == 2
    offered(rows)
    assert score("some/reviews", tmp_path / "long.csv", small, rows_per_part=400) == 1_050
    assert [row["id"] for row in read(tmp_path / "long.csv")] == [row["id"] for row in rows]


def test_parquet_keeps_types_and_metadata_and_csv_and_json_say_what_they_can(tmp_path, small, small_windows):
    columns = {
        "text": pa.array(ONE_LINE[:30]).dictionary_encode(),
        "when": pa.array([datetime(2020, 1, 2, 3, 4, i) for i in range(30)], type=pa.timestamp("ns", tz="UTC")),
        "price": pa.array([Decimal(i).scaleb(-2) for i in range(30)], type=pa.decimal128(9, 2)),
        "nested": pa.array([{"a": [i], "b": None} for i in range(30)]),
        "small": pa.array([None, *range(29)], type=pa.int8()),
    }
    source = pa.table(columns).replace_schema_metadata({"made by": "hand"})
    pq.write_table(source, tmp_path / "in.parquet", row_group_size=11)
    score(tmp_path / "in.parquet", tmp_path / "out.parquet", small)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(source.column_names).schema.equals(source.schema)
    assert found.select(source.column_names).to_pylist() == source.to_pylist()
    assert found.schema.metadata[b"made by"] == b"hand"
    assert found.schema.field("score").type == pa.float64()
    assert datasets.load_dataset("parquet", data_files=str(tmp_path / "out.parquet"), split="train").num_rows == 30
    pq.write_table(pa.table({"text": ["a"], "numbers": [[float("nan"), float("inf"), 1.5]]}), tmp_path / "nan.parquet")
    score(tmp_path / "nan.parquet", tmp_path / "nan.jsonl", small)
    assert read(tmp_path / "nan.jsonl")[0]["numbers"] == [None, None, 1.5]
    for kind, nested in (("csv", '{"a": [3], "b": null}'), ("jsonl", {"a": [3], "b": None})):
        score(tmp_path / "in.parquet", tmp_path / f"out.{kind}", small)
        row = read(tmp_path / f"out.{kind}")[3]
        assert (row["when"], row["price"], row["nested"]) == ("2020-01-02 03:04:03+00:00", "0.03", nested)
        pq.write_table(pa.table({"text": ["a"], "picture": [b"\x00"]}), tmp_path / "bytes.parquet")
        with pytest.raises(ValueError, match=r"the data hold a bytes, .*\.parquet"):
            score(tmp_path / "bytes.parquet", tmp_path / f"bytes.{kind}", small)


def test_json_objects_of_several_shapes(tmp_path, small, small_windows):
    rows = [
        {"text": "a", "n": 1},
        {"text": "b", "n": 2.5, "more": {"x": 1}},
        *[{"text": "c", "n": None, "ok": True}] * 20,
        {"text": "d", "late": ["x"], "more": {"y": "z"}, "Label": "kept"},
    ]
    source = write(tmp_path / "in.jsonl", rows)
    for kind in ("jsonl", "csv", "parquet"):
        score(source, tmp_path / f"out.{kind}", small)
    found = read(tmp_path / "out.jsonl")
    # No column is overwritten, though it comes late.
    assert [list(row)[-2:] for row in found] == [["predicted_label", "predicted_score"]] * len(rows)
    assert [dict(list(row.items())[:-2]) for row in found] == rows
    first, second, third, *_, last = read(tmp_path / "out.csv")
    assert list(first) == [*("text", "n", "more", "ok", "late", "Label"), "predicted_label", "predicted_score"]
    assert [row["n"] for row in (first, second, third)] == ["1", "2.5", ""]
    assert (second["more"], third["ok"], last["late"], last["Label"]) == ('{"x": 1}', "true", '["x"]', "kept")
    first, second, third, *_, last = read(tmp_path / "out.parquet")
    assert [row["n"] for row in (first, second, third)] == [1.0, 2.5, None]
    assert (second["more"], last["late"], first["late"]) == ({"x": 1, "y": None}, ["x"], None)


@pytest.mark.parametrize("values", [[1, "one"], [{"a": 1}, [1]], [2**70, 1]])
def test_json_without_a_common_type_is_refused_for_parquet_at_once(tmp_path, small, small_windows, values):
    for distance in (0, 20):
        rows = [{"text": "a", "x": values[0]}] * (1 + distance) + [{"text": "b", "x": values[1]}]
        source = write(tmp_path / "in.jsonl", rows)
        with pytest.raises(ValueError, match=r"in\.jsonl, rows \d+ to \d+: no type holds a column: .*\.jsonl"):
            score(source, tmp_path / "out.parquet", small)
    assert score(source, tmp_path / "out.jsonl", small) == 22


@settings(deadline=None, max_examples=20)
@given(
    texts=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=30), min_size=1, max_size=9)
)
def test_any_text_comes_through(small, texts):
    rows = [{"id": text, "text": text} for text in texts]
    with tempfile.TemporaryDirectory() as directory:
        for given_, wanted in (("csv", "jsonl"), ("jsonl", "csv"), ("csv", "tsv"), ("jsonl", "jsonl")):
            folder = Path(directory)
            output = folder / f"{given_}-out.{wanted}"
            score(write(folder / f"in.{given_}", rows), output, small, rows_per_part=3)
            assert [(row["id"], row["text"]) for row in read(output)] == [(text, text) for text in texts]


@pytest.mark.parametrize("wanted", OUTPUTS)
def test_no_rows_leave_a_header(tmp_path, small, wanted):
    (tmp_path / "in.csv").write_text("id,text\n")
    (tmp_path / "in.txt").write_text("")
    (tmp_path / "in.jsonl").write_text("\n")
    empty = {"id": pa.array([], pa.int64()), "text": pa.array([], pa.string())}
    pq.write_table(pa.table(empty), tmp_path / "in.parquet")
    columns = {"csv": ["id", "text"], "txt": ["text"], "jsonl": [], "parquet": ["id", "text"]}
    for given_, names in columns.items():
        output = tmp_path / f"{given_}.{wanted}"
        assert score(tmp_path / f"in.{given_}", output, small) == 0
        assert read(output) == []
        if wanted == "parquet":
            assert pq.read_schema(output).names == [*names, "label", "score"]
        elif wanted != "jsonl":
            assert output.read_text() == DELIMITERS[output.suffix].join([*names, "label", "score"]) + "\n"


@pytest.mark.parametrize("taken", ["label", "score", "KNOWN"])
@pytest.mark.parametrize("wanted", OUTPUTS)
def test_no_column_of_the_source_is_overwritten(tmp_path, small, taken, wanted):
    score(write(tmp_path / "in.csv", [{"text": "a", taken: "0"}]), tmp_path / f"o.{wanted}", small, known_column=True)
    (row,) = read(tmp_path / f"o.{wanted}")
    assert (list(row)[2:], row[taken]) == (["predicted_label", "predicted_score", "predicted_known"], "0")


TAKEN = '{"text": "a", "score_positive": 1, "predicted_score_POSITIVE": 2}'


@pytest.mark.parametrize(
    ("source", "content", "output", "options", "message"),
    [
        ("in.csv", "", "out.xlsx", {}, r"out\.xlsx: files of kind '\.xlsx' are not written; allowed: \.csv, \.tsv"),
        ("in.csv", "", "other.csv", {}, r"other\.csv is both what is read and what is to be written"),
        ("in.csv", "", "none/out.csv", {}, "none: no such directory; make it"),
        ("none.csv", None, "out.csv", {}, r"none.csv: no such file or directory; allowed: a file \(\.csv"),
        ("./none", None, "out.csv", {}, "./none: no such file or directory"),
        ("a b", None, "out.csv", {}, "a b: no such file or directory"),
        ("in.doc", "a", "out.csv", {}, r"files of kind '\.doc' are not read; allowed: \.csv"),
        ("folder", None, "out.csv", {}, "folder is a directory; name its files, such as"),
        ("nobody/nothing", None, "out.csv", {}, "nobody/nothing: not found on the Hub, or the Hub cannot be reached"),
        ("in.csv", "", "out.csv", {"batch_size": 2.5}, "batch_size is 2.5; allowed: a whole number of at least 1"),
        ("in.csv", "", "out.csv", {"rows_per_part": 0}, "rows_per_part is 0; allowed: a whole number of at least 1"),
        ("in.csv", "", "out.csv", {"model": "/no/model"}, "/no/model: no such file or directory"),
        ("in.csv", "", "out.csv", {"allscores": True}, "unexpected keyword argument 'allscores'"),
        ("in.txt", "a", "out.csv", {"unsure_below": 0.4}, "unsure_below is 0.4; allowed: above 0.5"),
        (
            "in.jsonl",
            TAKEN,
            "out.csv",
            {"all_scores": True},
            "columns for .* and 'predicted_score_POSITIVE' too; rename",
        ),
        ("in.csv", "id,text\n1,a\n2,b\n3,c,d\n", "out.csv", {}, r"in\.csv, row 3 \(line 4\): it has 3 fields"),
        ("in.csv", "id,text\n1,a\n", "out.csv", {"text_column": "x"}, "column 'x' not found; .*--text_column"),
        ("in.jsonl", '{"text": null}\n', "out.csv", {}, "the text is None; .*; --skip_bad_rows leaves such rows out"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_done(
    tmp_path, small, calls, monkeypatch, source, content, output, options, message
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(source).write_text(content, encoding="latin-1")
    Path("other.csv").symlink_to(source)
    Path("folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    refused(lambda: score(source, output, **{"model": small, **options}), message)
    if content and source.startswith("in.") and source != "in.doc":
        refused(lambda: predict_files([source], "out", **{"model": small, **options}), message)
        Path("out").rmdir()
    assert sorted(tmp_path.rglob("*")) == before
    assert not calls


@pytest.mark.parametrize("path", ["out.csv", "out.csv.parts/thesis.txt"])
def test_what_is_there_already_is_not_touched(tmp_path, small, calls, path):
    (tmp_path / "out.csv.parts").mkdir()
    (tmp_path / path).write_text("precious")
    with pytest.raises(FileExistsError, match=rf"{path.split('/')[0]} is there already; move it away, or name another"):
        score(write(tmp_path / "in.csv", rows_of(["a"])), tmp_path / "out.csv", small)
    assert (tmp_path / path).read_text() == "precious"
    assert not calls


def test_text_files_need_no_extra_and_the_others_name_it(tmp_path, small, monkeypatch, capsys):
    for kind in INPUTS:
        write(tmp_path / f"in.{kind}", rows_of(ONE_LINE[:9]))
    for name in ("pyarrow", "pyarrow.parquet", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    for kind in set(INPUTS) - {"parquet"}:
        assert score(tmp_path / f"in.{kind}", tmp_path / f"{kind}.csv", small) == 9
    # No bar is shown where standard error is no terminal.
    assert capsys.readouterr().err == ""
    for source, output, extra in (
        (tmp_path / "in.csv", "a.parquet", "pyarrow"),
        (tmp_path / "in.parquet", "b.csv", "pyarrow"),
        ("stanfordnlp/imdb", "c.csv", "datasets"),
    ):
        with pytest.raises(ModuleNotFoundError, match=rf'{extra} is not installed: pip install ".*\[train\]"'):
            score(source, tmp_path / output, small)


@pytest.mark.parametrize("wanted", ["csv", "jsonl", "parquet"])
def test_a_window_of_rows_is_alive_and_not_the_file(tmp_path, small, small_windows, calls, monkeypatch, wanted):
    class Tracked(dict):
        __slots__ = ("__weakref__",)

    alive, most, read_json = weakref.WeakValueDictionary(), [], readers._read_json

    def tracked(lines, **options):
        for line, row, problem in read_json(lines, **options):
            row = Tracked(row)
            alive[id(row)] = row
            most.append(len(alive))
            yield line, row, problem

    source = write(tmp_path / "in.jsonl", rows_of(f"text {i}" for i in range(200)))
    monkeypatch.setattr(readers, "_read_json", tracked)
    gc.collect()
    score(source, tmp_path / f"out.{wanted}", small)
    # Twice over, and the first one a third time for the names of the columns.
    assert len(most) >= 400
    # One window is read while the one before it is still at hand.
    assert max(most) <= 2 * 8 + 2
    # Windows start anew with each part of 20 rows.
    assert list(map(len, calls)) == [8, 8, 4] * 10


def dies_at(monkeypatch, owner, name, when, *, after=False):
    """Make the call of that number, from 0, the last one."""
    calls, original = itertools.count(), getattr(owner, name)

    def call(*arguments, **options):
        last = next(calls) == when
        if last and not after:
            raise SystemExit("killed")
        result = original(*arguments, **options)
        if last:
            raise SystemExit("killed")
        return result

    monkeypatch.setattr(owner, name, call)


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
@pytest.mark.parametrize("after", [False, True])
def test_killed_anywhere_and_continued_the_output_is_the_same(
    tmp_path, small, small_windows, wanted, owner, name, after
):
    source, whole = write(tmp_path / "in.jsonl", rows_of(TEXTS[:70])), tmp_path / f"whole.{wanted}"
    score(source, whole, small)
    for when in itertools.count():
        output = tmp_path / f"{when}.{wanted}"
        with pytest.MonkeyPatch.context() as patch:
            dies_at(patch, owner, name, when, after=after)
            # As often as it is called at all.
            with suppress(SystemExit):
                score(source, output, small)
                break
        # After the last step of all there is nothing left to continue.
        if (tmp_path / f".{output.name}.json").exists() or not output.exists():
            assert score(source, output, small) == 70
        assert output.read_bytes() == whole.read_bytes()
    assert when > 0
    assert output.read_bytes() == whole.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".parts", ".json")]


@pytest.fixture
def stopped(tmp_path, small, small_windows, calls):
    """A run of 70 rows that was killed in its third part."""
    source = write(tmp_path / "in.csv", rows_of(TEXTS[:70]))
    score(source, tmp_path / "whole.csv", small)
    kill(source, tmp_path / "out.csv", small, calls)
    return tmp_path


def test_what_is_done_is_not_done_again(stopped, small, calls, caplog):
    parts = stopped / "out.csv.parts"
    assert sorted(path.name for path in parts.iterdir()) == ["part-00000.csv", "part-00001.csv"]
    # What a kill may leave beside them.
    (parts / ".part-00002.csv.1.tmp").write_bytes(b'torn,"')
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        assert score(stopped / "in.csv", stopped / "out.csv", small) == 70
    assert "40 rows are done already and skipped" in caplog.text
    assert list(itertools.chain(*calls)) == TEXTS[40:70]
    assert (stopped / "out.csv").read_bytes() == (stopped / "whole.csv").read_bytes()
    assert not parts.exists()


def test_what_another_source_model_release_or_option_began_is_not_continued(stopped, checkpoint, small, monkeypatch):
    lines = (stopped / "in.csv").read_bytes().splitlines(keepends=True)
    # The same reviews in another order are others; the same ones at another place are the same ones.
    (stopped / "other.csv").write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    (stopped / "copy.csv").write_bytes((stopped / "in.csv").read_bytes())
    shorter = Classifier.from_pretrained(checkpoint)
    shorter.max_length -= 1
    before = sorted((stopped / "out.csv.parts").iterdir())

    def differs(message, source="in.csv", model=small, **options):
        with pytest.raises(ValueError, match=rf"parts is there already and of another run: {message}\. Run it"):
            score(stopped / source, stopped / "out.csv", model, **options)
        assert sorted((stopped / "out.csv.parts").iterdir()) == before

    differs("batch_size was 4 and is 5", batch_size=5)
    differs("rows_per_part was 20 and is 30", rows_per_part=30)
    differs("text_column was None and is 'note'", text_column="note")
    differs("source was 'sha256:.*' and is 'sha256:.*'", "other.csv")
    differs("model was 'sha256:.*' and is 'sha256:.*'", model=shorter)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "__version__", "9.9")
        differs(r"hf_lstm_sentiment was '.*' and is '9\.9'")
    assert score(stopped / "copy.csv", stopped / "out.csv", shutil.copytree(checkpoint, stopped / "moved")) == 70


def test_an_output_that_came_up_meanwhile_is_not_overwritten(stopped, small, monkeypatch):
    output, join = stopped / "out.csv", scoring.join_parts
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "join_parts", lambda *a: (join(*a), output.write_text("precious")))
        for said in ("came up meanwhile", "is there already"):
            with pytest.raises(FileExistsError, match=rf"out\.csv {said}; move it away"):
                score(stopped / "in.csv", output, small)
            assert output.read_text() == "precious"
    output.unlink()
    score(stopped / "in.csv", output, small)
    assert not (stopped / "out.csv.parts").exists()


def test_a_second_run_is_refused(tmp_path, small):
    source, output = write(tmp_path / "in.csv", rows_of(TEXTS[:20])), tmp_path / "out.csv"
    with only_writer(output):
        with pytest.raises(BlockingIOError, match=r"out\.csv is being written by another run at this moment; wait"):
            score(source, output, small)
        # Another output is nobody else's.
        assert score(source, tmp_path / "other.csv", small) == 20
    assert score(source, output, small) == 20
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "other.csv", "out.csv"]


def test_the_command(stopped, checkpoint, capsys):
    options = ["--model", str(checkpoint), "--num_threads", "1"]
    whole, output = str(stopped / "in.csv"), stopped / "b.csv"
    assert main(["predict", whole, str(output), "--dtype", "bfloat16", "--known", *options]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"b\.csv: 70 reviews, [\d.]+ s\n$", out)
    assert err.splitlines()[-1].endswith("in.csv: texts from column 'text'")
    expected, found = Classifier.from_pretrained(checkpoint, dtype=torch.bfloat16)(TEXTS[:70]), read(output)
    assert scores_of(found) == pytest.approx([p.score for p in expected], abs=1e-6)
    assert [float(row["known"]) for row in found] == [p.known for p in expected]
    assert main(["predict", whole, str(stopped / "out.csv"), "--batch_size", "4", *options]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert "rows_per_part was 20 and is 50000" in error
