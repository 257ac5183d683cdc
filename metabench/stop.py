"""Leaving cleanly: the first signal asks, the run writes a checkpoint and leaves; a second one leaves at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A run that was asked to stop and did; not an error, and not to be caught as one."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}; the same command continues")
        self.exit_code = 128 + number


class Stop:
    """While open, SIGINT and SIGTERM only ask; `check` raises `Stopped` where it is safe to leave.

    Of several ranks each may hear a signal at its own time: `listen` is where they agree, and `asked` what they know.
    """

    def __init__(self, agree: Callable[[int], int] = int) -> None:
        self.agree = agree  # the largest number that any rank has heard, given this one's
        self.heard = self.asked = 0  # the number of a signal
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
        if self.heard:
            raise Stopped(number)
        self.heard = number

    def listen(self) -> None:
        """Learn whether any rank has been asked."""
        self.asked = self.agree(self.heard)

    def check(self) -> None:
        """Raise `Stopped` if one has."""
        if self.asked:
            raise Stopped(self.asked)
