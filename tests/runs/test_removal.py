"""Removal of runs: their own files alone, never of a run that is written, never through a link."""

from __future__ import annotations

import json

import pytest
from made_runs import write_run

from metabench.errors import UserError
from metabench.runs.removal import check_run, prune_checkpoints, remove_run
from metabench.runs.run_dir import RunDirectory


@pytest.fixture
def run(tmp_path):
    """A finished run with checkpoints and a test below it."""
    path = write_run(tmp_path / "runs" / "one")
    (path / "environment.json").write_text(json.dumps({"identity": "one"}))
    (path / "run.log").write_text("shown\n")
    (path / "checkpoints").mkdir()
    for name in ("best.pt", "last.pt", "previous.pt", "last.damaged"):
        (path / "checkpoints" / name).write_bytes(b"1234")
    test = write_run(path / "tests" / "other")
    (test / "environment.json").write_text(json.dumps({"identity": "other"}))
    return path


def test_a_run_goes_with_its_tests_and_its_folder(run):
    assert remove_run(run) == []
    assert list(run.parent.iterdir()) == []


def test_what_is_not_the_runs_is_left_and_named(run):
    (run / "notes.txt").write_text("mine")
    (run / "tests/mine").mkdir()
    assert remove_run(run) == ["notes.txt", "tests"]
    assert {path.name for path in run.rglob("*")} == {"notes.txt", "tests", "mine"}


def test_links_are_removed_and_what_they_lead_to_is_not(run, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "best.pt").write_text("mine")
    for name in ("pictures", "tensorboard"):
        (run / name).symlink_to(outside)
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").symlink_to(outside / "best.pt")
    (run / "checkpoints/inner").symlink_to(outside)
    assert remove_run(run) == []
    assert (outside / "best.pt").read_text() == "mine"


@pytest.mark.parametrize("pruned", [False, True])
def test_what_is_no_run_or_a_link_to_one_is_refused(pruned, run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/summary.json").write_text('{"status": "complete"}')
    before = sorted(tmp_path.rglob("*"))
    for name, why in (("link", "is a link to"), ("other", "is no run"), ("runs", "is no run"), ("none", "no such")):
        with pytest.raises(UserError, match=why):
            (prune_checkpoints if pruned else remove_run)(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_written_is_refused(run):
    with RunDirectory(run, "one"):
        for remove in (remove_run, prune_checkpoints):
            with pytest.raises(UserError, match="another process writes this run"):
                remove(run)
    (run / ".owner").write_text('{"pid": 1, "host": "elsewhere"}')
    with pytest.raises(UserError, match=r"may be written by process 1 on elsewhere; if that is gone, remove .*owner"):
        remove_run(run)
    check_run(run)
    assert (run / "checkpoints/last.pt").exists()


def test_pruning_keeps_the_chosen_weights_and_all_results(run):
    others = {path for path in run.rglob("*") if path.parent.name != "checkpoints"}
    assert prune_checkpoints(run) == 12
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["best.pt"]
    assert others <= set(run.rglob("*"))
    (run / "summary.json").unlink()
    with pytest.raises(UserError, match="is not finished, and goes on from its checkpoints"):
        prune_checkpoints(run)
