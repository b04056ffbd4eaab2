"""The snippets of the README's concepts print what the README says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
_SNIPPET = re.compile(r"```python\n(.*?)```\n\nprints\n\n```\n(.*?)```", re.DOTALL)


def test_the_concepts_print_what_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    section = README.read_text(encoding="utf-8").split("\n## Concepts\n")[1].split("\n## ")[0]
    snippets = _SNIPPET.findall(section)
    # Every snippet of the section states what it prints.
    assert len(snippets) == section.count("```python") == 6
    names: dict[str, object] = {}
    for code, stated in snippets:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), names)
        assert printed.getvalue() == stated, code
