from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.transforms import Bbox

from hf_lstm_sentiment import (
    Explainer,
    SentimentLSTMConfig,
    SentimentLSTMForSequenceClassification,
    explain,
    train_tokenizer,
)
from hf_lstm_sentiment.evaluation.faithfulness import deletion_faithfulness
from hf_lstm_sentiment.inference.explain import TOLERANCE
from hf_lstm_sentiment.utils.figures import write_figure
from tests.pages import Page
from tests.reviews import BAD, GOOD, make_reviews

pytestmark = pytest.mark.usefixtures("one_thread")

MAX_LENGTH = 12
TEXTS = [text for text, _ in make_reviews(60)]
REVIEW = "word1 wonderful word2 terrible, boring never-seen word3 great"
VARIANTS = {
    "last": {},
    "max": {"pooling": "max"},
    "mean": {"pooling": "mean", "num_hidden_layers": 2},
    "last, both directions": {"bidirectional": True},
    "max, both directions": {"bidirectional": True, "pooling": "max"},
    "naive padding": {"naive_padding": True},
}


def make(*, scheme="whitespace", **changes):
    """A model whose word vectors say which words are good and bad, loudly enough to saturate the cells."""
    words = train_tokenizer(TEXTS, scheme=scheme, vocab_size=200, max_length=MAX_LENGTH)
    torch.manual_seed(0)
    config = SentimentLSTMConfig(vocab_size=len(words), embedding_size=8, hidden_size=6, **changes)
    model = SentimentLSTMForSequenceClassification(config)
    with torch.no_grad():
        for sign, some in ((1, GOOD), (-1, BAD)):
            for word in some:
                model.sentiment_lstm.word_embeddings.weight[words.convert_tokens_to_ids(word)] += sign * 3.0
        model.classifier.weight.mul_(6)
    return model, words


@pytest.fixture(scope="module", params=VARIANTS)
def explainer(request):
    return Explainer(*make(**VARIANTS[request.param]))


@pytest.fixture(scope="module")
def one():
    return Explainer(*make(pooling="max"))


@pytest.mark.parametrize("text", [TEXTS[0], REVIEW, "wonderful", "terrible " * 50])
def test_probabilities_are_the_classifiers_and_contributions_sum_to_the_logit_minus_the_baselines(
    explainer, text, monkeypatch
):
    explanation = explainer(text)
    words = [word for word in explanation.words if not word.truncated]
    expected = 1 / (1 + np.exp(-explainer.classifier.logits([text[: word.end] for word in words]).astype(np.float64)))
    np.testing.assert_allclose([word.probability for word in words], expected, atol=1e-5)
    # Or any curve would do.
    assert len(words) == 1 or np.ptp(expected) > 1e-4
    (prediction,) = explainer.classifier([text])
    assert (explanation.label, explanation.score) == (prediction.label, pytest.approx(prediction.score, abs=1e-5))
    total, difference = sum(word.contribution for word in words), explanation.logit - explanation.baseline_logit
    assert abs(total - difference) <= TOLERANCE * max(abs(difference), 0.1)
    assert explanation.completeness_error < TOLERANCE
    # Too few points are doubled.
    monkeypatch.setattr("hf_lstm_sentiment.inference.explain.STEPS", 1)
    assert explainer(text).completeness_error < TOLERANCE


@pytest.fixture(scope="module")
def three():
    return Explainer(*make(pooling="mean", id2label={0: "bad", 1: r"$\frac so$", 2: "<b>good</b>"}))


def test_of_three_labels_the_predicted_or_the_named_one_is_explained(three, tmp_path):
    (prediction,) = three.classifier([REVIEW], all_scores=True)
    assert (three(REVIEW).target, three(REVIEW).label) == (prediction.label, prediction.label)
    for label in three.classifier.labels:
        explanation = explain(REVIEW, label=label, model=three)
        assert (explanation.label, explanation.score) == (prediction.label, pytest.approx(prediction.score, abs=1e-6))
        assert explanation.probabilities == pytest.approx(tuple(prediction.scores.values()), abs=1e-6)
        assert explanation.logit == pytest.approx(float(np.log(1 / (1 / prediction.scores[label] - 1))), abs=1e-4)
        assert sum(word.contribution for word in explanation.words) == pytest.approx(
            explanation.logit - explanation.baseline_logit, abs=TOLERANCE
        )
        prefixes = three.classifier([REVIEW[: word.end] for word in explanation.words], all_scores=True)
        for word, prefix in zip(explanation.words, prefixes, strict=True):
            assert word.probabilities == pytest.approx(tuple(prefix.scores.values()), abs=1e-5)
            assert word.probability == pytest.approx(prefix.scores[label], abs=1e-5)
        page = Page(explanation.to_html())
        assert f"towards {label}" in page.text
        assert "towards another label" in page.text
        assert len([tag for tag, _ in page.tags if tag == "polyline"]) == 3
        assert explanation.plot(tmp_path / "three.png").stat().st_size > 0
    assert len(Page(three("").to_html()).text) > 100
    assert three("").plot(tmp_path / "empty.png").stat().st_size > 0
    with pytest.raises(ValueError, match=r"label is 'fair'; allowed: \('bad', '.*', '<b>good</b>'\)"):
        three(REVIEW, label="fair")


def test_the_first_of_two_labels_can_be_explained_too(one):
    second, first = one(REVIEW), one(REVIEW, label="NEGATIVE")
    assert (first.label, first.score, first.logit) == (second.label, second.score, -second.logit)
    assert [w.contribution for w in first.words] == pytest.approx([-w.contribution for w in second.words], abs=1e-9)
    assert [w.probability for w in first.words] == pytest.approx([1 - w.probability for w in second.words])
    assert Page(first.to_html_fragment(2)).text == Page(second.to_html_fragment(2)).text


def test_contributions_agree_with_a_fine_sum_over_the_path():
    """Integrated gradients once more, by the midpoint rule and through the model's own forward pass."""
    model, words = make(pooling="mean")
    ids = torch.tensor(words([REVIEW])["input_ids"])
    vectors = model.eval().get_input_embeddings()(ids).detach()
    points = (torch.arange(400) + 0.5) / 400
    scaled = (points[:, None, None] * vectors).requires_grad_()
    (gradient,) = torch.autograd.grad(model(inputs_embeds=scaled).logits[:, 1].sum(), scaled)
    expected = (gradient.mean(0) * vectors[0]).sum(-1)
    explanation = Explainer(model, words)(REVIEW)
    np.testing.assert_allclose([word.contribution for word in explanation.words], expected, atol=2e-3)
    # The path starts at as many zero vectors.
    baseline = model(inputs_embeds=torch.zeros_like(vectors)).logits[0, 1].item()
    assert explanation.baseline_logit == pytest.approx(baseline, abs=1e-6)


def test_a_sum_that_stays_wrong_is_reported(one, monkeypatch, caplog):
    assert one(REVIEW).completeness_error < 0.01
    assert not caplog.messages
    monkeypatch.setattr(Explainer, "_integrate", lambda self, v, *_: np.zeros(len(v)))
    assert one(REVIEW).completeness_error > 0.5
    assert caplog.messages == ["the attributions are inexact: their sum is 100.0 % off the logit's"]


def test_words_beyond_the_models_length_are_marked(one):
    explanation = one("wonderful " * 30_000)
    assert [word.truncated for word in explanation.words] == [False] * MAX_LENGTH + [True] * (30_000 - MAX_LENGTH)
    assert {(w.contribution, w.probability) for w in explanation.words if w.truncated} == {(None, None)}
    assert explanation.logit == pytest.approx(one("wonderful " * MAX_LENGTH).logit, abs=1e-6)
    assert len(explanation.to_html()) < 20_000
    assert "29,988 more are not read" in explanation.to_html()
    *_, (_, last) = Page(explanation.to_html_fragment()).tags
    assert "not read" in last["title"]
    assert "background:rgba(213, 94, 0, 0.000)" not in last["style"]


@pytest.mark.parametrize("text", ["", "   \n\t "])
def test_a_text_without_a_word(explainer, text, tmp_path):
    explanation = explainer(text)
    assert explanation.words == ()
    assert explanation.logit == pytest.approx(float(explainer.classifier.logits([text])[0]), abs=1e-6)
    assert explanation.completeness_error == 0
    assert explanation.to_html_fragment().strip() == explanation.to_html_fragment(3).strip() == ""
    assert explanation.label in explanation.to_html()
    assert explanation.plot(tmp_path / "empty.png").stat().st_size > 0


@pytest.mark.parametrize("scheme", ["whitespace", "words"])
@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60) | st.text("aé e\u0301<pad>unk.'\u2019…—brBR/ \n\ufb01İ😀\u0000", max_size=40))
@example("good\x1ffilm \x1c")
def test_offsets_are_places_in_the_original_text(scheme, text):
    explanation = of_scheme(scheme)(text)
    before = 0
    for word in explanation.words:
        assert before <= word.start <= word.end <= len(text)
        assert word.text == text[word.start : word.end]
        before = word.end
    if scheme == "whitespace" and text.isascii():
        # Unicode's white space; Python's own `split` takes four control characters for it, too.
        expected = re.findall(r"[^\t\n\v\f\r ]+", text[: before or None])
        assert [word.text for word in explanation.words] == expected[: len(explanation.words)]


@cache
def of_scheme(scheme):
    return Explainer(*make(scheme=scheme))


@pytest.mark.parametrize(
    ("scheme", "text", "words"),
    [
        ("whitespace", "A <pad> film\u00a0<UNK>good", ["A", "<pad>", "film", "<UNK>good"]),
        ("words", "I don\u2019t<br />know…", ["I", "do", "n\u2019t", "know", "…"]),
        ("words", "e\u0301te\u0301, cannot", ["e\u0301te\u0301", ",", "can", "not"]),
        ("words", "so—what 😀", ["so", "—", "what", "😀"]),
        ("words", "isn&#39;t a caf&eacute; :-) dont", ["is", "n&#39;t", "a", "caf&eacute;", ":-)", "do", "nt"]),
    ],
)
def test_words_are_spelt_as_in_the_review(scheme, text, words):
    assert [word.text for word in of_scheme(scheme)(text).words] == words


@pytest.mark.parametrize(
    ("text", "options", "error", "message"),
    [
        ("good \ud83d film", {}, ValueError, "half of a surrogate pair"),
        (None, {}, TypeError, r"text 0 is None \(NoneType\); every text must be a string"),
        ("good", {"model": "no/such/model"}, FileNotFoundError, "allowed: a run directory or a Hub repository"),
    ],
)
def test_what_cannot_be_explained_is_refused(one, text, options, error, message):
    with pytest.raises(error, match=message):
        explain(text, **{"model": one} | options)


def test_explain_loads_a_checkpoint_once_or_takes_an_explainer(tmp_path):
    model, words = make()
    for part in (model, words):
        part.save_pretrained(tmp_path)
    of_path = explain(REVIEW, model=tmp_path)
    assert of_path == explain(REVIEW, model=Explainer.from_pretrained(tmp_path))
    assert of_path.logit == pytest.approx(Explainer(model, words)(REVIEW).logit, abs=1e-5)
    again = json.loads(json.dumps(of_path.to_dict()))
    assert (again["label"], again["words"][1]["text"]) == (of_path.label, "wonderful")
    assert (again["target"], again["labels"]) == ("POSITIVE", ["NEGATIVE", "POSITIVE"])


def test_explaining_leaves_no_trace_on_the_model():
    model, words = make()
    before = {name: tensor.clone() for name, tensor in model.train().state_dict().items()}
    with torch.inference_mode():
        without_gradients = Explainer(model, words)(REVIEW)
    assert without_gradients == Explainer(model, words)(REVIEW)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_threads_get_the_answers_that_one_gets(one):
    alone, barrier = list(map(one, TEXTS[:24])), threading.Barrier(8)

    def work(i):
        if i < 8:
            barrier.wait(timeout=60)
        return one(TEXTS[i])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(24))) == alone


@pytest.mark.parametrize(
    ("text", "known", "said"), [(REVIEW, 0.75, False), ("word1 vier fünf sechs", 0.25, True), ("", 0, False)]
)
def test_a_text_that_the_model_cannot_judge_is_said_to_be_one(one, text, known, said):
    explanation = one(text)
    assert explanation.known == known == one.classifier([text])[0].known
    assert ("The model cannot judge this text" in explanation.to_html()) == said


@pytest.mark.parametrize(
    "text", [REVIEW, "<script>alert('x')</script> & \"good\"", "a\r\nb\rc \x00 \x9b <em>great</em>"]
)
def test_html_shows_the_review_and_neither_runs_nor_loads_anything(text):
    one = Explainer(*make(pooling="max", id2label={0: "<em>bad</em>", 1: "<em>good</em>"}))
    shown = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd").replace("\x9b", "\ufffd")
    explanation = one(text)
    part, page = Page(explanation.to_html_fragment()), Page(explanation.to_html())
    assert part.text == shown
    assert shown in page.text
    assert "<em>good</em>" in page.text
    assert part.names == {"span"}
    assert not {"script", "em", "link", "img"} & page.names
    assert not page.loaded


def test_colours_tell_direction_and_strength(one):
    explanation = one(REVIEW)
    styles = {tag["title"]: tag["style"] for _, tag in Page(explanation.to_html_fragment()).tags}
    assert len(styles) == len(explanation.words)
    for word, style in zip(explanation.words, styles.values(), strict=True):
        assert ("0, 114, 178" in style) == (word.contribution > 0)
    strongest = max(explanation.words, key=lambda word: abs(word.contribution))
    assert "0.550" in styles[next(title for title in styles if f"{strongest.contribution:+.3f}" in title)]
    assert ["dotted" in style for style in styles.values()] == [word.unknown for word in explanation.words]
    assert {word.text for word in explanation.words if word.unknown} == {"terrible,", "never-seen"}


def test_a_passage_is_that_of_the_largest_sum(one):
    explanation = one("  word1 word2 wonderful great word3  word4 terrible ")
    sign = 1 if explanation.logit > 0 else -1
    sums = {i: sign * sum(word.contribution for word in explanation.words[i : i + 2]) for i in range(6)}
    best = max(sums, key=sums.get)
    start, end = explanation.words[best].start, explanation.words[best + 1].end
    passage = Page(explanation.to_html_fragment(2)).text
    assert passage == f"{'… ' if best else ''}{explanation.text[start:end]}{' …' if best < 5 else ' '}"
    assert Page(explanation.to_html_fragment(7)).text == Page(explanation.to_html_fragment()).text == explanation.text


@pytest.mark.parametrize("text", ["great", REVIEW, "great awful word1 " * 20 + "$x_1$ 😀", "extraordinarily good " * 6])
def test_plot_writes_a_picture(text, tmp_path, monkeypatch):
    def written(figure, path):
        (legend,), upper, lower = figure.legends, *figure.axes
        figure.draw_without_rendering()
        tokens = [name.get_window_extent() for name in lower.get_xticklabels()]
        assert not legend.get_window_extent().overlaps(Bbox.union(tokens))
        assert upper.yaxis.label.get_window_extent().y1 < figure.bbox.y1
        return write_figure(figure, path)

    monkeypatch.setattr("hf_lstm_sentiment.inference.explanation.write_figure", written)
    explainer = Explainer(*make())
    explainer.classifier.max_length = 100
    assert explainer(text).plot(tmp_path / "new" / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_deleting_what_the_attributions_point_at_hurts_more_than_deleting_any(one, monkeypatch):
    texts = [text for text, _ in make_reviews(40, seed=3)]
    found = deletion_faithfulness(one, texts)
    assert found["texts"] == 40
    assert found["difference"] == pytest.approx(found["drop_top"] - found["drop_random"])
    assert 0 < found["interval"][0] < found["difference"] < found["interval"][1]
    assert found == deletion_faithfulness(one, texts)
    assert found["drop_random"] != deletion_faithfulness(one, texts, seed=1)["drop_random"]
    with pytest.raises(ValueError, match="1 of 2 texts have a token"):
        deletion_faithfulness(one, ["good", ""])
    # Attributions of chance are not faithful, or the measure would praise anything.
    generator = np.random.default_rng(0)
    monkeypatch.setattr(Explainer, "_attributions", lambda self, ids, *_: (generator.normal(size=len(ids)), 0.0, 0.0))
    assert abs(deletion_faithfulness(one, texts)["difference"]) < found["difference"] / 4
