"""Pairs of short verdicts that differ in few words and in their meaning: what a bag of words gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Pair(NamedTuple):
    """Two texts of nearly the same words.

    Attributes:
        group: What makes the difference.
        positive: The text that praises.
        negative: The text that blames.
    """

    group: str
    positive: str
    negative: str


_GROUPS: dict[str, tuple[tuple[str, str], ...]] = {
    "negation": (
        ("The acting is good.", "The acting is not good."),
        ("I liked this film.", "I did not like this film."),
        ("I would watch it again.", "I would never watch it again."),
        ("There is nothing wrong with the ending.", "There is something wrong with the ending."),
        ("I was never bored.", "I was often bored."),
        ("The plot does not drag.", "The plot does drag."),
        ("You will have no regrets about buying a ticket.", "You will have regrets about buying a ticket."),
        ("None of the jokes fall flat.", "All of the jokes fall flat."),
    ),
    "double negation": (
        ("It is not a bad film.", "It is not a good film."),
        ("I cannot say that I disliked it.", "I cannot say that I liked it."),
        ("There was not one scene that I did not enjoy.", "There was not one scene that I did enjoy."),
        ("Nobody in the cast is less than excellent.", "Nobody in the cast is anything like excellent."),
        ("You will not be disappointed.", "You will not be entertained."),
        ("It never fails to amuse.", "It never manages to amuse."),
        ("The director does not waste a single minute.", "The director does waste every single minute."),
        ("It is hardly a waste of time.", "It is surely a waste of time."),
    ),
    "contrast": (
        ("The story is thin, but the film is a joy.", "The film is a joy to look at, but the story is thin and dull."),
        ("The effects are cheap but I loved it.", "I loved the effects but it is cheap."),
        ("Although the middle is weak, the film is wonderful.", "Although the middle is wonderful, the film is weak."),
        ("The film is moving, although the music is awful.", "The film is awful, although the music is moving."),
        ("Despite a poor script, it is a great film.", "Despite a great script, it is a poor film."),
        ("It is a great film despite its poor script.", "It is a poor film despite its great script."),
        ("Silly dialogue, yet the whole is charming.", "Charming dialogue, yet the whole is silly."),
        ("The lead is terrible; still, I had a lovely time.", "The lead is lovely; still, I had a terrible time."),
    ),
    "intensity": (
        ("It is very watchable.", "It is barely watchable."),
        ("The jokes are nearly all funny.", "The jokes are hardly ever funny."),
        ("The film is quite long and quite gripping.", "The film is far too long and scarcely gripping."),
        ("It is a little slow and thoroughly rewarding.", "It is thoroughly slow and a little rewarding."),
        ("The cast gives us more than enough charm.", "The cast gives us less than enough charm."),
        ("It has a few flaws and many delights.", "It has many flaws and a few delights."),
        ("Almost everything in it works.", "Almost nothing in it works."),
        ("It is always clever and seldom boring.", "It is seldom clever and always boring."),
    ),
    "wish": (
        ("I am glad I saw this film.", "I wish I had not seen this film."),
        ("It is as funny as it should be.", "It should have been funny."),
        ("This is the good film I had hoped for.", "I had hoped for a good film."),
        ("It is just as exciting as it could have been.", "It could have been so exciting."),
        ("I wish it had gone on for longer.", "I wish it had ended sooner."),
        ("If you miss it, you will be sorry.", "If you see it, you will be sorry."),
        ("It wants to be a masterpiece and is.", "It wants to be a masterpiece."),
        ("With a script this good, nothing could be better.", "With a good script, this could be better."),
    ),
    "comparison": (
        ("It is better than the first film.", "It is worse than the first film."),
        ("The first film was worse than this.", "The first film was better than this."),
        ("Nothing this year is better.", "Anything this year is better."),
        ("I have rarely seen a better comedy.", "I have rarely seen a worse comedy."),
        ("The others are dull beside this one.", "This one is dull beside the others."),
        ("It beats the great book it is based on.", "The great book it is based on beats it."),
        ("You could hardly find a finer film.", "You could easily find a finer film."),
        ("Its rivals look poor next to it.", "It looks poor next to its rivals."),
    ),
    "understatement": (
        ("You could do a lot worse tonight.", "You could do a lot better tonight."),
        ("It has its moments, and they are all of them.", "It has its moments, and they are few of them."),
        ("I did not look at my watch once.", "I did look at my watch more than once."),
        ("I stayed until the last of the credits.", "I left before the first half was over."),
        ("My ticket was worth every penny.", "My ticket was not worth a penny."),
        ("There is more to it than meets the eye.", "There is less to it than meets the eye."),
        ("I could have sat there for another hour.", "I could not have sat there for another minute."),
        ("I have told all my friends to go.", "I have told all my friends to stay away."),
    ),
    "later verdict": (
        ("Slow at first, but worth it.", "Worth it at first, but slow."),
        ("It starts badly and ends brilliantly.", "It starts brilliantly and ends badly."),
        ("I expected rubbish and got a gem.", "I expected a gem and got rubbish."),
        ("The trailer looked awful. The film is superb.", "The trailer looked superb. The film is awful."),
        ("Critics hated it. I think it is terrific.", "Critics think it is terrific. I hated it."),
        ("I was bored for ten minutes, then I was hooked.", "I was hooked for ten minutes, then I was bored."),
        ("At twelve I hated it; today I love it.", "At twelve I loved it; today I hate it."),
        ("People call it dull. They are wrong.", "People call it great. They are wrong."),
    ),
}

PAIRS = tuple(Pair(group, *texts) for group, pairs in _GROUPS.items() for texts in pairs)


def score_pairs(score: Callable[[Sequence[str]], ArrayLike]) -> dict[str, dict[str, Any]]:
    """Measure a classifier on the pairs.

    Args:
        score: Gives each text a number that is above 0 for POSITIVE, such as `Classifier.logits`.

    Returns:
        For each group and for "all": "accuracy", the share of right decisions on single texts, "ordered", the share of
        pairs whose positive text has the higher score, and "pairs", their number.
    """
    scores = np.asarray(score([text for pair in PAIRS for text in pair[1:]]), dtype=np.float64).reshape(-1, 2)
    groups = np.array([pair.group for pair in PAIRS])
    return {
        group: _share(scores if group == "all" else scores[groups == group])
        for group in (*dict.fromkeys(pair.group for pair in PAIRS), "all")
    }


def _share(scores: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, Any]:
    right = np.concatenate([scores[:, 0] > 0, scores[:, 1] <= 0])
    return {
        "accuracy": float(right.mean()),
        "ordered": float((scores[:, 0] > scores[:, 1]).mean()),
        "pairs": len(scores),
    }
