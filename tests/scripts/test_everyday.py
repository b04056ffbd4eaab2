"""Everyday texts: what they say, and that they are learned while everything else stays."""

import json
import re
import signal
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from random import Random

import everyday
import numpy as np
import pytest
from generalization import PAIRS
from recorded import load_recorded_reviews

from hf_lstm_sentiment import Classifier, train
from hf_lstm_sentiment.model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification
from hf_lstm_sentiment.training.distill import load_short_texts
from hf_lstm_sentiment.utils.files import read_json
from tests.reviews import TINY, make_reviews, refused, same_weights, save_encoder, write_csv

TEXTS = json.loads(Path(everyday.__file__).with_suffix(".json").read_text(encoding="utf-8"))


def grams(text):
    words = re.findall(r"\w+'?\w*", text.lower())
    return {tuple(words[i : i + 5]) for i in range(len(words) - 4)}


def test_no_text_shares_five_words_in_a_row_with_a_minimal_pair_and_none_stands_on_both_sides():
    aspects = [judged for group in TEXTS["aspects"].values() for judged in group.values()]
    groups = [
        *(TEXTS["titles"], TEXTS["verdicts"]),
        *chain(*(TEXTS[name].values() for name in ("stories", "reviews")), aspects),
    ]
    for group in groups:
        assert not {*group["praise"]} & {*group["blame"]}
        assert all(len(texts) == len({*texts}) for texts in group.values())
    held_out = set().union(*(grams(text) for pairs in PAIRS.values() for pair in pairs for text in pair))
    written = chain.from_iterable(texts for group in groups for texts in group.values())
    assert not [text for text in written if grams(text) & held_out]


def test_held_out_texts_are_never_read():
    drawn = " ".join(everyday.make_text(Random(seed))[0].lower() for seed in range(20_000))
    held_out = [*chain.from_iterable(everyday.HELD_OUT.values())]
    assert len(held_out) > 2_000
    assert not [text for text, _ in held_out if len(text) > 40 and text.lower().rstrip(".") in drawn]


def test_texts_are_praise_a_little_more_often_than_blame_and_say_how_sure_that_is():
    made = [everyday.make_text(Random(seed)) for seed in range(3_000)]
    assert made[:50] == [everyday.make_text(Random(seed)) for seed in range(50)]
    probabilities = Counter(round(p, 2) for _, p in made)
    assert {*probabilities} == {0.04, 0.12, 0.45, 0.88, 0.96}
    assert 0.53 < np.mean([p > 0.5 for _, p in made]) < 0.59
    assert all(text.strip() == text and "{" not in text for text, _ in made)
    sides = {side: set(TEXTS["titles"][side]) for side in ("praise", "blame")}
    for text, p in made:
        assert text not in sides["blame" if p > 0.5 else "praise"]


def test_crossed_reviews_are_the_beginning_and_the_end_of_two_of_a_group():
    def parts(group, cut):
        return {" ".join(cut(pieces, i)) for pieces in group for i in range(len(pieces))}

    cut = [[*map(everyday._JOINT.split, group)] for group in everyday._GROUPS_READ]
    groups = [(parts(g, lambda p, i: p[: i + 1]), parts(g, lambda p, i: p[i:])) for g in cut]
    assert not {*map(" ".join, chain(*cut))} & {*dict(chain(*everyday.HELD_OUT.values()))}
    for text in (everyday.cross(Random(seed)) for seed in range(300)):
        halves = [(text[:i], text[i + 1 :]) for i, letter in enumerate(text) if letter == " "]
        assert any(end in ends and {start, start[:-1]} & starts for start, end in halves for starts, ends in groups)


@pytest.mark.usefixtures("one_thread", "own_cache")
def test_they_are_learned_and_the_answers_on_reviews_stay(tmp_path, monkeypatch):
    # Few texts for a small model, whose reviews hold their words, on either side alike, so that it knows them.
    few = {name: {side: texts[:6] for side, texts in TEXTS[name].items()} for name in ("titles", "verdicts")}
    monkeypatch.setattr(everyday, "_REVIEWS_READ", {side: texts[:6] for side, texts in everyday._REVIEWS_READ.items()})
    aspects = dict(list(TEXTS["aspects"]["goods"].items())[:4])
    stories = {"travel": TEXTS["stories"]["travel"]}
    monkeypatch.setattr(everyday, "_TEXTS", {**few, "stories": stories, "aspects": {"goods": aspects}})
    held = dict.fromkeys(("reviews", "cuts", "sentences"), (16, 1.0)) | {"taught": (8, 0.1)}
    settings = {"_LEARNING_RATE": 2e-2, "_HELD": held, "_WARMUP": 5, "_EVERYDAY": 32}
    settings |= {"_TEACHER": str(save_encoder(tmp_path / "encoder")), "_EPOCHS": 1, "_FITTED": 40, "_CROSSED": 80}
    for name, value in settings.items():
        monkeypatch.setattr(everyday, name, value)
    texts = [everyday.make_text(Random(seed))[0] for seed in range(120)]
    reviews = [(f"{text} {texts[i // 2]}", label) for i, (text, label) in enumerate(make_reviews(240))]
    recipe = replace(TINY, scheme="words", vocab_words=800, dataset=str(write_csv(tmp_path / "reviews.csv", reviews)))
    run = train(recipe, output_dir=tmp_path / "run", seed=1).run_directory
    options = {
        "sentences": str(write_csv(tmp_path / "sentences.csv", make_reviews(120, seed=4))),
        "words": {"names": ["Anna", "Boris"], "countries": ["Peru"]},
        "teacher": tmp_path / "teacher",
    }
    made = everyday.teach_everyday(run, tmp_path / "made", steps=120, **options)
    old, new = read_json(run / "metrics.json"), read_json(made / "metrics.json")
    facts = new["everyday"]
    assert facts["loss_after"] < facts["loss_before"] - 0.1
    assert (facts["texts"], facts["steps"]) == (120 * 32, 120)
    assert 0.3 < facts["held_out"]["accuracy_after"]["all"] < 0.9, (
        "texts of the real list, and hardly a word of them is known"
    )
    kinds = facts["teacher"]["kinds"]
    assert (kinds["crossed"], kinds["generated passages"]) == (80, 10)
    assert facts["kept"]["taught"] == sum(kinds.values())
    assert facts["before"] == {part: old[part] for part in ("validation", "test")}
    model = SentimentLSTMForSequenceClassification.from_pretrained(made, dtype="float32")
    held_out = load_recorded_reviews(new, recipe.dataset, of=made).validation
    found = load_short_texts(options["sentences"]).validation
    # Already divided, so that nothing is left to divide by.
    assert facts["temperature"] != pytest.approx(1, abs=0.01)
    assert everyday.calibrate(model, Classifier.from_pretrained(made), held_out, found) == pytest.approx(1, abs=1e-3)
    # What is held is the answer before, mixed with the label.
    before, (held, labels) = Classifier.from_pretrained(run), map(list, zip(*reviews[:8], strict=True))
    answers = 1 / (1 + np.exp(-before.logits(held)))
    for targets, expected in (
        (everyday.hold(before, held, labels), 0.7 * answers + 0.3 * np.array(labels)),
        (everyday.hold(before, held), answers),
    ):
        assert [target for _, target in targets] == pytest.approx(expected, abs=1e-5)
    titles = [(title, side == "praise") for side, found in few["titles"].items() for title in found]

    def right(run, texts):
        logits = Classifier.from_pretrained(run).logits([text for text, _ in texts])
        return float(np.mean((logits > 0) == np.array([label for _, label in texts])))

    assert right(made, titles) > right(run, titles)
    assert right(made, reviews) > right(run, reviews) - 0.05
    assert "everyday texts" in (made / "README.md").read_text()

    # Stopped and gone on with, it ends at the same weights.
    monkeypatch.setattr(everyday, "_SAVED", 50)
    again = partial(everyday.teach_everyday, run, tmp_path / "stopped", **options)
    drawn = chain(repeat(everyday.make_text, 70 * 32), [lambda rng: signal.raise_signal(signal.SIGINT)])
    with monkeypatch.context() as patch:
        patch.setattr(everyday, "make_text", lambda *args: next(drawn)(*args))
        with pytest.raises(KeyboardInterrupt):
            again(steps=120)
    refused(lambda: again(steps=120), "--resume")
    refused(lambda: again(steps=60, resume=True), "steps")
    refused(lambda: everyday.teach_everyday(run, made, resume=True, **options), "nothing that was stopped")
    resumed = again(steps=120, resume=True)
    assert not (resumed / everyday.CHECKPOINT).exists()
    assert same_weights(made, resumed)
    assert read_json(resumed / "metrics.json")["everyday"] == facts
