"""Threads of a run on a CPU: those that it began with, and no more than there are free cores.

Threads of one step wait for each other. Where another process keeps a core, a step of as many threads as cores becomes
several times slower, and one thread is faster (scripts/benchmarks/neighbour.py; docs/performance.md). The number also
decides how sums are rounded, so a run that goes on keeps the number that it began with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

STAT = Path("/proc/stat")
PROBE = 0.2  # seconds


def pick_threads(threads: int, free: float | None) -> int:
    """The threads to use where torch would use `threads` and so many cores are `free`; None where that is not known."""
    return threads if free is None else max(1, min(threads, round(free)))


def free_cores(sleep: Callable[[float], None] = time.sleep) -> float | None:
    """Cores that this process may use and others leave idle, over a short while in which it does nothing."""
    try:
        before = _ticks()
        sleep(PROBE)
        after = _ticks()
    except (OSError, ValueError, AttributeError):
        return None
    found = 0.0
    for core, (idle, total) in after.items():
        if core in before and (passed := total - before[core][1]) > 0:
            found += (idle - before[core][0]) / passed
    return found


def _ticks() -> dict[int, tuple[int, int]]:
    """Idle and all ticks of each core that this process may use, since the system began."""
    mine = os.sched_getaffinity(0)
    found = {}
    for line in STAT.read_text(encoding="ascii").splitlines():
        name, *numbers = line.split()
        with suppress(ValueError):
            core = int(name.removeprefix("cpu"))
            ticks = [int(number) for number in numbers[:8]]  # what guests take is in the first two already
            if name.startswith("cpu") and core in mine:
                found[core] = (ticks[3] + ticks[4], sum(ticks))
    return found
