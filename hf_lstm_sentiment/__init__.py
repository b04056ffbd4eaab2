"""A recurrent sentiment classifier for the Hugging Face stack.

Importing the package registers the configuration and the two models with the Auto classes, so that checkpoints load
without `trust_remote_code`. Everything else, transformers too, is imported when it is first used.
"""

from __future__ import annotations

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

_LAZY = {
    "Classifier": "inference.classifier",
    "Prediction": "inference.classifier",
    "predict": "inference.classifier",
    "predict_file": "inference.files",
    "predict_files": "inference.files",
    "predict_sentences": "inference.sentences",
    "SentimentClassifier": "training.estimator",
    "SentimentLSTMConfig": "model.configuration_sentiment_lstm",
    "SentimentLSTMForSequenceClassification": "model.modeling_sentiment_lstm",
    "SentimentLSTMModel": "model.modeling_sentiment_lstm",
    "PRESETS": "training.presets",
    "Explainer": "inference.explain",
    "explain": "inference.explain",
    "load_glove": "data.glove",
    "load_reviews": "data.reviews",
    "pretrain": "training.pretrain",
    "pretrained": "model.pretrained_models",
    "teach": "training.distill",
    "train": "training.train",
    "train_tokenizer": "model.tokenization",
}

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
