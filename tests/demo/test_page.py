"""What stands behind the demo page, without a page."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.demo import page
from hf_lstm_sentiment.demo.page import (
    EXAMPLES,
    MAX_BATCH,
    MAX_CHARACTERS,
    MAX_MODELS,
    Models,
    classify_many,
    read_review,
)
from hf_lstm_sentiment.inference import explain as explaining
from tests.demo_model import save_model
from tests.reviews import make_reviews, write_csv

pytestmark = pytest.mark.usefixtures("one_thread")

REVIEWS = [text for text, _ in make_reviews(30)]


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("demo") / "three", ("negative", "<b>so so", "positive")))


@pytest.fixture(scope="module")
def models(run):
    return Models([run])


def test_a_review_is_explained(models, run):
    html = read_review(models, "a wonderful film", run)
    assert all(part in html for part in ('<p class="verdict">POSITIVE', ">wonderful</span>", "<polyline"))
    assert "more are not read" in read_review(models, "a " * (MAX_CHARACTERS // 2), run)
    assert all("<polyline" in read_review(models, text, run) for text in EXAMPLES.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "nothing to read yet"),
        (" \n\t", "nothing to read yet"),
        ("x" * (MAX_CHARACTERS + 1), "20,001 characters; up to 20,000"),
        ("\ud83d", "surrogate"),
    ],
)
def test_what_is_wrong_with_a_text_is_said(models, run, text, said):
    html = read_review(models, text, run)
    assert said in html
    assert 'role="alert"' in html


def test_only_offered_models_are_loaded(models, monkeypatch):
    monkeypatch.setattr(explaining.Explainer, "from_pretrained", lambda *_: pytest.fail("loaded"))
    for name in (None, "/etc", "../elsewhere", "user/other"):
        assert 'role="alert"' in read_review(models, "good", name)
        said, labels = models.describe(name)
        assert 'role="alert"' in said
        assert labels == ()


def test_any_model_may_be_named_where_that_is_allowed(run, three, tmp_path):
    offered = Models([run], any_model=True)
    assert "positive" in read_review(offered, "wonderful", three)
    html = read_review(offered, "wonderful", str(tmp_path / "<missing>"))
    assert "no such file or directory" in html
    assert "<missing>" not in html
    broken = save_model(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    assert "is damaged" in read_review(offered, "wonderful", str(broken))


def test_a_model_is_loaded_once_and_the_last_few_are_kept(run, monkeypatch):
    loads = []
    real = explaining.Explainer.from_pretrained
    monkeypatch.setattr(explaining.Explainer, "from_pretrained", lambda name: loads.append(name) or real(run))
    names = [f"user/{i}" for i in range(MAX_MODELS + 1)]
    models = Models(names)
    for name in (names[0], names[0], *names[1:], names[-1]):
        models(name)
    assert loads == names
    models(names[0])
    assert loads == [*names, names[0]]


def test_a_model_is_described(models, run):
    said, labels = models.describe(run)
    assert "reads up to 12 tokens from left to right." in said
    assert labels == ("NEGATIVE", "POSITIVE")


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_file_is_classified(models, run, tmp_path):
    file = write_csv(tmp_path / "mine.csv", [(text, i) for i, text in enumerate(REVIEWS)], ("review", "id"))
    html, path = classify_many(models, str(file), "not read", "", run, str(tmp_path / "results"))
    header, *rows = rows_of(path)
    assert header == ["review", "id", "label", "score", "known"]
    expected = [label for label, _ in Classifier.from_pretrained(run)(REVIEWS)]
    assert [(row[0], row[-3]) for row in rows] == list(zip(REVIEWS, expected, strict=True))
    assert Path(path).name == "mine-classified.csv"
    assert "30 reviews: 15 POSITIVE, 15 NEGATIVE" in html
    assert "The first 20 of 30" in html
    assert html.count("<tr>") == 21


@pytest.mark.parametrize(
    ("pasted", "column", "texts"),
    [
        ("wonderful\r\n\r\nan awful, boring film\n", "", ["wonderful", "an awful, boring film"]),
        ("id,words\n1,wonderful\n", "words", ["wonderful"]),
        ('[{"text": "wonderful"}]', "", ["wonderful"]),
        ("reviewText;stars\nwonderful, really;5\n", "reviewText", ["wonderful, really"]),
        # A column of a spreadsheet, which may hold commas.
        ("\ufeffReview\nan awful, boring film\nnot; bad, at all\n", "", ["an awful, boring film", "not; bad, at all"]),
        ('"quoted" and never <b>closed\n', "", ['"quoted" and never <b>closed']),
    ],
)
def test_pasted_reviews_are_classified(models, run, tmp_path, pasted, column, texts):
    html, path = classify_many(models, None, pasted, column, run, str(tmp_path))
    header, *rows = rows_of(path)
    (place,) = [i for i, name in enumerate(header) if name in (column or "text", "Review")]
    assert [row[place] for row in rows] == texts
    assert "<b>" not in html


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "a.csv is empty"),
        ("a.csv", b"id,words\n1,good\n", "name it with the field"),
        ("a.csv", b"text\n\xff\xfe\n", "a.csv, row 1: byte 0xff is not UTF-8"),
        ("a.csv", b"text,id\ngood\n", "a.csv, row 1 (line 2): it has 1 fields and the header 2"),
        ("a.jsonl", b"[" * 100_000, "nested too deep"),
        ("a.parquet", b"PAR1", "files of this kind are not read here"),
        ("a.csv", b"text\n" + b"x" * MAX_BATCH, "up to 2,000,000 are read here"),
        (None, "", "nothing to classify yet"),
        (None, "é" * (MAX_BATCH // 2 + 1), "the pasted text has 2,000,003 bytes; up to 2,000,000 are read here"),
        (None, "1\tgood\n", "put a line of names"),
        (None, "nr;opinion\n1;good\n", "put a line of names"),
        (None, "text,id\ngood\n", "the pasted text, row 1 (line 2): it has 1 fields and the header 2"),
    ],
)
def test_what_is_wrong_with_a_file_or_pasted_text_is_said(models, run, tmp_path, name, content, said):
    if name:
        (tmp_path / name).write_bytes(content)
    html, path = classify_many(models, name and str(tmp_path / name), content, "", run, str(tmp_path / "results"))
    assert said in html
    assert path is None
    # Where the server keeps its files is nobody's business.
    assert "/" not in re.sub("</.*?>", "", html)
    assert not (tmp_path / "results").exists()


def test_reviews_of_any_length_are_read(models, run, tmp_path):
    long = "good " * 40_000
    # As a process starts; what was read before may have raised it.
    for name, file, pasted in (("a.txt", long, None), ("a.csv", f"text\n{long}\n", None), (None, None, long)):
        csv.field_size_limit(131_072)
        if name:
            (tmp_path / name).write_text(file)
        html, path = classify_many(models, name and str(tmp_path / name), pasted, "", run, str(tmp_path / "out"))
        assert "1 review: 1 " in html
        assert path is not None


def test_texts_that_cannot_be_judged_are_told(models, run, tmp_path):
    foreign = "ein herrlicher Film, wunderbar gespielt"
    assert "cannot judge this text" in read_review(models, foreign, run)
    html, path = classify_many(models, None, f"wonderful\n{foreign}\n", "", run, str(tmp_path))
    assert "<strong>1 cannot be judged:</strong>" in html
    assert html.count('<td class="score">cannot be judged</td>') == 1
    assert [float(row[-1]) for row in rows_of(path)[1:]] == [1, pytest.approx(1 / 6)]
    html, path = classify_many(models, None, "id,text\n", "", run, str(tmp_path))
    assert "0 reviews: none" in html
    assert len(rows_of(path)) == 1


def test_of_three_labels_all_scores_are_shown_and_any_of_them_explained(three):
    models = Models([three])
    html = read_review(models, "a wonderful film", three)
    assert '<p class="verdict">positive' in html
    scores = Classifier.from_pretrained(three)(["a wonderful film"], all_scores=True)[0].scores
    assert re.findall(r"</i></td><td>([\d.]+)&nbsp;%", html) == [f"{100 * score:.1f}" for score in scores.values()]
    assert html.count("<polyline") == 3
    assert "towards &lt;b&gt;so so" in read_review(models, "a wonderful film", three, "<b>so so")
    assert "label is &#x27;fair&#x27;; allowed:" in read_review(models, "a wonderful film", three, "fair")


def test_a_file_of_three_labels_has_all_scores(three, tmp_path):
    html, path = classify_many(Models([three]), None, "a film\nawful\nboring", "", three, str(tmp_path))
    header, *rows = rows_of(path)
    names = ["negative", "<b>so so", "positive"]
    assert header == ["text", "label", "score", "known", *(f"score_{name}" for name in names)]
    assert [row[1] for row in rows] == ["<b>so so", "negative", "negative"]
    assert all(float(row[2]) == max(map(float, row[4:])) for row in rows)
    assert "3 reviews: &lt;b&gt;so so: 1, negative: 2" in re.sub("<.*?>", "", html)
    assert "<b>" not in html


def test_many_labels_are_counted_and_scored_up_to_a_limit(tmp_path, monkeypatch):
    run = str(save_model(tmp_path / "stars", [str(stars) for stars in range(1, 12)]))
    texts = "good\nwonderful\nwonderful great\nawful\n" + "a film\n" * 3
    _, path = classify_many(Models([run]), None, texts, "", run, str(tmp_path))
    assert rows_of(path)[0] == ["text", "label", "score", "known"]
    monkeypatch.setattr(page, "_LABELS", 2)
    html, _ = classify_many(Models([run]), None, texts, "", run, str(tmp_path))
    assert "7 reviews: 11: 2, 6: 4, 1 of 1 other labels" in re.sub("<.*?>", "", html)
    assert "and 1 less probable labels" in read_review(Models([run]), "wonderful", run)


@pytest.mark.parametrize("which", ["run", "three"])
def test_an_answer_may_be_unsure(which, tmp_path, request):
    run = request.getfixturevalue(which)
    models = Models([run])
    assert '<p class="verdict">UNSURE: ' in read_review(models, "a film", run, None, 90)
    assert "UNSURE" not in read_review(models, "a wonderful film", run, None, 90)
    # What every answer has is no bound.
    assert "UNSURE" not in read_review(models, "a film", run, None, 100 / len(models.describe(run)[1]))
    assert "unsure_below is 1.01; allowed: above" in read_review(models, "a film", run, None, 101)
    html, path = classify_many(models, None, "a film\nwonderful\n", "", run, str(tmp_path), 90)
    header, *rows = rows_of(path)
    assert [row[1].upper() for row in rows] == ["UNSURE", "POSITIVE"]
    assert len(header) == 4 + len(models.describe(run)[1])
    assert "UNSURE: 1</strong>" in html
    assert html.count("<i style=") == 2
