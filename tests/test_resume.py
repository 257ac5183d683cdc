"""A run that was stopped, killed or damaged continues, and ends bit for bit as if nothing had happened."""

from __future__ import annotations

import random
import shutil
import signal
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from program import (
    GLYPHS,
    SINUSOID,
    Ended,
    die_before,
    die_in_sync,
    only_run,
    records,
    run_metabench,
    signal_in,
    start_metabench,
    summary,
    until,
)

from metabench.files import load_tensors, read_json, save_tensors

# No two of the intervals meet often: a stop falls within a log window and between validations and checkpoints.
ODD = ("train.steps=50", "log.every=7", "validate.every=13", "checkpoint.every=11")
RUNS = {
    "maml": (*SINUSOID, *ODD, "optim.lr=0.3"),  # the first validation stays the best
    "protonet": (*GLYPHS, *ODD, "algo=protonet", "optim.lr=0.01"),  # running statistics
    "reptile": (*SINUSOID, *ODD, "algo=reptile", "algo.inner_optimizer=adam", "algo.inner_steps=3"),  # moments
    "ftml": (*SINUSOID, *ODD, "algo=ftml", "algo.inner_lr=0.01", "data=sinusoid_online", "data.online.rounds=3"),
    "compiled": (*SINUSOID, *ODD, "engine=compile"),
}
LONG = (*SINUSOID, *ODD, "train.steps=600")
STEP = 24  # of an interruption: 3 after a log line, 2 after a checkpoint, 11 after a validation


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The directory of a run that nothing interrupted."""

    @cache
    def made(*overrides: str) -> Path:
        cwd = tmp_path_factory.mktemp("straight")
        assert run_metabench(*overrides, cwd=cwd).code == 0
        return only_run(cwd)

    return made


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, torch.Tensor):
        return found.dtype == expected.dtype and torch.equal(found, expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and found == expected


def timeless(content: dict[str, Any]) -> dict[str, Any]:
    """Without what the clock decides: the length of metrics.jsonl depends on the digits of its seconds."""
    return {key: value for key, value in content.items() if key not in ("seconds", "metrics_size")}


def checkpoint(run: Path, name: str) -> dict[str, Any]:
    return timeless(load_tensors(run / "checkpoints" / name))


def identical(run: Path, expected: Path) -> None:
    assert (run / "checkpoints/best.pt").read_bytes() == (expected / "checkpoints/best.pt").read_bytes()
    for name in ("last.pt", "previous.pt"):
        assert same(checkpoint(run, name), checkpoint(expected, name)), name
    assert records(run) == records(expected)
    assert (run / "episodes.json").read_bytes() == (expected / "episodes.json").read_bytes()
    found, wanted = summary(run), summary(expected)
    assert timeless(found["test"]) == timeless(wanted["test"])
    assert [found[k] for k in ("status", "identity", "protocol", "selected")] == [
        wanted[k] for k in ("status", "identity", "protocol", "selected")
    ]
    assert found["train"]["steps"] == wanted["train"]["steps"]
    assert read_json(run / "status.json") == {"status": "complete", "reason": None}
    assert not list(run.rglob("*.part"))


def stopped(*overrides: str, cwd: Path, split: str = "train", call: int = STEP, number: int = signal.SIGTERM) -> Ended:
    return run_metabench(*overrides, cwd=cwd, patch=partial(signal_in, split, call, number))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("name", RUNS)
def test_a_stopped_run_continues(name, number, code, straight, tmp_path):
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


@pytest.mark.parametrize("name", RUNS)
def test_a_killed_run_continues(name, straight, tmp_path):
    beyond = 30  # a log line and a validation past the last checkpoint
    assert stopped(*RUNS[name], cwd=tmp_path, call=beyond, number=signal.SIGKILL).code == -signal.SIGKILL
    assert "continuing at meta-step 22 of 50" in run_metabench(*RUNS[name], cwd=tmp_path).out
    identical(only_run(tmp_path), straight(*RUNS[name]))


def test_a_second_signal_leaves_at_once(straight, tmp_path):
    patch = partial(signal_in, "validation", 2, signal.SIGTERM, times=2)  # of step 13
    assert run_metabench(*RUNS["maml"], cwd=tmp_path, patch=patch).code == 143
    assert checkpoint(only_run(tmp_path), "last.pt")["step"] == 11
    assert run_metabench(*RUNS["maml"], cwd=tmp_path).code == 0
    identical(only_run(tmp_path), straight(*RUNS["maml"]))


@pytest.mark.parametrize(("split", "call"), [("validation", 5), ("test", 1)])
def test_a_stop_in_validation_or_test(split, call, straight, tmp_path):
    assert stopped(*RUNS["maml"], cwd=tmp_path, split=split, call=call).code == 143
    assert run_metabench(*RUNS["maml"], cwd=tmp_path).code == 0
    identical(only_run(tmp_path), straight(*RUNS["maml"]))


def test_killed_at_random_moments(straight, tmp_path):
    chance, landed = random.Random(0), 0
    for _ in range(5):
        started = start_metabench(*LONG, cwd=tmp_path)
        time.sleep(chance.uniform(0.3, 0.7))
        landed += started.running
        started.kill()
        started.wait()
    assert landed
    assert run_metabench(*LONG, cwd=tmp_path).code == 0
    identical(only_run(tmp_path), straight(*LONG))


@pytest.mark.parametrize("call", [1, 6, 9, 11, 14, 17])
def test_killed_while_a_file_is_written(call, straight, tmp_path):
    assert run_metabench(*RUNS["maml"], cwd=tmp_path, patch=partial(die_in_sync, call)).code == -signal.SIGKILL
    assert run_metabench(*RUNS["maml"], cwd=tmp_path).code == 0
    (run,) = tmp_path.glob("outputs/*/*/*")
    identical(run, straight(*RUNS["maml"]))


class Evil:
    def __reduce__(self):
        return Path.write_text, (Path("evil-was-run"), "")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(0).randrange(len(content))] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "one bit flipped": flip,
    "empty": lambda path: path.write_bytes(b""),
    "a program, sealed": lambda path: save_tensors(path, {"step": Evil()}),
    "another run's": lambda path: save_tensors(path, {**load_tensors(path), "identity": "0" * 12}),
}


@pytest.fixture(scope="module")
def half(tmp_path_factory) -> Path:
    """A working directory with a run stopped half-way."""
    cwd = tmp_path_factory.mktemp("half")
    assert stopped(*RUNS["maml"], cwd=cwd).code == 143
    return cwd


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(name, half, straight, tmp_path):
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


def test_without_an_intact_checkpoint_the_run_starts_anew(half, straight, tmp_path):
    cwd = shutil.copytree(half, tmp_path / "work")
    for name in ("last.pt", "previous.pt"):
        flip(only_run(cwd) / "checkpoints" / name)
    done = run_metabench(*RUNS["maml"], cwd=cwd)
    assert done.out.count("warning: ") == 2
    assert "continuing" not in done.out
    identical(only_run(cwd), straight(*RUNS["maml"]))


def test_a_damaged_best_checkpoint_is_not_tested(straight, tmp_path):
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


def test_a_damaged_summary_is_made_again(straight, tmp_path):
    run = shutil.copytree(straight(*RUNS["maml"]), tmp_path / "run")
    (run / "summary.json").write_text("{")
    done = run_metabench(*RUNS["maml"], f"run_dir={run}", cwd=tmp_path)
    assert "continuing at meta-step 50 of 50" in done.out
    identical(run, straight(*RUNS["maml"]))


def test_resume_false_starts_anew_and_spares_foreign_files(half, straight, tmp_path):
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
    endless = (*SINUSOID, "train.steps=1000000")
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
