"""The lint rule that ruff lacks: tensors are read with `torch.load(…, weights_only=True)`, and with nothing else."""

from __future__ import annotations

import ast

import pytest
from paths import ROOT

SOURCES = [path for folder in ("metabench", "scripts", "tests") for path in (ROOT / folder).rglob("*.py")]
LOADERS = {"torch.load", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"}


def unsafe(source: str) -> list[int]:
    """The lines of calls that might run what a file says."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and {f"{node.module}.{name.name}" for name in node.names} & LOADERS:
            lines.append(node.lineno)  # under a name that is not looked for below
        if isinstance(node, ast.Call):
            name, given = ast.unparse(node.func), {option.arg: ast.unparse(option.value) for option in node.keywords}
            safe = name not in LOADERS or (name == "torch.load" and given.get("weights_only") == "True")
            if not safe or given.get("allow_pickle", "False") != "False":
                lines.append(node.lineno)
    return lines


def test_no_source_reads_what_might_run():
    found = {str(path.relative_to(ROOT)): unsafe(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 100
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "torch.jit.load(path)",
        "np.load(path, allow_pickle=True)",
        "from torch import load",
    ],
)
def test_the_rule_finds(line):
    assert unsafe(line) == [1]
