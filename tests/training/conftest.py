from functools import partial
from pathlib import Path

import pytest

from hf_lstm_sentiment import train
from tests.reviews import make_reviews, save_with_unlabeled, write_csv


def _sketch(_, path, **kwargs):
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).touch()


@pytest.fixture(autouse=True, scope="module")
def plots_are_sketched(own_cache):
    """Empty files in the place of plots, which take a third of the time of so small a training."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plot_training_curves", "plot_confusion_matrix", "plot_coverage"):
            patch.setattr(f"hf_lstm_sentiment.training.train.{name}", _sketch)
        yield


@pytest.fixture
def fit(tmp_path):
    """Trains, into `run` of the test's directory where no other is named."""
    return partial(train, output_dir=tmp_path / "run", disable_tqdm=True)


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("data") / "reviews.csv", make_reviews(300))


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return save_with_unlabeled(tmp_path_factory.mktemp("data") / "reviews")
