"""A recurrent sentiment classifier for the Hugging Face stack.

Importing the package registers the configuration and the two models with the Auto classes, so that checkpoints load
without `trust_remote_code`. Everything else, transformers too, is imported when it is first used.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .model.registration import register

if TYPE_CHECKING:
    from .data.glove import load_glove
    from .data.reviews import load_reviews
    from .inference.classifier import Classifier, Prediction, predict
    from .inference.explain import Explainer, explain
    from .inference.files import predict_file, predict_files
    from .inference.sentences import predict_sentences
    from .model.configuration_sentiment_lstm import SentimentLSTMConfig
    from .model.modeling_sentiment_lstm import SentimentLSTMForSequenceClassification, SentimentLSTMModel
    from .model.pretrained_models import pretrained
    from .model.tokenization import train_tokenizer
    from .training.distill import teach
    from .training.estimator import SentimentClassifier
    from .training.presets import PRESETS
    from .training.pretrain import pretrain
    from .training.train import train

__version__ = "0.1.0"

_NAMES = {
    "data.glove": ("load_glove",),
    "data.reviews": ("load_reviews",),
    "inference.classifier": ("Classifier", "Prediction", "predict"),
    "inference.explain": ("Explainer", "explain"),
    "inference.files": ("predict_file", "predict_files"),
    "inference.sentences": ("predict_sentences",),
    "model.configuration_sentiment_lstm": ("SentimentLSTMConfig",),
    "model.modeling_sentiment_lstm": ("SentimentLSTMForSequenceClassification", "SentimentLSTMModel"),
    "model.pretrained_models": ("pretrained",),
    "model.tokenization": ("train_tokenizer",),
    "training.distill": ("teach",),
    "training.estimator": ("SentimentClassifier",),
    "training.presets": ("PRESETS",),
    "training.pretrain": ("pretrain",),
    "training.train": ("train",),
}
_LAZY = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "PRESETS",
    "Classifier",
    "Explainer",
    "Prediction",
    "SentimentClassifier",
    "SentimentLSTMConfig",
    "SentimentLSTMForSequenceClassification",
    "SentimentLSTMModel",
    "__version__",
    "explain",
    "load_glove",
    "load_reviews",
    "predict",
    "predict_file",
    "predict_files",
    "predict_sentences",
    "pretrain",
    "pretrained",
    "teach",
    "train",
    "train_tokenizer",
]

register()

# The folder of the shipped weights has the name of the function that finds them. Python would import it as a package
# without code, and put that in the function's place.
sys.modules[f"{__name__}.pretrained"] = None  # type: ignore[assignment]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
