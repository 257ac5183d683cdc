"""Memory of this machine, or of the control group that this process is held to: all of it, and what is free."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

GROUPS = (  # limit and use, in versions 2 and 1 of Linux's control groups
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def total_memory() -> int | None:
    """Bytes of memory that processes may use here; None where the system does not say."""
    found = [limit for limit, _ in _groups()]
    with suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min(found, default=None)


def free_memory() -> int | None:
    """Bytes that are free now, caches that would give way included; None where the system does not say."""
    found = [limit - used for limit, used in _groups()]
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(1024 * int(line.split()[1]))
    return min(found, default=None)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _groups() -> Iterator[tuple[int, int]]:
    for limit, used in GROUPS:
        with suppress(OSError, ValueError):  # there is no such group, or it has no limit: "max"
            yield int(Path(limit).read_text(encoding="ascii")), int(Path(used).read_text(encoding="ascii"))
