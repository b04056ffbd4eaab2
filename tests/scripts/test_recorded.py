import json
import re
from dataclasses import asdict

import generalization
import pytest
from make_pretrained import make_release
from recorded import load_recorded_reviews, read_ablations, summarize_seeds

from hf_lstm_sentiment.data.reviews import load_reviews
from hf_lstm_sentiment.hub.model_card import make_model_card
from tests.hub_clients import SHORT
from tests.hub_server import check_card
from tests.reviews import make_reviews, refused, write_csv

ROWS = [
    {"change": "nothing", "seeds": [1, 2], "validation_accuracy": [0.92, 0.94], "test_accuracy": [0.91, 0.92]},
    {"change": "without | GloVe", "seeds": [2, 3], "validation_accuracy": [0.90, 0.95], "test_accuracy": [0.89, 0.88]},
    {"change": "half the words", "seeds": [4], "validation_accuracy": [0.9]},
]


@pytest.fixture(scope="module")
def metrics(trained):
    return json.loads((trained / "metrics.json").read_text())


@pytest.fixture
def records(metrics, tmp_path):
    """Two more seeds of the run's preset, with other accuracies."""
    folder = tmp_path / "cards" / metrics["preset"]
    for seed, (validation, test) in {1: (0.5, 0.25), 2: (0.7, 0.75)}.items():
        other = {**metrics, "seed": seed, "validation": {"accuracy": validation}, "test": {"accuracy": test}}
        (folder / f"seed-{seed}").mkdir(parents=True)
        (folder / f"seed-{seed}" / "metrics.json").write_text(json.dumps(other))
    return folder


def test_seeds_are_those_of_the_run_and_of_the_records(metrics, records):
    found = summarize_seeds(metrics, records)
    assert found["seeds"] == [1, 2, 42]
    assert found["validation_accuracy"]["values"] == [0.5, 0.7, metrics["validation"]["accuracy"]]
    assert found["test_accuracy"]["mean"] == pytest.approx((0.25 + 0.75 + metrics["test"]["accuracy"]) / 3)
    text = " ".join(make_model_card(asdict(SHORT), {**metrics, "seeds": found}).text.split())
    shown = re.search(r"seeds 1, 2, 42, one model each: ([\d.]+) ± ([\d.]+) % .* and ([\d.]+) ± [\d.]+ % on", text)
    assert shown
    assert float(shown[1]) == pytest.approx(100 * found["validation_accuracy"]["mean"], abs=0.005)
    assert float(shown[3]) == pytest.approx(100 * found["test_accuracy"]["mean"], abs=0.005)
    # A run alone has no mean.
    assert summarize_seeds(metrics, records / "none") is None
    assert "one model each" not in make_model_card(asdict(SHORT), metrics).text


def test_records_of_something_else_are_refused(metrics, records):
    path = records / "seed-1" / "metrics.json"
    whole = json.loads(path.read_text())
    for changes, message in [
        ({"preset": "v9"}, "another recipe than the run: preset was 'tiny' and is 'v9'"),
        ({"seed": 42}, "another training than the run of that seed: test_accuracy"),
    ]:
        path.write_text(json.dumps({**whole, **changes}))
        refused(lambda: summarize_seeds(metrics, records), message)


def test_ablations_become_a_table(metrics, tmp_path):
    (tmp_path / "ablations.json").write_text(json.dumps({"note": "Four epochs each.", "rows": ROWS}))
    card = make_model_card(asdict(SHORT), {**metrics, "ablations": read_ablations(tmp_path)})
    assert "## Ablation\n\nFour epochs each. Accuracy" in card.text
    for row in (
        "| nothing | 93.00 ± 1.41 % |  | 91.50 ± 0.71 % |  | 1, 2 |",
        # Of seed 2 alone, which both have: 90 less 94, and 89 less 92.
        "| without &#124; GloVe | 92.50 ± 3.54 % | -4.00 | 88.50 ± 0.71 % | -3.00 | 2, 3 |",
        "| half the words | 90.00 % |  |  |  | 4 |",
    ):
        assert row in card.text.splitlines()
    assert read_ablations(tmp_path / "none") is None
    assert "## Ablation" not in make_model_card(asdict(SHORT), metrics).text


def test_ablations_of_another_form_are_refused(tmp_path):
    row = {"change": "a", "seeds": [1, 2], "validation_accuracy": [0.9]}
    for content, message in (({"rows": [ROWS[0], row]}, "row 2 is"), ({"rows": ROWS, "notes": ""}, "a text as note")):
        (tmp_path / "ablations.json").write_text(json.dumps(content))
        refused(lambda: read_ablations(tmp_path), message)


@pytest.mark.usefixtures("one_thread", "own_cache")
def test_a_release_tells_all_of_it(run, records, tmp_path, monkeypatch):
    sentences = tuple(map(list, zip(*make_reviews(30, seed=5), strict=True)))
    monkeypatch.setattr(generalization, "held_out_sentences", lambda: sentences)
    (records / "ablations.json").write_text(json.dumps({"rows": ROWS}))
    made = make_release(run, output_dir=tmp_path / "made", recorded=records.parent, generalise=True)
    text = (made / "README.md").read_text()
    assert check_card(text) == []
    titles = re.findall(r"^## (.+)$", text, flags=re.MULTILINE)
    wanted = ["Results", "These weights", "Beyond its test reviews", "Training", "Ablation"]
    assert [title for title in titles if title in wanted] == wanted
    assert not re.search(r"[^\n]\n#|\n\n\n", text), "a heading has no room, or too much"
    assert "| | reviews | VADER | NBSVM 1-2-grams |\n| --- | --- | --- | --- |\n| 30 sentences |" in text.replace(
        "|  |", "| |"
    )
    # Nothing of where it was made.
    assert str(tmp_path) not in text + (made / "metrics.json").read_text()
    found = json.loads((made / "metrics.json").read_text())
    assert found["seeds"]["seeds"] == [1, 2, 42]
    assert found["ablations"]["rows"] == ROWS
    for model in found["generalisation"]["models"]:
        assert f"{model['accuracy']:.2%}" in text
    with pytest.raises(FileNotFoundError, match=r"--recorded .*: it holds no tiny"):
        make_release(run, output_dir=tmp_path / "made", recorded=tmp_path)


def test_recorded_names_of_labels_are_compared(tmp_path, own_cache):
    def written(labels):
        return write_csv(tmp_path / "a.csv", [(f"text {i}", label) for i, label in enumerate(labels * 10)])

    metrics = {"dataset": load_reviews(written("abc")).summary(), "options": {}}
    assert load_recorded_reviews(metrics, tmp_path / "a.csv", of="run").label_names == ("a", "b", "c")
    message = r"labels was \['a', 'b', 'c'\] and is \['a', 'b', 'd'\]"
    refused(lambda: load_recorded_reviews(metrics, written("abd"), of="run"), message)
