"""Leaving cleanly: the first signal asks, the run writes a checkpoint and leaves; a second one leaves at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A run that was asked to stop and did; not an error, and not to be caught as one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues")
        self.exit_code = 128 + number


class Stop:
    """While open, SIGINT and SIGTERM only ask; `check` raises `Stopped` where it is safe to leave."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        """Install the handlers, where Python allows it."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the old handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise Stopped(number)
        self.asked = number

    def check(self) -> None:
        """Raise `Stopped` if a signal has come."""
        if self.asked is not None:
            raise Stopped(self.asked)
