"""HTML pages that need no other file and run no script."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..utils.imports import require
from .statistics import p_value


def render(template: str, **values: Any) -> str:
    """Fill a template of this package; all that is not marked as HTML is escaped.

    Args:
        template: Its file name.
        values: What it shows. The look of all pages comes on top, as `css`.

    Raises:
        ModuleNotFoundError: Jinja2 is not installed.
    """
    require("jinja2", extra="train")
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    folder = files(__package__)
    css = Markup(folder.joinpath("page.css").read_text(encoding="utf-8"))  # noqa: S704 - a file of this package
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["percent"] = lambda share, digits=1: f"{100 * share:.{digits}f} %"
    environment.filters["p_value"] = p_value
    environment.filters["count"] = lambda number: f"{number:,}"
    text = folder.joinpath(template).read_text(encoding="utf-8")
    return environment.from_string(text).render(css=css, **values)


def data_uri(picture: Path) -> str:
    """A PNG file as an address that holds all of it.

    Args:
        picture: The file.
    """
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode("ascii")
