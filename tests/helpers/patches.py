"""Patches: functions that a forked program calls before it begins (`program.run_metabench(patch=…)`)."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path


def die_at_byte(size: int) -> None:
    """A patch: the system ends the process when one of its files has that many bytes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def remove_working_directory() -> None:
    """A patch: the program begins in a folder that is gone."""
    gone = Path.cwd() / "gone"
    gone.mkdir()
    os.chdir(gone)
    os.environ["PWD"] = str(gone)
    gone.rmdir()
