"""Entries of the models in transformers' Auto factories, without an import of the models, nor of transformers.

transformers takes half as long to import as torch, and the base class of its models as long as torch. A program that
classifies with this package needs neither. The factories get their entries when they are imported, and these are
stand-ins that import the models when they are asked for one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# The models of this package by the factories that make them.
_MODELS = {
    "AutoModel": "SentimentLSTMModel",
    "AutoModelForSequenceClassification": "SentimentLSTMForSequenceClassification",
}
# Modules of transformers, and the factories in them.
_FACTORIES: dict[str, Sequence[str]] = {
    "transformers.models.auto.configuration_auto": ("AutoConfig",),
    "transformers.models.auto.modeling_auto": tuple(_MODELS),
}


def register() -> None:
    """Register the configuration, and a stand-in for each model: now, or as soon as transformers has its factories."""
    for name in _FACTORIES:
        if name in sys.modules:
            _add_entries(sys.modules[name])
    if not _FACTORIES.keys() <= sys.modules.keys() and not any(isinstance(f, _Watch) for f in sys.meta_path):
        sys.meta_path.insert(0, _Watch())


def _add_entries(module: ModuleType) -> None:
    from .configuration_sentiment_lstm import SentimentLSTMConfig

    for name in _FACTORIES.get(module.__name__, ()):
        factory = getattr(module, name)
        if name == "AutoConfig":
            factory.register(SentimentLSTMConfig.model_type, SentimentLSTMConfig, exist_ok=True)
        else:
            # Pipelines know the models that they support by the names of the registered classes.
            stand_in = type(_MODELS[name], (_StandIn,), {"__module__": __name__, "config_class": SentimentLSTMConfig})
            factory.register(SentimentLSTMConfig, stand_in, exist_ok=True)


class _Watch(MetaPathFinder):
    """Finds nothing itself: it has the modules that others find tell when they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _FACTORIES:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((s for finder in others if (s := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _add_entries(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


def _import_models() -> Any:
    """Import the models and put them in the places of their stand-ins."""
    models = import_module(f"{__package__}.modeling_sentiment_lstm")
    auto = import_module("transformers.models.auto.modeling_auto")
    for factory, name in _MODELS.items():
        model = getattr(models, name)
        getattr(auto, factory).register(model.config_class, model, exist_ok=True)
    return models


class _StandIn:
    """What the Auto factories call of a model class, passed on to the model class of the same name."""

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(_import_models(), cls.__name__).from_pretrained(*args, **kwargs)

    @classmethod
    def _from_config(cls, *args: Any, **kwargs: Any) -> Any:
        return getattr(_import_models(), cls.__name__)._from_config(*args, **kwargs)
