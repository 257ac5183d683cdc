"""A run that was stopped, killed or damaged continues, and ends bit for bit as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest
from identical import checkpoint, identical, straight
from program import (
    GLYPHS,
    ODD,
    SINUSOID,
    Ended,
    die_before,
    only_run,
    run_metabench,
    signal_in,
    start_metabench,
    until,
)

from metabench.runs.reader import RunReader
from metabench.training.environment import OF_A_PART, with_earlier
from metabench.utils.files import load_tensors, read_json, save_tensors, write_json

RUNS = {
    "maml": (*SINUSOID, *ODD, "optim.lr=0.3"),  # the first validation stays the best
    "protonet": (*GLYPHS, *ODD, "algo=protonet", "optim.lr=0.01"),  # running statistics
    "reptile": (*SINUSOID, *ODD, "algo=reptile", "algo.inner_optimizer=adam", "algo.inner_steps=3"),  # moments
    "ftml": (*SINUSOID, *ODD, "algo=ftml", "algo.inner_lr=0.01", "data=sinusoid_online", "data.online.rounds=3"),
    "compiled": (*SINUSOID, *ODD, "engine=compile"),
}
SLOW = {"reptile", "compiled"}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in RUNS]
STEP = 24  # of an interruption: 3 after a log line, 2 after a checkpoint, 11 after a validation


def stopped(*overrides: str, cwd: Path, split: str = "train", call: int = STEP, number: int = signal.SIGTERM) -> Ended:
    return run_metabench(*overrides, cwd=cwd, patch=partial(signal_in, split, call, number))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_continues(name, number, code, tmp_path):
    done = stopped(*RUNS[name], cwd=tmp_path, number=number)
    assert done.code == code
    assert done.err == f"metabench: stopped by {number.name}; the same command continues\n"
    run = only_run(tmp_path)
    assert read_json(run / "status.json")["status"] == "stopped"
    assert checkpoint(run, "last.pt")["step"] == STEP
    again = run_metabench(*RUNS[name], cwd=tmp_path)
    assert (again.code, again.err) == (0, "")
    assert f"continuing at meta-step {STEP} of 50" in again.out
    identical(run, straight(*RUNS[name]))


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_continues(name, tmp_path):
    beyond = 30  # a log line and a validation past the last checkpoint
    assert stopped(*RUNS[name], cwd=tmp_path, call=beyond, number=signal.SIGKILL).code == -signal.SIGKILL
    assert "continuing at meta-step 22 of 50" in run_metabench(*RUNS[name], cwd=tmp_path).out
    identical(only_run(tmp_path), straight(*RUNS[name]))


def test_a_second_signal_leaves_at_once(tmp_path):
    patch = partial(signal_in, "train", STEP, signal.SIGTERM, times=2, pause=1.1)
    assert run_metabench(*RUNS["maml"], cwd=tmp_path, patch=patch).code == 143
    assert checkpoint(only_run(tmp_path), "last.pt")["step"] == 22
    assert run_metabench(*RUNS["maml"], cwd=tmp_path).code == 0
    identical(only_run(tmp_path), straight(*RUNS["maml"]))


@pytest.mark.parametrize(("split", "call"), [("validation", 5), ("test", 1)])
def test_a_stop_in_validation_or_test(split, call, tmp_path):
    assert stopped(*RUNS["maml"], cwd=tmp_path, split=split, call=call).code == 143
    assert run_metabench(*RUNS["maml"], cwd=tmp_path).code == 0
    identical(only_run(tmp_path), straight(*RUNS["maml"]))


class Evil:
    def __reduce__(self):
        return Path.write_text, (Path("evil-was-run"), "")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "one bit flipped": flip,
    "a program, sealed": lambda path: save_tensors(path, {"step": Evil()}),
    "a list, sealed": lambda path: save_tensors(path, []),
}


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Path:
    """A working directory with a run stopped half-way."""
    cwd = tmp_path_factory.mktemp("half")
    assert stopped(*RUNS["maml"], cwd=cwd).code == 143
    return cwd


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(name, half, tmp_path):
    cwd = shutil.copytree(half, tmp_path / "work")
    DAMAGE[name](only_run(cwd) / "checkpoints/last.pt")
    done = run_metabench(*RUNS["maml"], cwd=cwd)
    assert (done.code, done.err) == (0, "")
    (warning,) = (line for line in done.out.splitlines() if line.startswith("warning: "))
    assert "checkpoints/last.pt: " in warning
    assert warning.endswith("the checkpoint before it is used")
    assert "continuing at meta-step 22 of 50" in done.out
    identical(only_run(cwd), straight(*RUNS["maml"]))
    assert not (cwd / "evil-was-run").exists()


def test_a_damaged_checkpoint_never_displaces_the_one_before(half, tmp_path):
    cwd = shutil.copytree(half, tmp_path / "work")
    flip(only_run(cwd) / "checkpoints/last.pt")
    # Killed after the newest checkpoint has become previous.pt and before the next one is written.
    assert run_metabench(*RUNS["maml"], cwd=cwd, patch=partial(die_before, "last.pt")).code == -signal.SIGKILL
    assert not (only_run(cwd) / "checkpoints/last.pt").exists()
    assert "continuing at meta-step 22 of 50" in run_metabench(*RUNS["maml"], cwd=cwd).out


def test_without_an_intact_checkpoint_the_run_starts_anew(half, tmp_path):
    cwd = shutil.copytree(half, tmp_path / "work")
    for name in ("last.pt", "previous.pt"):
        flip(only_run(cwd) / "checkpoints" / name)
    done = run_metabench(*RUNS["maml"], cwd=cwd)
    assert done.out.count("warning: ") == 2
    assert "continuing" not in done.out
    identical(only_run(cwd), straight(*RUNS["maml"]))


def test_a_damaged_best_checkpoint_is_not_tested(tmp_path):
    run = shutil.copytree(straight(*RUNS["maml"]), tmp_path / "run")
    (run / "summary.json").unlink()
    flip(run / "checkpoints/best.pt")
    done = run_metabench(*RUNS["maml"], f"run_dir={run}", cwd=tmp_path)
    assert done.code == 1
    assert done.err == (
        f"metabench: {run}/checkpoints/best.pt: the checksum does not match; resume=false starts the run anew\n"
    )
    assert run_metabench(*RUNS["maml"], f"run_dir={run}", "resume=false", cwd=tmp_path).code == 0
    identical(run, straight(*RUNS["maml"]))


def test_a_damaged_summary_is_made_again(tmp_path):
    run = shutil.copytree(straight(*RUNS["maml"]), tmp_path / "run")
    (run / "summary.json").write_text("{")
    done = run_metabench(*RUNS["maml"], f"run_dir={run}", cwd=tmp_path)
    assert "continuing at meta-step 50 of 50" in done.out
    identical(run, straight(*RUNS["maml"]))


def test_resume_false_starts_anew_and_spares_foreign_files(half, tmp_path):
    cwd = shutil.copytree(half, tmp_path / "work")
    run = only_run(cwd)
    (run / "notes.txt").write_text("mine")
    (run / "folder").mkdir()
    done = run_metabench(*RUNS["maml"], "resume=false", cwd=cwd)
    assert done.code == 0
    assert "continuing" not in done.out
    assert "finished before" not in done.out
    identical(run, straight(*RUNS["maml"]))
    assert (run / "notes.txt").read_text() == "mine"
    assert (run / "folder").is_dir()
    again = run_metabench(*RUNS["maml"], "resume=false", cwd=cwd)
    assert "meta-training 50/50" in again.out
    identical(run, straight(*RUNS["maml"]))


def test_one_process_writes_a_run(tmp_path):
    endless = (*SINUSOID, "train.steps=1000000", "engine=eager")  # auto would compile first
    first = start_metabench(*endless, cwd=tmp_path)
    until(lambda: list(tmp_path.glob("outputs/*/*/*/metrics.jsonl")))
    second = run_metabench(*endless, cwd=tmp_path)
    assert second.code == 2
    assert second.err.startswith("metabench: outputs/sinusoid/maml/")
    assert f": another process writes this run: process {first.pid} on " in second.err
    assert second.err.count("\n") == 1
    assert first.running
    first.kill(signal.SIGTERM)
    assert first.wait().code == 143


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["algo.inner_lr=1e30"], "the loss is not finite at meta-step 1"),
        (["optim.lr=1e20"], "the loss is not finite at meta-step 2"),
        (["optim=sgd", "optim.lr=3e38"], "a weight is not finite after meta-step 1"),
    ],
)
def test_a_run_that_is_no_longer_finite_ends(overrides, reason, tmp_path):
    done = run_metabench(*SINUSOID, *overrides, "validate.every=1", "checkpoint.every=1", cwd=tmp_path)
    assert (done.code, done.err) == (3, f"metabench: {reason}\n")
    run = only_run(tmp_path)
    assert read_json(run / "status.json") == {"status": "nonfinite", "reason": reason}
    assert not (run / "summary.json").exists()
    for path in (run / "checkpoints").iterdir():
        weights = load_tensors(path)["algo"].values()
        assert all(value.isfinite().all() for value in weights), path.name


def test_a_loss_that_overflows_between_log_lines_is_named_by_its_step(tmp_path):
    done = run_metabench(*SINUSOID, "optim.lr=1e20", "log.every=20", cwd=tmp_path)
    assert done.err == "metabench: the loss is not finite at meta-step 2\n"


def test_the_log_goes_on_where_a_run_does(half, tmp_path):
    cwd = shutil.copytree(half, tmp_path / "work")
    log = only_run(cwd) / "run.log"
    stop = log.read_text()
    assert stop.endswith("stopped: stopped by SIGTERM; the same command continues\n")
    assert run_metabench(*RUNS["maml"], cwd=cwd).code == 0
    assert log.read_text().startswith(stop)
    assert f"\ncontinuing at meta-step {STEP} of 50\n" in log.read_text()[len(stop) :]


@pytest.mark.parametrize("change", [{}, {"git": "0123456789ab"}, {"versions": {"torch": "1.0"}}])
def test_a_run_that_went_on_elsewhere_says_where_it_was_before(change, tmp_path):
    stopped(*RUNS["maml"], cwd=tmp_path)
    run = only_run(tmp_path)
    before = read_json(run / "environment.json")
    write_json(run / "environment.json", before | change)
    assert run_metabench(*RUNS["maml"], cwd=tmp_path).code == 0
    found = read_json(run / "summary.json")
    part = {key: (before | change)[key] for key in OF_A_PART}
    assert found["environment"].get("earlier") == ([part] if change else None)
    assert found["train"]["alone"] is None
    assert read_json(run / "environment.json").get("earlier") == found["environment"].get("earlier")
    commits = RunReader(run).summary.environment.commits
    assert commits == (f"0123456789ab, then {before['git']}" if "git" in change else before["git"])


def test_parts_that_ran_in_one_place_are_named_once():
    here, there = ({"git": name, "threads": 1, "device": "cpu"} for name in ("a", "b"))
    record = with_earlier(there, here)
    record = with_earlier(here, record)
    record = with_earlier(there, record)
    assert [part["git"] for part in record["earlier"]] == ["a"]
    assert record["git"] == "b"
