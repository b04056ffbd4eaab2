import json

import learning_curves
import pytest

from tests.demo_model import save_model
from tests.reviews import GOOD, NOISE, make_reviews, write_csv, write_glove


@pytest.mark.usefixtures("one_thread", "own_cache")
def test_cells_are_measured_once_and_drawn(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(learning_curves, "EPOCHS", 2)
    write_csv(tmp_path / "short.csv", make_reviews(200))
    for name, count in (("train", 100), ("test", 30)):
        write_csv(tmp_path / "imdb" / f"{name}.csv", make_reviews(count, seed=count))
    found = {
        "model": save_model(tmp_path / "model"),
        "sentences": tmp_path / "short.csv",
        "imdb": tmp_path / "imdb",
        "glove": write_glove(tmp_path / "glove.txt", [*GOOD, *NOISE], 4),
        "output_dir": tmp_path / "out",
    }
    words = [word for name, value in found.items() for word in (f"--{name}", str(value))]
    words += ["--glove_size", "4", "--counts", "20", "--draws", "1"]
    learning_curves.main(words)
    printed = capsys.readouterr().out
    assert "Rotten Tomatoes, 20 held-out sentences" in printed
    assert "IMDB, 30 test reviews" in printed
    file = tmp_path / "out" / "learning_curves.json"
    results = json.loads(file.read_text())
    methods = {"base", "vader", "finetune/20/0", "glove/20/0", "tfidf/20/0"}
    assert set(results["cells"]) == {f"{name}/{method}" for name in ("IMDB", "Rotten Tomatoes") for method in methods}
    assert results["cells"]["IMDB/base"] == 1
    assert (tmp_path / "out" / "learning_curves.png").is_file()
    # Finished cells are kept: nothing is fitted again.
    monkeypatch.setattr(learning_curves, "fit", lambda *rest: pytest.fail("fitted again"))
    learning_curves.main(words)
    assert json.loads(file.read_text()) == results
    with pytest.raises(ValueError, match="pass another --output_dir"):
        learning_curves.main([*words, "--glove", "other.txt"])
