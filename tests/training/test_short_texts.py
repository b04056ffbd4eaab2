from __future__ import annotations

import json
import re
from pathlib import Path

from hf_lstm_sentiment.training.short_texts import cut_reviews, generate_pairs, generate_passages, move_to_other_things

PAIRS = json.loads(Path("scripts/minimal_pairs.json").read_text(encoding="utf-8"))
MEASURED = [text for pairs in PAIRS.values() for pair in pairs for text in pair]
REVIEWS = [
    "A fine film from start to end. The acting is superb!<br /><br />I loved the plot. Nobody should miss this movie.",
    "Too short. One of those long sentences that nobody ever wants to read to its end, for " + "it goes on and " * 20,
    "",
]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def test_pairs_differ_and_are_none_of_those_that_are_measured():
    pairs = generate_pairs(20_000, seed=45)
    assert pairs[:500] == generate_pairs(500, seed=45) != generate_pairs(500, seed=2)
    texts = [text for pair in pairs for text in pair]
    assert all(praise != blame for praise, blame in pairs)
    assert not [text for text in texts if re.search(r"[{}]|  ", text)]
    assert len(set(texts)) > 20_000
    # Nor of the same words but for what they are about and how it is judged.
    generated = {tuple(words(text)) for text in texts}
    fives = {tuple(found[i : i + 5]) for found in map(words, MEASURED) for i in range(len(found) - 4)}
    assert not {tuple(words(text)) for text in MEASURED} & generated
    assert not [text for text in generated if fives & {text[i : i + 5] for i in range(len(text) - 4)}]


def test_passages_hold_several_verdicts_and_are_the_same_for_one_seed():
    assert all(len(words(passage)) > 3 for passage in generate_passages(50, seed=0))
    assert generate_passages(50, seed=0) == generate_passages(50, seed=0) != generate_passages(50, seed=1)


def test_cuts_are_sentences_and_passages():
    cuts = cut_reviews(REVIEWS, 100, seed=0)
    assert {"The acting is superb!", "A fine film from start to end.", "Nobody should miss this movie."} <= set(cuts)
    assert not [cut for cut in cuts if "<br" in cut or cut == "Too short."]
    assert any(cut.count(".") > 1 for cut in cuts)
    assert len(cut_reviews(REVIEWS, 2, seed=0)) == 2


def test_films_become_other_things_and_what_speaks_of_none_stays_out():
    moved = move_to_other_things(["This film is better than the film before, and the acting is fine."], 1, seed=3)
    assert not re.search("film|acting", moved[0])
    assert moved[0].count(re.match(r"This (.*) is better", moved[0])[1]) == 2
    assert move_to_other_things(["Nothing to see here.", "A filmy matter."], 5, seed=0) == []
