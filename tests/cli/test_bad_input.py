"""Bad input: one line that names the key, the value and what is valid; no traceback, and nothing is created."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from bad_inputs import CASES, HOSTILE, MINE, TOUCH
from program import GLYPHS, SINUSOID, Ended, only_run, run_metabench


def refused(done: Ended, expected: str, code: int = 2) -> None:
    assert (done.code, done.out) == (code, "")
    assert done.err.count("\n") == 1
    assert done.err.startswith("metabench: ")
    assert expected in done.err


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def _sixth(commands: Iterable[str]) -> list[Any]:
    """Every sixth command among the quick tests: each starts the program."""
    return [pytest.param(c, marks=[pytest.mark.slow] if i % 6 else []) for i, c in enumerate(commands)]


@pytest.mark.parametrize("command", _sixth(CASES))
def test_one_line_and_nothing_created(command, work):
    refused(run_metabench(*command.split(), cwd=work), CASES[command])
    assert list(work.iterdir()) == []


@pytest.mark.slow
def test_run_dir_is_a_file_below_a_file_or_holds_another_run(work):
    (work / "file").write_text("mine")
    refused(run_metabench("run_dir=file", cwd=work), "run_dir=file: is no folder; choose another")
    refused(run_metabench("run_dir=file/run", cwd=work), "run_dir=file/run: cannot be written: Not a directory")
    assert run_metabench(*SINUSOID, "run_dir=run", cwd=work).code == 0
    before = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    for other, differs in {
        ("seed=1", "resume=false"): "seed=0 there, 1 here",
        ("train.steps=21", "seed=1"): "seed=0 there, 1 here, train.steps=20 there, 21 here",
    }.items():
        done = run_metabench(*SINUSOID, "run_dir=run", *other, cwd=work)
        refused(done, f"run_dir=run: holds a run of another configuration: {differs}; choose another folder")
    assert before == {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    (work / "run/config.yaml").write_text("[")
    file = "run/config.yaml, which would tell the keys,"
    done = run_metabench(*SINUSOID, "run_dir=run", "seed=1", cwd=work)
    refused(done, f"run_dir=run: holds a run of another configuration ({file} is not a configuration); choose another")
    (work / "run/config.yaml").unlink()
    done = run_metabench(*SINUSOID, "run_dir=run", "seed=1", cwd=work)
    refused(done, f"({file} cannot be read: No such file or directory); choose another folder")


def test_init_from_another_model(work):
    assert run_metabench(*GLYPHS, "algo=protonet", "train.steps=1", cwd=work).code == 0
    run = only_run(work)
    done = run_metabench(*GLYPHS, "algo=protonet", f"init={run}", "backbone.filters=5", "run_dir=other", cwd=work)
    refused(done, f"init={run}: does not fit this model: ")
    (run / "checkpoints/best.pt").write_bytes(b"")
    done = run_metabench(*GLYPHS, "algo=protonet", f"init={run}", "run_dir=other", cwd=work)
    refused(done, f"init={run}: has no intact best checkpoint: {run}/checkpoints/best.pt: the checksum does not match")
    assert not (work / "other").exists()


@pytest.mark.parametrize("mode", ["--run", pytest.param("-m", marks=pytest.mark.slow)])
@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_experiment_calls_nothing(text, mode, work):
    (work / "experiment").mkdir()
    (work / "experiment/shared.yaml").write_text(f"# @package _global_\n{text.replace('TOUCH', TOUCH)}\n")
    refused(run_metabench(mode, "--config-dir=.", "experiment=shared", cwd=work), HOSTILE[text])
    assert [path.name for path in work.iterdir()] == ["experiment"]


@pytest.mark.parametrize("text", MINE)
def test_a_bad_config_of_the_user(text, work):
    (work / "algo").mkdir()
    (work / "algo/mine.yaml").write_text(f"{text}\n")
    (work / "mine").mkdir()
    (work / "mine/raises.py").write_text("raise ZeroDivisionError('for a test')")
    (work / "mine/exits.py").write_text("raise SystemExit(0)")
    before = sorted(work.rglob("*"))
    refused(run_metabench("--config-dir=.", "algo=mine", cwd=work), MINE[text])
    assert sorted(path for path in work.rglob("*") if "__pycache__" not in path.parts) == before


def test_a_model_that_no_machine_holds(work):
    command = ("data=glyphs", "data.characters=40", "backbone=mlp", "backbone.hidden=[1000000000]")
    refused(run_metabench(*command, cwd=work), "out of memory: a smaller backbone or data set needs less", code=4)
    assert list(work.iterdir()) == []


def test_a_folder_with_files_of_another_kind_is_left_alone(work):
    (work / "pictures").mkdir()
    (work / "pictures/holiday.png").write_text("mine")
    for more in (), ("resume=false",):
        refused(
            run_metabench("run_dir=.", *more, cwd=work), "run_dir=.: has a pictures, but is no run's; choose another"
        )
    assert [path.name for path in work.rglob("*")] == ["pictures", "holiday.png"]
