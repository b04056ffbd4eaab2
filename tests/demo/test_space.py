"""The demo page as an exported Space."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gradio", reason="needs the extra demo")

from accelerate.utils.other import get_free_port

from hf_lstm_sentiment.demo.space import export_space
from tests.demo.test_browser import ENVIRONMENT, served

NOT_INSTALLED = """
import importlib.metadata as metadata

found = metadata.distribution

def distribution(name):
    if name == "hf_lstm_sentiment":
        raise metadata.PackageNotFoundError(name)
    return found(name)

metadata.distribution = distribution
"""


@pytest.mark.slow
def test_an_exported_space_starts(run, tmp_path):
    import gradio
    from gradio_client import Client
    from huggingface_hub import SpaceCard

    folder = export_space(tmp_path / "space", models=[run])
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "app.py", "requirements.txt", "models", "hf_lstm_sentiment"}
    assert not list(folder.rglob("__pycache__"))
    card = SpaceCard.load(folder / "README.md").data
    assert (card.sdk, card.sdk_version, card.app_file) == ("gradio", gradio.__version__, "app.py")
    assert len(card.short_description) <= 60
    requirements = (folder / "requirements.txt").read_text().splitlines()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.]+", line) for line in requirements)
    assert {"torch", "transformers", "Jinja2"} <= {line.split("==")[0] for line in requirements}

    port = get_free_port()
    # On a Space the package lies in the folder and is not installed.
    (tmp_path / "sitecustomize.py").write_text(NOT_INSTALLED)
    places = {"GRADIO_TEMP_DIR": str(tmp_path / "gradio"), "PYTHONPATH": str(tmp_path)}
    environment = {**ENVIRONMENT, **places, "GRADIO_SERVER_PORT": str(port)}
    # The copy of the package is what runs.
    where = [sys.executable, "-c", "import hf_lstm_sentiment; print(hf_lstm_sentiment.__file__)"]
    found = subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert Path(found.stdout.strip()).is_relative_to(folder)
    with served([sys.executable, "app.py"], port, tmp_path / "log", cwd=folder, env=environment) as address:
        client = Client(address, verbose=False, analytics_enabled=False, download_files=False)
        assert "POSITIVE" in client.predict("a wonderful film", "./models/tiny-run", api_name="/read")
        said, result = client.predict(None, "a wonderful film\nboring", "", "./models/tiny-run", api_name="/classify")
        assert "2 reviews: 1 POSITIVE, 1 NEGATIVE" in said
        assert result
        # Strangers do not choose what is loaded.
        with pytest.raises(Exception, match="not in the list of choices"):
            client.predict("a wonderful film", run, api_name="/read")


def test_a_space_of_a_repository_of_the_hub(run, tmp_path):
    folder = export_space(tmp_path / "space", models=["user/name", run])
    assert "Models(['user/name', './models/tiny-run'])" in (folder / "app.py").read_text()
    assert "models:\n- user/name\n---" in (folder / "README.md").read_text()


def test_what_cannot_be_exported(run, tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "file").touch()
    with pytest.raises(FileExistsError, match="not an empty folder"):
        export_space(full, models=[run])
    for missing in (tmp_path / "missing", "./missing", "missing"):
        with pytest.raises(FileNotFoundError, match="neither a directory nor a repository"):
            export_space(tmp_path / "space", models=[missing])
    with pytest.raises(ValueError, match=r"lacks config\.json, model\.safetensors"):
        export_space(tmp_path / "space", models=[full])
    with pytest.raises(ValueError, match="two runs are called"):
        export_space(tmp_path / "space", models=[run, run])
    assert not (tmp_path / "space").exists()
