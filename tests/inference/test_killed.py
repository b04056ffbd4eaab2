"""A file that is being scored is killed again and again, and is scored once."""

from __future__ import annotations

import csv
import signal

import pytest

from tests.reviews import make_reviews, write_csv

pytestmark = pytest.mark.slow

# The function, and before which call of it in that session; forty parts of fifty rows.
CLASSIFY, REPLACE, FSYNC = "hf_lstm_sentiment.inference.classifier:Classifier.__call__", "os:replace", "os:fsync"
SCORING_KILLS = [
    *[(CLASSIFY, call) for call in (1, 3, 2, 5)],
    *[(REPLACE, call) for call in (1, 2, 4, 3)],
    *[(FSYNC, call) for call in (1, 2, 3)],
    *[(CLASSIFY, 2), (FSYNC, 4), (CLASSIFY, 4), (REPLACE, 5)],
]


def test_a_file_is_scored_once_whatever_is_killed(server, checkpoint, tmp_path):
    rows = make_reviews(2_000)
    source = write_csv(tmp_path / "in.csv", [(text, i) for i, (text, _) in enumerate(rows)], header=("text", "number"))
    work = {"source": source, "model": checkpoint, "rows_per_part": 50}
    done = server(predict={**work, "output": tmp_path / "whole.csv"})
    assert done["code"] == 0, done["output"]
    killed = []

    def kill(moments):
        for target, call in moments:
            job = {"predict": {**work, "output": tmp_path / "out.csv"}}
            done = server(**job, kill={"target": target, "call": call, "when": "before"})
            assert done["code"] == -signal.SIGKILL, (target, call, done["output"])
            killed.append(target)

    kill(SCORING_KILLS)
    assert not (tmp_path / "out.csv").exists()
    # What is left to do from here on is to join the parts, and to take the parts away.
    last = len(list((tmp_path / "out.csv.parts").glob("part-*.csv")))
    kill([(REPLACE, 40 - last + 2), (REPLACE, 3), (REPLACE, 4), ("shutil:rmtree", 1), ("pathlib:Path.unlink", 1)])
    done = server(predict={**work, "output": tmp_path / "out.csv"})
    assert done["code"] == 0, done["output"]
    assert len(killed) == 20
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert [row["number"] for row in csv.DictReader((tmp_path / "out.csv").open())] == [str(i) for i in range(2_000)]
    assert not (tmp_path / "out.csv.parts").exists()
