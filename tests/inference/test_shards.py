"""Many files, each into one of its own, in one process and in several."""

from __future__ import annotations

import json
import logging
import signal
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hf_lstm_sentiment import predict_file, predict_files
from hf_lstm_sentiment.cli import main
from hf_lstm_sentiment.inference import files as scoring
from hf_lstm_sentiment.inference.files import find_outputs, share
from tests.reviews import make_reviews, refused, write_csv

pytestmark = pytest.mark.usefixtures("one_thread", "small_windows")

# Names of the outputs; all sizes differ, and e.txt is read for e.csv.
OUTPUTS = ["a.csv", "b.tsv", "c.jsonl", "d.parquet", "e.csv"]
OPTIONS = {"rows_per_part": 20, "batch_size": 4}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def inputs(tmp_path):
    """Five files, each of another format, of 10 to 50 reviews."""
    folder = tmp_path / "in"
    write_csv(folder / "a.csv", make_reviews(50, seed=1))
    b, c, d, e = ([text for text, _ in make_reviews(count, seed=count)] for count in (40, 30, 20, 10))
    folder.joinpath("b.tsv").write_text("\n".join(["id\ttext", *(f"7\t{text}" for text in b)]))
    folder.joinpath("c.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in c))
    pq.write_table(pa.table({"text": d}), folder / "d.parquet")
    folder.joinpath("e.txt").write_text("".join(f"{text}\n" for text in e))
    return folder


@pytest.fixture
def expected(inputs, tmp_path, small):
    """What each file becomes when it is classified by itself."""
    (tmp_path / "single").mkdir()
    for source, name in zip(sorted(inputs.iterdir()), OUTPUTS, strict=True):
        predict_file(source, tmp_path / "single" / name, model=small, **OPTIONS)
    return content(tmp_path / "single")


def content(folder):
    # Not the locks, which a kill leaves behind.
    return {path.name: path.read_bytes() for path in folder.glob("[!.]*") if path.is_file()}


def score(inputs, output_dir, small, **options):
    return predict_files([inputs / "*"], output_dir, model=small, **{**OPTIONS, **options})


def test_each_file_becomes_what_it_becomes_alone_and_is_not_done_again(
    inputs, expected, small, tmp_path, calls, caplog
):
    out, rows = tmp_path / "new" / "out", dict(zip(OUTPUTS, (50, 40, 30, 20, 10), strict=True))
    calls.clear()
    assert predict_files(inputs / "d.parquet", out, model=small, **OPTIONS) == {out / "d.parquet": 20}
    with caplog.at_level(logging.INFO, "hf_lstm_sentiment"):
        assert score(inputs, out, small) == {out / name: rows[name] for name in OUTPUTS if name != "d.parquet"}
    assert f"{out / 'd.parquet'} is done already" in caplog.messages
    assert score(inputs, out, small) == {}
    assert sum(map(len, calls)) == 150
    assert content(out) == expected
    assert sorted(path.name for path in out.iterdir()) == [*(f".{name}.json" for name in OUTPUTS), *OUTPUTS]


@pytest.mark.parametrize("allowed", [3, 4])
def test_killed_again_and_again_it_gets_there(inputs, expected, small, tmp_path, calls, allowed):
    kills = classified = 0
    calls.allowed = allowed
    while True:
        calls.clear()
        try:
            score(inputs, tmp_path / "out", small)
            break
        except SystemExit:
            kills += 1
            classified += sum(map(len, calls))
    assert kills >= 4
    # What was done of a part is lost, and no more.
    assert 150 < classified + sum(map(len, calls)) <= 150 + kills * OPTIONS["rows_per_part"]
    assert content(tmp_path / "out") == expected
    assert not list((tmp_path / "out").glob("*.parts"))


def test_killed_while_it_tidies_up(inputs, expected, small, tmp_path, monkeypatch, calls):
    with monkeypatch.context() as patch:
        patch.setattr(scoring.shutil, "rmtree", lambda *_, **__: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            score(inputs, tmp_path / "out", small)
    assert {"a.csv", "a.csv.parts"} <= {path.name for path in (tmp_path / "out").iterdir()}
    calls.clear()
    assert len(score(inputs, tmp_path / "out", small)) == 5
    assert sum(map(len, calls)) == 40 + 30 + 20 + 10
    assert content(tmp_path / "out") == expected


def test_a_defect_or_a_file_of_somebody_else_is_found_before_anything_is_classified(inputs, small, tmp_path, calls):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "e.csv").write_text("precious")
    with pytest.raises(FileExistsError, match=r"e\.csv is there already; move it away, or name another output"):
        score(inputs, tmp_path / "other", small)
    assert content(tmp_path / "other") == {"e.csv": b"precious"}
    inputs.joinpath("f.csv").write_text("text\ngood\n\xff\n", encoding="latin-1")
    with pytest.raises(ValueError, match=r"f\.csv, row 2: byte 0xff is not UTF-8"):
        score(inputs, tmp_path / "out", small)
    assert not calls
    assert not list((tmp_path / "out").iterdir())


def test_outputs_of_another_run_are_refused(inputs, small, tmp_path):
    out = tmp_path / "out"
    score(inputs, out, small)
    with pytest.raises(ValueError, match=r"a\.csv is there already and of another run: batch_size was 4 and is 5\."):
        score(inputs, out, small, batch_size=5)
    # The same content elsewhere is the same source; in another order it is another.
    moved = inputs.rename(tmp_path / "moved")
    assert score(moved, out, small) == {}
    lines = (moved / "a.csv").read_text().splitlines(keepends=True)
    (moved / "a.csv").write_text("".join([lines[0], *lines[:0:-1]]))
    with pytest.raises(ValueError, match=r"a\.csv is there already and of another run: source was 'sha256"):
        score(moved, out, small)
    # The message's remedy.
    (out / "a.csv").unlink()
    assert score(moved, out, small) == {out / "a.csv": 50}
    (out / "a.csv").write_text("text,label,score\n")
    with pytest.raises(FileExistsError, match=r"a\.csv is there already; move it away"):
        score(moved, out, small)


@pytest.mark.parametrize(
    ("sources", "output_dir", "message"),
    [
        (["a.csv", "two/a.csv"], "out", r"in.a\.csv and .*two.a\.csv would both be written to .*out.a\.csv"),
        (["a.csv", "a.txt"], "out", r"a\.csv and .*a\.txt would both be written to .*out.a\.csv"),
        (["**/*.csv"], "out", "would both be written"),
        (["a.csv"], ".", "both what is read and what is to be written; name another --output_dir"),
        (["*.tsvx"], "out", r"tsvx: no file matches this pattern"),
        (["missing.csv"], "out", r"missing\.csv: no such file; allowed: files"),
        (["two"], "out", "two is a directory; name its files, such as"),
        (["a.csv", "notes.md"], "out", r"notes\.md: files of kind '\.md' are not read"),
        (["a.csv"], "notes.md", r"notes\.md is a file; name a directory"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(inputs, sources, output_dir, message):
    write_csv(inputs / "two" / "a.csv", make_reviews(3))
    (inputs / "a.txt").write_text("good\n")
    (inputs / "notes.md").write_text("none\n")
    before = sorted(inputs.rglob("*"))
    refused(lambda: predict_files([inputs / x for x in sources], inputs / output_dir, model="/no/model"), message)
    assert sorted(inputs.rglob("*")) == before


def test_files_and_patterns(tmp_path, monkeypatch):
    for name in ("b.csv", "a.csv", "[x].csv", "x.csv"):
        (tmp_path / name).write_text("text\n")
    monkeypatch.chdir(tmp_path)
    # What is named twice counts once; a name of brackets is a name where there is such a file.
    found = find_outputs(["x.csv", "?.csv", tmp_path / "a.csv", "[x].csv"], "out")
    names = ["x.csv", "a.csv", "b.csv", "[x].csv"]
    assert [(source.name, output) for source, output in found] == [(name, Path("out", name)) for name in names]


def test_processes_share_the_files_evenly(tmp_path):
    sizes = [0, 0, 5, 70, 10, 10, 30, 1, 40, 0]
    files = [(tmp_path / f"{i}.csv", tmp_path / "out" / f"{i}.csv") for i in range(len(sizes))]
    for (source, _), size in zip(files, sizes, strict=True):
        source.write_bytes(b"x" * size)
    for processes in range(1, 13):
        shares = [share(files, rank, processes) for rank in range(processes)]
        assert sorted(file for mine in shares for file in mine) == sorted(files)
        assert shares == [share(files[::-1], rank, processes) for rank in range(processes)]
    loads = [sum(source.stat().st_size for source, _ in share(files, rank, 2)) for rank in range(2)]
    assert abs(loads[0] - loads[1]) <= 10
    # Empty files are shared too.
    assert len(share([files[0], files[1]], 0, 2)) == 1


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK is '2' and WORLD_SIZE '2' in the environment"),
        ({"RANK": "-1", "WORLD_SIZE": "2"}, "RANK is '-1' and"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x' and"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK is '1' and WORLD_SIZE '1'"),
        # accelerate starts one process without a word.
        (
            {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1"},
            "asked for several processes and started one",
        ),
        # Where there are more processes than files, one that has none loads nothing.
        ({"RANK": "1", "WORLD_SIZE": "2"}, ""),
    ],
)
def test_the_place_among_processes(inputs, tmp_path, monkeypatch, environment, said):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if said:
        refused(lambda: predict_files([inputs / "a.csv"], tmp_path / "out", model="/no/model"), said)
    else:
        assert predict_files([inputs / "a.csv"], tmp_path / "out", model="/no/model") == {}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.csv"], "1 paths are given; allowed: an INPUT and an OUTPUT, or --output_dir with any number"),
        (["a.csv", "b.csv", "c.csv"], "3 paths are given"),
        (["a.csv", "--output_dir", "out", "--split", "test"], "--split is of no use with --output_dir"),
        (["a.csv", "b.csv"], "several processes cannot write one file"),
    ],
)
def test_the_command_refuses(arguments, said, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with suppress(SystemExit):
        assert main(["predict", *arguments]) == 1
    assert said in capsys.readouterr().err


def small_parts():
    """For the server: a few reviews fill windows and parts, and a message is said once."""
    scoring.WINDOW, scoring.FileOptions.__init__.__kwdefaults__["rows_per_part"] = 8, 20
    logging.getLogger("hf_lstm_sentiment").handlers.clear()


@pytest.mark.slow
def test_one_of_two_processes_dies_and_the_same_command_finishes(server, inputs, expected, checkpoint, tmp_path):
    out = tmp_path / "out"
    shares = [[output.name for _, output in share(find_outputs([inputs / "*"], out), rank, 2)] for rank in (0, 1)]
    assert len(shares[1]) >= 2
    arguments = [str(inputs / "*"), "--output_dir", str(out), "--model", str(checkpoint), "--batch_size", "4"]
    job = {"script": "scripts/predict.py", "arguments": arguments, "processes": 2, "first": small_parts}
    kill = {"target": "hf_lstm_sentiment.inference.classifier:Classifier.__call__", "call": 4, "when": "before"}
    died = server(**job, **{"rank 1": {"kill": kill}})
    assert died["codes"] == [0, -signal.SIGKILL], died["output"]
    assert content(out) == {name: expected[name] for name in shares[0]}
    # It died in the second part of its first file.
    assert len([path for path in (out / f"{shares[1][0]}.parts").glob("part-*") if path.suffix != ".tmp"]) == 1
    done = server(**job)
    assert done["codes"] == [0, 0], done["output"]
    assert content(out) == expected
    for name in OUTPUTS:
        assert (died["output"] + done["output"]).count(f"{out / name}: ") == 1, name
