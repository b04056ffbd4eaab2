"""Texts as people have them: each means, token by token, what it looks like."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from datasets import Dataset
from transformers import AutoTokenizer, pipeline

from hf_lstm_sentiment import Classifier, pretrained, train_tokenizer
from hf_lstm_sentiment.data.encoding import encode_reviews

PLAIN = "I don't think it's good."
TWICE = "\u00c3\u00a2\u00e2\u201a\u00ac\u00e2{}"
SAME = [
    # HTML entities
    *((PLAIN.replace("'", entity), PLAIN) for entity in ("&#39;", "&#039;", "&#x27;", "&#X27;", "&apos;", "&rsquo;")),
    *((PLAIN.replace("'", entity), PLAIN) for entity in ("&amp;#39;", "&amp;amp;rsquo;", "&#38;#39;", "&#8217;")),
    *((PLAIN.replace("'", entity), PLAIN) for entity in ("&#39", "&#8217", "&#x2BC;", "&#65287;", "&rsquor;")),
    ("a &quot;great&quot; film &amp; a clich&eacute;", 'a "great" film & a cliché'),
    ("&ldquo;Great&rdquo; &mdash; it&nbsp;was&hellip;", '"Great" -- it was...'),
    ("Almod&oacute;var, Fran&ccedil;ois, na&#239;ve, CAF&Eacute;, caf&#xE9;, Krabb&#233;", None),
    ("&lt;br /&gt;Great&lt;/p&gt;&amp;lt;i&amp;gt;film", "Great film"),
    ("Great&#33; Is it&#63; &#40;no&#41; &#36;5 5&#37; a&#47;b", "Great! Is it? (no) $5 5% a/b"),
    ("Dolce&Gabbana; AT&T", "Dolce & Gabbana ; AT & T"),
    # Tags
    ("<p>Great.</p><p>Really <i>great</i>, un<b>believ</b>able.</p>", "Great. Really great, unbelievable."),
    ('See <a href="http://x.y/z?q=1">this</a><BR/>now<hr>', "See this now"),
    ("<!-- by me --><section>Great</section><dl><dt>film</dl>", "Great film"),
    ("10<sup>th</sup> <3 x < y > z", "10th love x < y > z"),
    # Escapes
    (r"Great.\n\nNot bad.\tReally.\r\nYes", "Great. Not bad. Really. Yes"),
    (r"It isn\'t \"bad\", don\\'t say don\u2019t", """It isn't "bad", don't say don't"""),
    (r"It isn\u2019t bad\u2026 don\u0027t\xa0go\u2014it\x27s 9\/10", "It isn't bad... don't go -- it's 9/10"),
    # Apostrophes, quotation marks, dashes; bytes of Windows and low bytes; what a wrong decoding leaves
    *((PLAIN.replace("'", mark), PLAIN) for mark in "\u2019\u2018\u201b\u2032\u02bc\uff07`\u00b4\x91\x92\x19\ua78c"),
    *((f"{mark}Great{mark}", '"Great"') for mark in "\u201c\u201d\u201e\u00ab\u00bb\u2033\x93\x94\x1c\x1d\uff02"),
    *((f"great {mark} not", "great -- not") for mark in "\u2013\u2014\u2015\u2012\u0096\u0097\u0014"),
    *((f"well{mark}known", "well-known") for mark in "\u2010\u2011\u2212\uff0d"),
    # In Windows' page, in Latin-1, on a Mac, in Windows' page twice; and quotes doubled as in SQL.
    *((PLAIN.replace("'", found), PLAIN) for found in ("\u00e2\u20ac\u2122", "\u00e2\u0080\u0099", "\u00c2\u0092")),
    *((PLAIN.replace("'", found), PLAIN) for found in ("\u201a\u00c4\u00f4", TWICE.format("\u201e\u00a2"), "''")),
    (
        "\u201a\u00c4\u00faOk\u201a\u00c4\u00f9 " + TWICE.format("\u20ac\u0153") + " so\u201a\u00c4\u00b6",
        '"Ok" -- so...',
    ),
    ("\u00e2\u20ac\u0153Great\u00e2\u20ac\u009d \u00e2\u20ac\u201c a clich\u00c3\u00a9\u00e2\u20ac\u00a6", None),
    ("I don?t, DON?T, don\ufffdt, it?s, I\ufffdll. Is it?s=1?", "I don't, DON'T, don't, it's, I'll. Is it?s=1?"),
    # Invisible characters
    ("\ufeffA won\u00adder\u00adful\u200d film\ufe0f", "A wonderful film"),
    ("a\u200b good \u200bfilm\u200band I don\u200b't", "a good film and I don't"),
    ("Disney\u2122 film", "Disney film"),
    # Compatibility forms
    ("\uff27\uff4f\uff4f\uff44 \U0001d420\U0001d428\U0001d428\U0001d41d \ufb01ne \u2460", "good good fine 1"),
    ("\uff29 \uff44\uff4f\uff4e\uff07\uff54", "I don't"),
    ("4\u00bd stars", "4 1/2 stars"),
    # A missing apostrophe
    ("dont isnt WASNT doesnt didnt wouldnt havent arent aint mightnt", None),
    # Numbers
    ("10stars 3:30pm 1080p 1,000x 10/10 20mins", "10 stars 3:30 pm 1080 p 1,000 x 10 / 10 20 mins"),
    # Letters drawn out
    ("goooood BAAAD cooool hooot waaaay sloooowly niiiice", "good BAD cool hoot way sloowly nice"),
    ("Rocky III, www.imdb.com, good, bee", "Rocky III, www.imdb.com, good, bee"),
    # Opinions
    ("Film \U0001f60d\U0001f60d", "Film love love"),
    ("Film \U0001f44e\U0001f3fd \u2764\ufe0f", "Film terrible love"),
    ("Film :) :-) =) :D (: :( :-( :'(", "Film smile smile smile smile smile disappointed disappointed disappointed"),
    ("Film XD, xDD! \u2605\u2605\u2605\u2606\u2606 \u2b50\ufe0f", "Film hilarious, hilarious! three stars one star"),
    ("At 3:) 4:( and http://x", "At 3 : ) 4 : ( and http : / / x"),
]
MEANT = {
    "Almod&oacute;var": "Almodóvar, François, naïve, CAFÉ, café, Krabbé",
    "\u00e2\u20ac\u0153G": '"Great" -- a cliché...',
    "dont isnt": "don't isn't WASN'T doesn't didn't wouldn't haven't aren't ain't mightn't",
}
CASES = [(text, plain or next(m for start, m in MEANT.items() if text.startswith(start))) for text, plain in SAME]
POSITIVE = ["😍", "👍", "❤️", "👏", "😀", "😂", "🤩", "XD", "★★★★★", ":)", ":-)", ":D", "<3"]
NEGATIVE = ["👎", "😡", "🤮", "💩", "😴", "🙄", "😒", "😞", "★", ":(", ":-(", "=("]


WITH_DIGITS = ["3d", "2nd", "8mm", "1980s"]
NO_NEGATION = ["cant", "wont", "wed", "ill", "were", "shell"]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(pretrained())


@pytest.mark.parametrize(("text", "plain"), CASES)
def test_a_text_means_what_it_looks_like(tokenizer, text, plain):
    assert tokenizer.tokenize(text) == tokenizer.tokenize(plain)
    assert tokenizer(text)["input_ids"] == tokenizer(plain)["input_ids"]


def test_the_plain_forms_are_themselves(tokenizer):
    assert tokenizer.tokenize(PLAIN) == ["i", "do", "n't", "think", "it", "'s", "good", "."]
    assert tokenizer.tokenize("10 stars, 1,000 3d 2nd 8mm 1980s") == ["10", "stars", ",", "1,000", *WITH_DIGITS]
    assert tokenizer.tokenize(" ".join(NO_NEGATION)) == NO_NEGATION


def test_the_reference_scheme_leaves_texts_as_they_are():
    # Python takes separators of ASCII for white space.
    texts = [text for text, _ in CASES if not {*text} & {*"\x1c\x1d"}]
    tokenizer = train_tokenizer(texts, scheme="whitespace")
    for text in texts:
        assert tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"]) == text.lower().split()


def test_emoji_and_emoticons_carry_an_opinion():
    classifier = Classifier.from_pretrained()
    for frame in ("The film {}", "I watched it with my sister. {} {}", "My review: {}"):
        positive = classifier.logits([frame.replace("{}", sign) for sign in POSITIVE])
        negative = classifier.logits([frame.replace("{}", sign) for sign in NEGATIVE])
        assert positive.min() > negative.max(), frame
        assert (positive > 0).all()


def test_training_pipeline_and_classifier_read_the_same(tokenizer):
    texts, classifier = [text for case in CASES for text in case], Classifier.from_pretrained()
    trained_on = encode_reviews(Dataset.from_dict({"text": texts}), tokenizer, max_length=classifier.max_length)
    assert trained_on["input_ids"][:] == classifier.token_ids(texts)
    found = pipeline("text-classification", model=pretrained(), truncation=True)(texts)
    for one, other in zip(found, classifier(texts), strict=True):
        assert (one["label"], one["score"]) == (other.label, pytest.approx(other.score, abs=1e-5))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_a_browser_reads_the_same(tokenizer, tmp_path):
    """The steps of transformers.js, which makes JavaScript's regular expressions of the patterns."""
    script = """
const fs = require("fs"), {texts, file} = JSON.parse(fs.readFileSync(0)), saved = JSON.parse(fs.readFileSync(file));
const regex = (pattern) => new RegExp(pattern.Regex, "gu");
const steps = {Replace: (t, s) => t.replaceAll(regex(s.pattern), s.content), NFKC: (t) => t.normalize("NFKC"),
               Lowercase: (t) => t.toLowerCase()};
const normalize = (text) => saved.normalizer.normalizers.reduce((t, step) => steps[step.type](t, step), text);
console.log(JSON.stringify(texts.map((text) => normalize(text).match(regex(saved.pre_tokenizer.pattern)) ?? [])));
"""
    texts = [text for case in CASES for text in case]
    data = json.dumps({"texts": texts, "file": f"{pretrained()}/tokenizer.json"})
    done = subprocess.run(["node", "-e", script], input=data, capture_output=True, text=True, check=True)
    backend = tokenizer.backend_tokenizer
    for text, tokens in zip(texts, json.loads(done.stdout), strict=True):
        normal = backend.normalizer.normalize_str(text)
        assert tokens == [token for token, _ in backend.pre_tokenizer.pre_tokenize_str(normal)], text
