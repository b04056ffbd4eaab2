"""Sentences of a text, with their places, classified one by one."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_lstm_sentiment import predict
from hf_lstm_sentiment.inference.sentences import LONGEST, predict_sentences, split_sentences

pytestmark = pytest.mark.usefixtures("one_thread")


def sentences(text):
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. J. R. Smith saw it.", "He liked the U.S. scenes, e.g. the first... not the rest!", '"Why?" she said.'],
        ["It has 3.5 of 5 stars.", "See No. 5.", "I said no.", "So do I.", "Made in the U.S.", "Films, etc. are bad."],
        ["i loved it.", "the acting was great!", "see it"],
        ["1. The plot.", "2. The end, in 1999.", "Really?!"],
        ['He said "It ends."', "(Really.)", "Wait… what?", "Yes…", "No."],
        ["no full stop at all"],
    ],
)
def test_sentences_end_where_a_reader_ends_them(expected):
    assert sentences(" ".join(expected)) == expected


def test_lines_and_paragraphs():
    lines = ["bad plot", "good acting", "It is\nwrapped.", "Yes"]
    assert sentences("bad plot\ngood acting\n\nIt is\nwrapped. Yes") == lines
    assert sentences("no end<br /><br />B. C<br>d") == ["no end", "B. C", "d"]
    assert sentences("这很好。我喜欢。") == ["这很好。", "我喜欢。"]
    assert sentences("") == sentences(" \n<br />") == []


@pytest.mark.parametrize("text", ["and then " * 200, "a, b and so " * 200, "x" * 1_000, "word; " * 300])
def test_a_text_without_an_end_is_cut_between_words(text):
    found = sentences(text)
    assert len(found) > 1
    assert all(LONGEST // 4 < len(piece) <= LONGEST for piece in found[:-1])
    assert " ".join(found).split() == text.split() or " " not in text
    assert not text.startswith("a, ") or all(piece.endswith(",") for piece in found[:-1])


@settings(deadline=None)
@given(text=st.text() | st.text('aB1 .!?…"\n)<br />mr', max_size=80))
def test_nothing_of_any_text_is_lost_or_read_twice(text):
    spans, before = split_sentences(text), 0
    for start, end in spans:
        assert before <= start < end
        assert text[start:end].strip() == text[start:end]
        assert not text[before:start].replace("<br />", "").replace("<br>", "").strip()
        before = end


def test_every_sentence_is_classified_alone():
    text = "A wonderful film. " * 3 + "<br />But the ending is awful and boring, a terrible waste."
    found = predict_sentences(text, all_scores=True, unsure_below=0.6)
    assert [text[s.start : s.end] for s in found] == [s.text for s in found]
    assert [s.prediction.label for s in found] == ["POSITIVE"] * 3 + ["NEGATIVE"]
    assert [s.prediction for s in found] == predict([s.text for s in found])
    assert found[-1].prediction.scores["NEGATIVE"] == found[-1].prediction.score
    assert predict_sentences(" ") == []
    for wrong in (["a"], None, 3):
        with pytest.raises(TypeError, match=r"text 0 is .*; every text must be a string"):
            predict_sentences(wrong)


def test_many_marks_take_no_longer_than_words():
    start, text = time.process_time(), "..." * 20_000 + "x"
    assert split_sentences(text)[-1][1] == len(text)
    assert time.process_time() - start < 5
