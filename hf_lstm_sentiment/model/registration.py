"""Entries of the configuration and the models in transformers' Auto factories, without an import of transformers.

transformers takes half as long to import as torch, and the base class of its models as long as torch. A program that
classifies with this package needs neither. The factories get their entries when they are imported.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

# Modules of transformers with the factories.
_CONFIGURATIONS = "transformers.models.auto.configuration_auto"
_MODELS = "transformers.models.auto.modeling_auto"


def register() -> None:
    """Register the configuration and the models: now, or as soon as transformers has its factories."""
    for name in (_CONFIGURATIONS, _MODELS):
        if name in sys.modules:
            _add_entries(sys.modules[name])
    if _MODELS not in sys.modules:
        sys.meta_path.insert(0, _Watch())


def _add_entries(module: ModuleType) -> None:
    from .configuration_sentiment_lstm import SentimentLSTMConfig as Config

    if module.__name__ == _CONFIGURATIONS:
        module.AutoConfig.register(Config.model_type, Config, exist_ok=True)
    else:
        from . import modeling_sentiment_lstm as models

        module.AutoModel.register(Config, models.SentimentLSTMModel, exist_ok=True)
        classifier = models.SentimentLSTMForSequenceClassification
        module.AutoModelForSequenceClassification.register(Config, classifier, exist_ok=True)


class _Watch(MetaPathFinder):
    """Has modules that Python finds tell when they are imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in (_CONFIGURATIONS, _MODELS):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                _add_entries(module)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
