"""Locks between processes: one file, held by one process at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from metabench.errors import UserError


class Lock:
    """A lock file. The system releases it when its process ends, however that ends."""

    def __init__(self, path: Path, refused: Callable[[str], UserError]) -> None:
        """`refused` makes the error for a file that cannot be written or locked, from the system's reason."""
        self.path, self._refused = path, refused
        self._lock = FileLock(path)

    def acquire(self, busy: Callable[[], None]) -> None:
        """Acquire the lock, making its folder. While another process holds it: call `busy`, which raises, or wait."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:  # is an OSError itself
                busy()
                self._lock.acquire()
        except (OSError, NotImplementedError) as fault:  # some file systems have no locks
            raise self._refused(getattr(fault, "strerror", None) or str(fault)) from None

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()
