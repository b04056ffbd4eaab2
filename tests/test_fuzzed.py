"""What the fuzzers of `tests/fuzz.py` have found."""

from __future__ import annotations

import io
import zipfile

import pytest

from hf_lstm_sentiment import load_glove
from hf_lstm_sentiment.data.json_rows import JsonFiles


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_a_version_to_come(method, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.txt", b"good 1 2\n" * 50)
    content = bytearray(buffer.getvalue())
    # The version that is needed to unpack it, in the central directory: 13.1.
    content[content.index(b"PK\x01\x02") + 6] = 131
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.zip cannot be unpacked \(zip file version 13\.1\); the file is damaged"):
        load_glove(tmp_path / "a.zip", ["good"])


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_with_every_byte_turned(method, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a.txt", b"good 1 2\n" * 20)
    content = buffer.getvalue()
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


def test_a_json_file_that_begins_with_half_a_character(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xf0")
    with pytest.raises(ValueError, match=r"a\.json, line 1: byte 0xf0 is not UTF-8; save the file as UTF-8"):
        list(JsonFiles([tmp_path / "a.json"]))
