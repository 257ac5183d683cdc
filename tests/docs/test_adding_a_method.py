"""The methods that README.md and docs/adding_a_method.md show: written to a folder, they run as the page says."""

from __future__ import annotations

import ast
import re

import documents
import pytest
from paths import ROOT
from program import GLYPHS, only_run, run_fresh, run_metabench, summary

PAGE = ROOT / "docs/adding_a_method.md"
PRINTED = "\n".join(documents.blocks(PAGE, "text"))


@pytest.fixture
def folder(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    return documents.write_methods(work)


def test_nothing_but_the_api_is_imported(folder):
    for path in folder.glob("*.py"):
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        ours = {node.module for node in nodes if node.module.startswith("metabench")}
        assert ours == {"metabench.api"}


@pytest.mark.slow
def test_its_own_tests_pass(folder):
    done = run_fresh("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_relation.py", cwd=folder)
    assert done.code == 0, done.out
    assert "4 passed" in done.out


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["relation", "mine"])
def test_it_trains_and_is_tested(algo, folder):
    done = run_metabench("--config-dir=my_configs", f"algo={algo}", *GLYPHS, cwd=folder)
    assert (done.code, done.err) == (0, "")
    found = summary(only_run(folder))
    assert found["status"] == "complete"
    assert 0 <= found["test"]["mean"] <= 1


def test_it_is_listed(folder):
    shown = run_metabench("ls", "algo", "--config-dir", "my_configs", cwd=folder).out
    assert "relation network on class means (Sung et al. 2018)" in shown


@pytest.mark.slow
def test_the_page_prints_what_its_commands_print(folder):
    """The protocol is that of the page; accuracies are too, within their intervals, whatever the processor."""
    commands = [c for c in documents.commands(PAGE) if c.words[0] == "metabench" and "budget=smoke" not in c.words]
    out = "\n".join(run_metabench(*_globbed(c.words[1:], folder), cwd=folder).out for c in commands)
    (protocol,) = re.findall(r"protocol (\w{12})", PRINTED)
    assert f"protocol {protocol}" in out
    for line in (
        r"inductive +([\d.]+) ± ([\d.]+)%",
        r"A is ([\d.]+) points worse than B in accuracy: [\d.]+ ± ([\d.]+)",
    ):
        said, interval = map(float, re.search(line, PRINTED).groups())
        assert float(re.search(line, out)[1]) == pytest.approx(said, abs=2 * interval)


def _globbed(words, folder):
    return [str(p) for w in words for p in ([f.relative_to(folder) for f in folder.glob(w)] if "*" in w else [w])]
