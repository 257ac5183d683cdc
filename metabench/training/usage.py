"""Use of the machine while a run trains: peak memory, and a share of the processors that other processes had."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

QUIET = 0.1  # processors that others may use while a run still counts as alone


class Usage:
    """Use of the machine by this process, and by all others, from here on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began, self.others = time.monotonic(), _others()

    def record(self, *, whole: bool, earlier: int) -> dict[str, Any]:
        """`peak_memory` in bytes, of the GPU where one computes, or `earlier` where that is more; `alone`, or null.

        Nothing says the latter where the system does not, and for a run that is not measured as a `whole`, since it was
        continued.
        """
        now, seconds = _others(), time.monotonic() - self.began
        known = whole and now is not None and self.others is not None and seconds > 0
        alone = (now - self.others) / seconds < QUIET if known else None  # type: ignore[operator]
        return {"peak_memory": max(peak_memory(self.device) or 0, earlier) or None, "alone": alone}


def peak_memory(device: torch.device) -> int | None:
    """The most memory that this process has held, in bytes: allocated on a GPU, resident elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(ImportError):  # no Unix
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return None


def _others() -> float | None:
    """Processor seconds of all processes but this one, since the machine started; None where it does not say."""
    with suppress(OSError, ValueError, IndexError):
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8])
        own = os.times()
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
        return busy - own.user - own.system - own.children_user - own.children_system
    return None
