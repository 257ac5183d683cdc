"""Docstrings begin with the thing or the verb, so that a list of first lines reads as a reference."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from paths import ROOT

PACKAGE = ROOT / "metabench"
FILES = sorted(PACKAGE.rglob("*.py"))
EMPTY_WORDS = {"it", "its", "that", "those", "this", "these", "what", "whether", "which", "how"}
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring of a file, those under attributes included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for text in node.body if isinstance(node, DOCUMENTED) else ():
            if (
                isinstance(text, ast.Expr)
                and isinstance(text.value, ast.Constant)
                and isinstance(text.value.value, str)
            ):
                yield text.lineno, text.value.value


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_docstrings_begin_with_the_thing_or_the_verb(path):
    found = [f"{line}: {text.strip()}" for line, text in docstrings(path) if text.split()[0].lower() in EMPTY_WORDS]
    assert not found
