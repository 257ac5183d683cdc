"""Much of everything: meta-steps, test episodes, jobs of a sweep. Memory stays flat."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from itertools import pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from unittest import SkipTest

from identical import straight
from program import SINUSOID, only_run, run_fresh, start_metabench

from faults.fault import Attempt, fault
from faults.runs import MAML
from metabench.cli.commands import WORDS

STEPS = 100_000
LONG = (*SINUSOID, f"train.steps={STEPS}", "validate.every=1000", "checkpoint.every=1000", "log.every=100")
GROWTH = "MB more at the end than after a tenth"
SERIES = "METABENCH_MEMORY"  # the environment variable that names a file for the memory over time


def resident(pid: int) -> float:
    """MB of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(*overrides: str, cwd: Path) -> list[tuple[float, float]]:
    """Seconds and MB of a process, until it has ended."""
    started = start_metabench(*overrides, cwd=cwd)
    began, series = time.monotonic(), []
    while started.running:
        try:
            series.append((time.monotonic() - began, resident(started.pid)))
        except (FileNotFoundError, ValueError, IndexError):
            break
        time.sleep(0.2)
    done = started.wait()
    assert done.code in (0, 1), done
    return [entry for entry in series if entry[1] > 0]


@fault(
    f"a run of {STEPS:,} meta-steps",
    "memory stays constant; the last meta-steps take as long as the first",
    tries=1,
    short=0,
    alone=True,
)
def steps(attempt: Attempt) -> None:
    series = watched(*LONG, cwd=attempt.folder)
    run = only_run(attempt.folder)
    train = [line for line in _lines(run / "metrics.jsonl") if line["split"] == "train"]
    assert train[-1]["step"] == STEPS
    times = [later["seconds"] - earlier["seconds"] for earlier, later in pairwise(train)]
    tenth = len(times) // 10
    # The quickest of a tenth: other work on the machine only makes them longer.
    attempt.note("times as long in the last tenth", _quick(times[-tenth:]) / _quick(times[:tenth]), limit=1.25)
    # A tenth by the meta-steps' clock: the compiler works before the first, the longer the busier the machine is.
    left = train[-1]["seconds"] - train[tenth]["seconds"]
    _growth(attempt, [mb for seconds, mb in series if seconds > series[-1][0] - left])
    if name := os.environ.get(SERIES):
        Path(name).write_text(
            json.dumps({"seconds_mb": series, "steps_seconds": [(t["step"], t["seconds"]) for t in train]})
        )


@fault("10,000 test episodes", "memory stays constant", tries=1, short=0)
def episodes(attempt: Attempt) -> None:
    series = watched(*SINUSOID, "chunk=8", "train.steps=1", "test.episodes=10000", cwd=attempt.folder)
    _growth(attempt, [mb for _, mb in series[len(series) // 10 :]])


@fault(
    "a sweep of 1,000 jobs, each refused", "each job is listed with its reason; memory stays constant", tries=1, short=0
)
def sweep(attempt: Attempt) -> None:
    series = watched("-m", *SINUSOID, "test.inductive_queries=99", "seed=range(1000)", cwd=attempt.folder)
    found = list(attempt.folder.glob("outputs/sweeps/*/*/outcome.json"))
    assert len(found) == 1000
    assert all("test.inductive_queries=99" in json.loads(path.read_text())["reason"] for path in found)
    _growth(attempt, [mb for _, mb in series[len(series) // 10 :]])


@fault("200 finished runs in a report", "the report is printed within 5 s", tries=1, short=0, alone=True)
def report(attempt: Attempt) -> None:
    if "report" not in WORDS:
        raise SkipTest("there is no report yet")
    finished = straight(*MAML)
    for seed in range(200):
        run = shutil.copytree(
            finished, attempt.folder / "runs" / str(seed), ignore=shutil.ignore_patterns("checkpoints")
        )
        for name in ("config.yaml", "summary.json"):
            text = (run / name).read_text()
            (run / name).write_text(re.sub(r'^(\s*"?seed"?: )\d+', rf"\g<1>{seed}", text, flags=re.MULTILINE))
    began = time.monotonic()
    done = run_fresh("metabench", "report", "runs", "--format", "csv", cwd=attempt.folder)
    attempt.note("seconds", time.monotonic() - began, limit=5)
    assert (done.code, done.err) == (0, "")


def _growth(attempt: Attempt, memory: list[float]) -> None:
    """Note how `memory`, MB from a tenth of the way to the end, grew."""
    assert len(memory) > 20, memory
    tenth = len(memory) // 10
    attempt.note("MB at most", max(memory))
    attempt.note(GROWTH, median(memory[-tenth:]) - median(memory[:tenth]), limit=10)


def _quick(seconds: list[float]) -> float:
    return quantiles(seconds, n=10)[0]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
