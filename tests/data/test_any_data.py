"""Files of any content before `load_reviews`: the reviews as they are, or an error that is meant for a reader."""

from __future__ import annotations

import csv
import json

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hf_lstm_sentiment import load_reviews
from tests.reviews import FOREIGN, rows_of

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# A surrogate is no text that a file could hold.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
reviews = st.lists(texts, min_size=12, max_size=16)


pytestmark = pytest.mark.usefixtures("own_cache")


def loaded(path):
    """Text and label of every row, in the order of the file; None where it is refused."""
    try:
        return rows_of(load_reviews(path))
    except (ValueError, OSError) as error:
        said = str(error)
        assert not FOREIGN.search(said), said
        assert 20 < len(said) < 1_500, said
        return None


@few
@given(reviews)
@example(["\r", "\n", "\r\n", '"', '""', "\0", "\ufeff", " ", "", "NA", "null", "\u2028", ",", "'"])
@pytest.mark.parametrize("name", ["any.csv", "any.jsonl"])
def test_any_texts(tmp_path, name, texts):
    path = tmp_path / name
    rows = [(text, place % 2) for place, text in enumerate(texts)]
    with path.open("w", newline="", encoding="utf-8") as file:
        if name == "any.csv":
            csv.writer(file).writerows([("text", "label"), *rows])
        else:
            file.writelines(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows)
    assert loaded(path) == rows


@few
@given(
    st.lists(st.one_of(st.none(), st.booleans(), st.integers(-2, 3), st.floats(), texts), min_size=12, max_size=14),
    st.integers(0, 11),
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.lists(st.integers())),
)
@pytest.mark.parametrize("column", ["text", "label"])
def test_any_values_in_a_jsonl_file(tmp_path, column, values, place, odd):
    """Mostly refused; a value that is not what its column holds never becomes a review."""
    rows = [{"text": f"text {i}", "label": i % 2} for i in range(len(values))]
    for row, value in zip(rows, values if place % 2 else [], strict=False):
        row[column] = value
    rows[place][column] = odd
    path = tmp_path / "any.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = loaded(path)
    if found is not None:
        if column == "text":
            assert [text for text, _ in found] == [row["text"] for row in rows]
        else:
            known = {"0": 0, "-0": 0, "neg": 0, "negative": 0, "1": 1, "pos": 1, "positive": 1, "false": 0, "true": 1}
            given_ = [str(row["label"]).strip().lower().removesuffix(".0") for row in rows]
            assert [label for _, label in found] == [known[value] for value in given_]


pieces = st.sampled_from(["null", "{", "}", "[", "]", '"', ":", ",", "\n", '{"text": "a", "label": 1}', "1", "\ufeff"])


@few
@given(st.one_of(st.binary(max_size=80), texts.map(str.encode), st.lists(pieces).map("".join).map(str.encode)))
@example(b"text,label\n" + b"a,1\nb,0\n" * 8)
@example(b"null")
@example(b'\xef\xbb\xbf null\n{"text": "a", "label": 1}')
@pytest.mark.parametrize("name", ["any.csv", "any.tsv", "any.jsonl", "any.json", "any.parquet", "folder/any.jsonl"])
def test_any_bytes(tmp_path, name, content):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    found = loaded(path.parent if "/" in name else path)
    assert found is None or {label for _, label in found} == {0, 1}
