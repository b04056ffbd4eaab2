"""What the fuzzers of `tests/fuzz.py` have found."""

from __future__ import annotations

import pytest

from hf_lstm_sentiment.data.json_rows import JsonFiles


def test_a_json_file_that_begins_with_half_a_character(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xf0")
    with pytest.raises(ValueError, match=r"a\.json, line 1: byte 0xf0 is not UTF-8; save the file as UTF-8"):
        list(JsonFiles([tmp_path / "a.json"]))
