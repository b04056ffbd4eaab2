from pathlib import Path

import pytest


def _sketch(_, path, **kwargs):
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).touch()


@pytest.fixture(autouse=True, scope="module")
def plots_are_sketched():
    """Empty files in the place of plots, which take a third of the time of so small a training."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("plot_training_curves", "plot_confusion_matrix", "plot_coverage"):
            patch.setattr(f"hf_lstm_sentiment.training.train.{name}", _sketch)
        yield
