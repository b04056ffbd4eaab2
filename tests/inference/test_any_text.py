"""Texts of any kind: one answer, or a readable error where it is no text."""

from __future__ import annotations

import math

import pytest
from transformers import pipeline

from hf_lstm_sentiment import train_tokenizer
from tests.reviews import refused

pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = {
    "empty": "",
    "one space": " ",
    "blank": " \t\n\r\x0b\x0c\u00a0\u2003\u3000",
    "zero width": "\u200b\u200c\u200d\ufeff",
    "a word": "good",
    "unknown words": "xyzzy plugh",
    "upper case": "GOOD FILM",
    "emoji": "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "right to left": "\u0641\u064a\u0644\u0645 \u05d8\u05d5\u05d1 \u202egood",
    "combining marks": "go\u0301\u0302\u0303od " + "e" + "\u0301" * 500,
    "chinese": "\u597d\u7535\u5f71",
    "control characters": "".join(map(chr, range(32))),
    "NUL": "good\0film",
    "the last code point": "\U0010ffff",
    "non-characters": "\ufffe\uffff",
    "replacement": "\ufffd" * 10,
    "html": "<p>good</p><br /><script>alert('x')</script>&amp;",
    "special tokens": "<pad> <unk> <PAD> <UNK> [PAD] </s> <|endoftext|>",
    "only padding": "<pad><pad> <pad>",
    "digits": "1234567890 3.14 1,000 10th \u0663",
    "punctuation": "!!! ??? ... --- '' can't \"",
    "turkish i": "\u0130stanbul \u0131",
    "ligatures": "\ufb01lm \u1e9e",
    "a long word": "a" * 20_000,
    "many words": "good " * 20_000,
    "many line ends": "good\r\nfilm\u2028bad\u2029",
}


@pytest.fixture(scope="module")
def stock(checkpoint):
    return pipeline("text-classification", model=str(checkpoint))


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_has_the_answer_of_the_pipeline_alone_and_in_company(name, small, stock):
    text = TEXTS[name]
    (expected,) = stock([text], truncation=True)
    for prediction in (small([text])[0], small(["a good film", text, ""])[1]):
        assert prediction.label == expected["label"]
        assert prediction.score == pytest.approx(expected["score"], abs=1e-6)
    assert max(map(max, filter(None, small.token_ids([text]))), default=0) < small.config.vocab_size


@pytest.mark.parametrize("scheme", ["whitespace", "words"])
def test_a_tokenizer_learns_from_any_text(scheme):
    texts = [text for text in TEXTS.values() if len(text) < 10_000]
    tokenizer = train_tokenizer([*texts, "word"], scheme=scheme)
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert all(0 <= i < len(tokenizer) for i in ids)
        # Learnt from these very texts, it knows every word, and none of them is padding.
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.pad_token_id not in ids


NO_TEXTS = [None, 3, 1.5, math.nan, True, b"good", ["good"], ("good",), {"text": "good"}, object, "\ud800", "a\udfffb"]


@pytest.mark.parametrize("wrong", NO_TEXTS, ids=ascii)
def test_what_is_no_text_is_refused_with_its_place(wrong, small):
    for call in (lambda: small(["good", wrong]), lambda: train_tokenizer(["good", wrong])):
        refused(call, "text 1 ")
