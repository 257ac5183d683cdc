"""`metabench doctor`: each thing that can be wrong with a machine is found, with what to do about it."""

from __future__ import annotations

import shutil
from importlib import metadata
from types import SimpleNamespace

import fake_omniglot as fake
import pytest
import torch
from program import run_metabench

from metabench.data.images import raw
from metabench.doctor import checks, selfcheck
from metabench.doctor.checks import examine


@pytest.mark.slow  # it trains for ten seconds
def test_a_machine_that_is_fit(tmp_path):
    """With the real training: the CPU of the tests learns and repeats itself."""
    (tmp_path / "work").mkdir()
    done = run_metabench("doctor", cwd=tmp_path / "work", env={"METABENCH_DATA": str(tmp_path / "none")})
    assert (done.code, done.err) == (0, "")
    marks = {line.split()[1]: line.split()[0] for line in done.out.splitlines()}
    assert list(marks) == ["versions", "device", "data", "folders", "compiler", "self"]
    assert {marks[name] for name in ("versions", "device", "folders", "self")} == {"ok"}
    assert list((tmp_path / "work").iterdir()) == []


def test_a_problem_is_counted_and_said_by_the_exit_code(monkeypatch, capsys):
    from metabench.cli.commands import doctor

    def broken() -> str:
        raise ZeroDivisionError("of a\nbroken library")

    monkeypatch.setattr(checks, "CHECKS", (lambda: "fit", broken))
    with pytest.raises(SystemExit) as left:
        doctor.main([])
    assert left.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["problem", "broken", "ZeroDivisionError:", "of", "a", "broken", "library"]
    assert lines[2] == "1 of 2 checks found a problem"


def test_versions(monkeypatch):
    found = {"torch": "2.4.0"}
    monkeypatch.setattr(checks, "version", lambda name: found.get(name) or metadata.version(name))
    mark, said = examine(checks.versions)
    assert mark == "problem"
    assert said.startswith("torch 2.4.0 is not one of >=2.")
    assert "pip install 'torch>=" in said

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(checks, "version", missing)
    assert " is not installed: pip install '" in examine(checks.versions).said


def test_a_driver_without_a_gpu_that_torch_sees(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(checks, "DRIVER", checks.Path(__file__))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    mark, said = examine(checks.device)
    assert mark == "problem"
    assert "sees no GPU" in said
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert examine(checks.device).mark == "ok"


@pytest.mark.usefixtures("small_omniglot")
def test_data(tmp_path, monkeypatch):
    monkeypatch.setenv("METABENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("METABENCH_DATA", str(tmp_path / "data"))
    assert examine(checks.data).mark == "absent"
    zipped = next(fake.write(tmp_path / "data").glob("*.zip"))
    whole = zipped.read_bytes()
    zipped.write_bytes(whole[:100])
    mark, said = examine(checks.data)
    assert mark == "problem"
    assert str(zipped) in said
    zipped.write_bytes(whole)
    assert examine(checks.data).mark == "ok"
    monkeypatch.setattr(raw, "DIGEST", "0" * 64)
    assert "not the published ones" in examine(checks.data).said


def test_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert examine(checks.folders).mark == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5 << 20))
    assert "has 5 MiB left" in examine(checks.folders).said
    monkeypatch.chdir("/proc")
    assert "/proc cannot be written" in examine(checks.folders).said
    assert list(tmp_path.iterdir()) == []


def test_compiler(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert examine(checks.compiler).mark == "absent"


@pytest.mark.parametrize(
    ("states", "after", "expected"), [(b"ab", 1.0, "two runs of one command differ"), (b"aa", 4.0, "did not learn")]
)
def test_self_check(states, after, expected, monkeypatch):
    runs = iter(states)
    monkeypatch.setattr(selfcheck, "train", lambda folder: selfcheck.Trained(bytes([next(runs)]), 9, 4.0, after))
    mark, said = examine(checks.self_check)
    assert mark == "problem"
    assert expected in said
