"""Entries of the models in transformers' Auto factories, without an import of the models.

The base class of every transformers model takes as long to import as torch itself. A program that classifies with
this package does not need it, so the factories are given stand-ins that import the models when they are asked for one.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from .configuration_sentiment_lstm import SentimentLSTMConfig

_MODELS: dict[Any, str] = {
    AutoModel: "SentimentLSTMModel",
    AutoModelForSequenceClassification: "SentimentLSTMForSequenceClassification",
}


def register() -> None:
    """Register the configuration, and a stand-in for each model, with the Auto factories."""
    AutoConfig.register(SentimentLSTMConfig.model_type, SentimentLSTMConfig, exist_ok=True)
    for factory, name in _MODELS.items():
        # Pipelines know the models that they support by the names of the registered classes.
        factory.register(SentimentLSTMConfig, type(name, (_StandIn,), {"__module__": __name__}), exist_ok=True)


def _import_models() -> Any:
    """Import the models and put them in the places of their stand-ins."""
    models = import_module(f"{__package__}.modeling_sentiment_lstm")
    for factory, name in _MODELS.items():
        factory.register(SentimentLSTMConfig, getattr(models, name), exist_ok=True)
    return models


class _StandIn:
    """What the Auto factories call of a model class, passed on to the model class of the same name."""

    config_class = SentimentLSTMConfig

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(_import_models(), cls.__name__).from_pretrained(*args, **kwargs)

    @classmethod
    def _from_config(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(_import_models(), cls.__name__)._from_config(*args, **kwargs)
