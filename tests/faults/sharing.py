"""Two processes on one run directory."""

from __future__ import annotations

import re
import signal

from identical import identical, straight
from program import SINUSOID, only_run, run_metabench, start_metabench, until

from faults.fault import Attempt, fault
from faults.runs import MAML

ENDLESS = (*SINUSOID, "train.steps=1000000")


@fault(
    "a second process on a run directory",
    "refused at once, naming the first process, which continues",
    tries=5,
    short=0,
)
def second(attempt: Attempt) -> None:
    cwd = attempt.folder / "work"
    cwd.mkdir()
    first = start_metabench(*ENDLESS, cwd=cwd)
    until(lambda: list(cwd.glob("outputs/*/*/*/metrics.jsonl")))
    done = run_metabench(*ENDLESS, cwd=cwd)
    assert first.running
    assert done.code == 2
    assert f": another process writes this run: process {first.pid} on " in done.err
    assert done.err.count("\n") == 1
    first.kill(signal.SIGKILL)
    first.wait()
    assert start_and_stop(*ENDLESS, cwd=cwd) == 143  # the lock of a dead process does not hold


def start_and_stop(*overrides: str, cwd) -> int:
    started = start_metabench(*overrides, cwd=cwd)
    status = only_run(cwd) / "metrics.jsonl"
    status.unlink()
    until(status.exists)
    started.kill(signal.SIGTERM)
    return started.wait().code


@fault(
    "four processes started at once on one run",
    "one runs and ends identical to a run alone; the others are refused",
    tries=5,
)
def at_once(attempt: Attempt) -> None:
    cwd = attempt.folder / "work"
    cwd.mkdir()
    started = [start_metabench(*MAML, cwd=cwd) for _ in range(4)]
    ended = [process.wait() for process in started]
    refused = [done for done in ended if done.code == 2]
    assert all(re.search(": another process writes this run: ", done.err) for done in refused)
    assert len(refused) + sum(done.code == 0 for done in ended) == 4
    assert sum("meta-training" in done.out for done in ended) == 1
    identical(only_run(cwd), straight(*MAML))
