"""The directory of a run: one writer, one run, and metrics that fit the checkpoint."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from metabench.errors import ConfigError, DataError, UserError
from metabench.runs.removal import clear_run
from metabench.runs.run_dir import RunDirectory, load_best
from metabench.utils.files import read_json


@pytest.fixture
def run(tmp_path):
    """A directory that a run holds."""
    with RunDirectory(tmp_path / "a" / "run", "identity") as directory:
        directory.begin("seed: 0\ndata: {}\n", {"device": "abacus"})
        yield directory


def steps(run: RunDirectory) -> list[int]:
    return [line["step"] for line in run.records()]


def test_what_a_run_is_stands_in_its_directory(run):
    assert (run.path / "config.yaml").read_text() == "seed: 0\ndata: {}\n"
    assert read_json(run.path / "environment.json") == {"identity": "identity", "device": "abacus"}
    assert read_json(run.path / "status.json") == {"status": "running", "reason": None}
    assert run.summary() is None
    assert run.records() == []
    assert run.resume() == (None, [])


def test_a_second_writer_is_refused_and_told_of_the_first(run):
    second = RunDirectory(run.path, "identity")
    for ask in (second.check_free, second.__enter__):
        with pytest.raises(UserError, match=f"another process writes this run: process {os.getpid()} on "):
            ask()
    run.__exit__(None, None, None)
    second.check_free()
    with second:
        assert read_json(run.path / ".owner")["pid"] == os.getpid()
    assert not (run.path / ".owner").exists()


@pytest.mark.parametrize("owner", [None, "", "{}", "[]", "{"])
def test_a_second_writer_is_refused_whatever_the_note_says(owner, run):
    note = run.path / ".owner"
    note.unlink() if owner is None else note.write_text(owner)
    with pytest.raises(UserError, match="another process writes this run: owner unknown"):
        RunDirectory(run.path, "identity").__enter__()


def test_the_lock_of_a_dead_process_does_not_hold(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".owner").write_text('{"pid": 1, "host": "elsewhere"}')
    with RunDirectory(tmp_path, "identity"):
        pass


def test_the_run_of_another_configuration_is_refused_and_left_alone(run):
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"run_dir=.*: holds a run of another configuration: seed=0 there, 1 here; "):
        RunDirectory(run.path, "other").check({"seed": 1, "data": {}})
    RunDirectory(run.path / "nowhere", "other").check({"seed": 1, "data": {}})
    assert before == {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def test_metrics_are_cut_back_to_the_checkpoint(run):
    run.append({"step": 1, "loss": 1.0})
    run.save({"step": 1, "w": torch.ones(2)})
    run.append({"step": 2, "loss": 0.5})
    with run.metrics_path.open("a") as file:
        file.write('{"step": 3, "lo')  # killed within a line
    content, warnings = run.resume()
    assert (content["step"], warnings) == (1, [])
    assert steps(run) == [1]
    run.append({"step": 2, "loss": 0.5})
    assert steps(run) == [1, 2]


def test_the_checkpoint_before_is_kept(run):
    for step in (1, 2, 3):
        run.append({"step": step})
        run.save({"step": step})
    assert run.resume()[0]["step"] == 3
    (run.checkpoints / "last.pt").write_bytes(b"damaged")
    content, (warning,) = run.resume()
    assert content["step"] == 2
    assert "last.pt: the checksum does not match" in warning
    assert steps(run) == [1, 2]
    assert (run.checkpoints / "last.damaged").exists()


def test_a_checkpoint_of_another_run_is_not_taken(run):
    with RunDirectory(run.path.with_name("other"), "other") as other:
        other.begin("", {})
        other.save({"step": 9})
        (other.checkpoints / "last.pt").rename(run.checkpoints / "last.pt")
    content, (warning,) = run.resume()
    assert content is None
    assert "belongs to another run" in warning


@pytest.mark.parametrize("left", [None, b"", b'{"step": 1}\n'])
def test_lost_metrics_do_not_stop_a_run(left, run):
    for step in (1, 2):
        run.append({"step": step})
    run.save({"step": 2})
    run.metrics_path.unlink() if left is None else run.metrics_path.write_bytes(left)
    assert run.resume()[0]["step"] == 2
    run.append({"step": 3})
    assert steps(run) == ([1, 3] if left else [3])


def test_without_a_checkpoint_metrics_start_anew(run):
    run.append({"step": 1})
    assert run.resume() == (None, [])
    assert run.records() == []


def test_metrics_are_strict_json(run):
    run.append({"step": 1, "loss": float("nan"), "ci95": float("inf")})
    line = run.metrics_path.read_text()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "loss": None, "ci95": None}


def test_clear_removes_the_files_of_a_run_and_no_others(run):
    run.append({"step": 1})
    run.save({"step": 1})
    run.save_best({"step": 1})
    run.save_episodes("mse", {"inductive": [0.5]})
    run.finish({"status": "complete"})
    (run.path / "pictures").mkdir()
    (run.path / "notes.txt").write_text("mine")
    clear_run(run.path)
    assert {path.name for path in run.path.iterdir()} - {".lock", ".owner"} == {"notes.txt"}
    clear_run(run.path)


def test_a_finished_run_has_a_summary_and_its_best_checkpoint(run):
    run.save_best({"step": 4, "algo": {"w": torch.ones(2)}})
    run.finish({"status": "complete", "test": {"mean": 0.5}})
    assert run.summary() == {"status": "complete", "test": {"mean": 0.5}}
    assert read_json(run.path / "status.json")["status"] == "complete"
    assert run.best(4)["step"] == load_best(run.path)["step"] == 4


def test_a_chosen_checkpoint_of_another_run_or_meta_step_is_not_tested(run, tmp_path):
    run.save_best({"step": 4, "algo": {"w": torch.ones(2)}})
    with pytest.raises(DataError, match=r"best.pt: is of meta-step 4, not 2, which was chosen; resume=false"):
        run.best(2)
    other = RunDirectory(run.path, "another")
    with pytest.raises(DataError, match=r"best.pt: belongs to another run; resume=false"):
        other.best(4)


def test_clear_removes_the_tests_of_the_weights_that_go(run):
    test = RunDirectory(run.path / "tests" / "t1", "t1")
    with test:
        test.begin("", {})
        test.finish({"status": "complete"})
    (run.path / "tests" / "refused.json").write_text("{}")
    clear_run(run.path)
    assert not (run.path / "tests").exists()


def test_clear_leaves_what_a_link_leads_to_and_says_what_is_refused(run, tmp_path, monkeypatch):
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    (elsewhere / "last.pt").write_text("old")
    run.checkpoints.rmdir()
    run.checkpoints.symlink_to(elsewhere)
    clear_run(run.path)
    assert not run.checkpoints.is_symlink()
    assert (elsewhere / "last.pt").exists()
    run.checkpoints.mkdir()

    def refuses(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuses)
    with pytest.raises(UserError, match="checkpoints: cannot be removed: Permission denied"):
        clear_run(run.path)


def test_what_is_cleared_in_part_is_still_a_run(run, monkeypatch):
    run.begin("", {})
    run.finish({"status": "complete"})
    removed = []
    unlink = Path.unlink

    def killed_after_two(path, missing_ok=False):
        if len(removed) == 2:
            raise KeyboardInterrupt
        removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed_after_two)
    with pytest.raises(KeyboardInterrupt):
        clear_run(run.path)
    monkeypatch.undo()
    assert removed[0] == "summary.json"
    run.check({})
    assert run.summary() is None
