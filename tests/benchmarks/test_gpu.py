"""scripts/benchmarks/gpu.py: what a cut leaves, what a second call leaves out, and a rehearsal on the CPU."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from paths import ROOT


@pytest.fixture
def gpu() -> Iterator[ModuleType]:
    scripts = str(ROOT / "scripts/benchmarks")
    sys.path.insert(0, scripts)
    try:
        import gpu

        yield gpu
    finally:
        sys.path.remove(scripts)


def python(code: str) -> tuple[str, ...]:
    return sys.executable, "-uSc", code


def test_a_cut_loses_nothing_and_a_second_call_goes_on_with_what_is_left(gpu, tmp_path, monkeypatch, capsys):
    def parts(*_: object) -> list[object]:
        return [
            gpu.Part("quick", 0.5, python("print('one'); print('two')")),
            gpu.Part("endless", 0.3, python("import time; print('begun'); time.sleep(60)")),
            gpu.Part("broken", 0.5, python("raise SystemExit(3)")),
        ]

    monkeypatch.setattr(gpu, "parts", parts)
    monkeypatch.setattr(gpu, "prepared", lambda *_: (dict(os.environ), "a machine"))
    for call in range(2):
        gpu.main(["--minutes", "0.05", "--device", "cpu", "--out", str(tmp_path)])
        page = (tmp_path / "report.md").read_text()
        assert [page.count(word) for word in ("one\ntwo", "begun\n", "exit code 3")] == [1, call + 1, 1]
        assert ", cut at " in page
        assert "a machine" in page
    assert capsys.readouterr().out.count("quick:") == 2  # begun and ended, once


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--minutes", "1", "--data", "none"], []])
def test_a_wrong_word_is_refused(gpu, wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main(wrong)
    assert ended.value.code == 2
    assert "--minutes" in capsys.readouterr().err


def test_the_order_is_that_of_worth_and_every_file_is_there(gpu, tmp_path):
    planned = gpu.parts("cuda", "omniglot", tmp_path, False)
    assert [part.name for part in planned] == [
        "tests", "meta_steps", "peers", "roofline", "memory", "compiled_tests", "maml_5w1s", "maml_20w1s",
    ]  # fmt: skip
    files = [Path(word) for part in planned for word in part.command if word.endswith(".py")]
    assert len(files) == 6
    assert all(file.exists() for file in files)
    assert sum(part.share for part in planned[:-2]) <= 1


@pytest.mark.slow
def test_a_rehearsal_does_every_part(gpu, tmp_path):
    gpu.main(["--minutes", "120", "--device", "cpu", "--tiny", "--data", "glyphs", "--out", str(tmp_path)])
    ended = json.loads((tmp_path / "done.json").read_text())
    assert {name for name, words in ended.items() if ", finished at " in words} == {
        "tests", "meta_steps", "peers", "roofline", "memory", "compiled_tests",
    }  # fmt: skip
    page = (tmp_path / "report.md").read_text()
    for found in ("| sinusoid1 | eager |", "| MAML sinusoid, 1 step", "remat=true", "worst ratio to best peer"):
        assert found in page
