"""Optional dependencies: what is missing, and the command that installs it."""

import importlib.util
from pathlib import Path


def require(*modules: str, extra: str) -> None:
    """Check that optional modules are installed, without importing them; the error names the extra to install."""
    for name in modules:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f'{name} is not installed: pip install "hf_lstm_sentiment[{extra}]"', name=name)


def package_folder(module: str, *, extra: str) -> Path:
    """Find the folder of an optional package that holds data, without importing its code; as :func:`require`."""
    require(module, extra=extra)
    spec = importlib.util.find_spec(module)
    return Path(next(iter((spec and spec.submodule_search_locations) or [""])))
