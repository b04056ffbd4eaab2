import pytest

from tests.demo_model import save_model


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory):
    """A tiny model that knows good words from bad ones."""
    return save_model(tmp_path_factory.mktemp("model") / "run")


@pytest.fixture(scope="package")
def small(checkpoint):
    """Its classifier."""
    from hf_lstm_sentiment import Classifier

    return Classifier.from_pretrained(checkpoint)
