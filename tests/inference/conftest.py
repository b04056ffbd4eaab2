import pytest

from hf_lstm_sentiment import Classifier
from hf_lstm_sentiment.inference import files
from tests.demo_model import save_model


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory):
    """A tiny model that knows good words from bad ones."""
    return save_model(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="package")
def small(checkpoint):
    """Its classifier."""
    return Classifier.from_pretrained(checkpoint)


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(files, "WINDOW", 8)


@pytest.fixture
def calls(monkeypatch):
    """The texts of each window that is classified; the process ends when there are `calls.allowed` of them."""

    class Calls(list):
        allowed = None

    windows, call = Calls(), Classifier.__call__

    def counted(self, texts, **options):
        if len(windows) == windows.allowed:
            raise SystemExit("killed")
        windows.append(texts)
        return call(self, texts, **options)

    monkeypatch.setattr(Classifier, "__call__", counted)
    return windows
