"""Sharing a machine out among the jobs of a sweep: how many run side by side, and with how many threads each.

A function of the sweep and the machine, never of a timing or of the memory free at the moment, since the number of
threads decides how sums are rounded. Two jobs of one thread do more in a second than two threads of one job: 1.3 to
1.5 times for convolutions, and about 2 times for small networks, which use one thread in any case
(scripts/benchmarks/sweep.py; docs/performance.md). So jobs come first, and threads are what is left:

side by side    as many jobs as there are, but no more than cores, or than memory holds at JOB_MEMORY each
threads         the cores divided by that number; for jobs of the last round, where it is not full, by theirs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

JOB_MEMORY = 2 << 30  # bytes; a convolutional job with the chunk of `engine.plan` takes 0.9 to 1.8 GB


@dataclass(frozen=True)
class Share:
    """Jobs side by side on so many cores, and the threads of each job by its number."""

    side_by_side: int
    cores: int
    threads: Mapping[int, int]


def share_machine(jobs: Sequence[int], cores: int, memory: int | None) -> Share:
    """The share for jobs of these numbers; `memory` is that of the whole machine in bytes, None where not known."""
    room = cores if memory is None else memory // JOB_MEMORY
    side = max(1, min(len(jobs), cores, room))
    rest = len(jobs) % side  # jobs of the last round
    first_of_rest = len(jobs) - rest
    return Share(side, cores, {n: max(1, cores // (side if i < first_of_rest else rest)) for i, n in enumerate(jobs)})
