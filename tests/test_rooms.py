"""The package is built as its rooms say: imports run one way and never in a circle, and files stay small."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import hf_lstm_sentiment

PACKAGE = Path(hf_lstm_sentiment.__file__).parent
# A room imports from itself and from those before it.
ROOMS = ("utils", "model", "data", "inference", "evaluation", "hub", "training", "demo", "commands")
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "pretrained")


def room_of(parts):
    """The place of a module's room; what lies beside the rooms comes last."""
    return ROOMS.index(parts[0]) if parts and parts[0] in ROOMS else len(ROOMS)


def imported_files(path):
    """Files of this package that one imports, wherever in its code."""
    package = ".".join((PACKAGE.name, *path.relative_to(PACKAGE).parts[:-1]))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            for name in (module, *(f"{module}.{alias.name}" for alias in node.names)):
                file = PACKAGE.parent.joinpath(*name.split(".")).with_suffix(".py")
                if name.startswith(f"{PACKAGE.name}.") and file.is_file():
                    yield file


def test_every_file_has_a_room():
    beside = {path.name for path in FILES if path.parent == PACKAGE}
    assert beside <= {"__init__.py", "__main__.py", "cli.py"}
    assert {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_described_in_one_sentence_and_imports_nothing(room):
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    (only,) = tree.body
    assert ast.get_docstring(tree).endswith(".")
    assert isinstance(only, ast.Expr)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_short_and_imports_nothing_from_rooms_below_it(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 450
    own = room_of(path.relative_to(PACKAGE).parts)
    for other in imported_files(path):
        assert room_of(other.relative_to(PACKAGE).parts) <= own, f"{path} imports {other}"


def test_no_two_files_import_each_other():
    imports = {path: {*imported_files(path)} - {path} for path in FILES if path.name != "__init__.py"}
    # It raises a CycleError that names the circle.
    assert {*TopologicalSorter(imports).static_order()} >= imports.keys()
