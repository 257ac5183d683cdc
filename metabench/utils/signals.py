"""Leaving cleanly on SIGINT, SIGTERM, SIGHUP, SIGUSR1 and SIGUSR2, the signals of terminals, launchers and schedulers.

Where there is nothing to lose (before the first meta-step has ended, compiling included, and from the meta-test on) a
signal ends the run at once. In between it only asks, and the run writes a checkpoint first; a second signal, a second
later or more, leaves without. The exit code is 128 plus the signal's number. Standard output that cannot be written
asks in the same way (`metabench.utils.output`).

A launcher's own handler, which was there before, is called once the checkpoint is written. If it returns, the launcher
has taken charge, and the run goes on. Signals that were ignored stay ignored.

Of several ranks each hears a signal at its own time. They only ever leave together, where they agree: when they
`listen`, after every meta-step and every batch of an evaluation.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

SIGNALS = [s for s in signal.Signals if s.name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")]
HANGUP, PIPE = 1, 13  # SIGHUP and SIGPIPE, which not every system has
NO_SIGNAL = 256  # asks to stop where there is no signal for why: a full disk
ONE_REQUEST = 1.0  # seconds: launchers signal a process and then its group, which it is in


class Interrupted(BaseException):
    """A run that was asked to stop and did; not an error, and not to be caught as one."""

    status = "stopped"

    def __init__(self, number: int, why: str | None = None) -> None:
        self.number, self.why = number, why or f"stopped by {signal_name(number)}"
        super().__init__(f"{self.why}; the same command continues")
        self.exit_code = 1 if number == NO_SIGNAL else 128 + number


class LauncherExit(SystemExit):
    """A launcher's handler ended the process, to begin it again or not; no outcome of the run."""

    status = "stopped"

    def __str__(self) -> str:
        return "its launcher ended it; the same command continues"


class SignalHandler:
    """While open, signals end the run; while held, only where it calls `check`."""

    current: SignalHandler | None = None  # the one that is open

    def __init__(self, agree: Callable[[int], int] | None = None) -> None:
        self.agree = agree  # the largest number that a rank has heard, given this one's; None: there are no others
        self.heard = 0
        self.asked: int | None = None
        self.held = False
        self._why: str | None = None
        self._when = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandler:
        """Install the handlers, where Python allows it."""
        if threading.current_thread() is threading.main_thread():
            found = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {n: handler for n, handler in found.items() if handler not in (signal.SIG_IGN, None)}
            for number in self._before:
                signal.signal(number, self._ask)
        self._outer, SignalHandler.current = SignalHandler.current, self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put the old handlers back."""
        SignalHandler.current = self._outer
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """From now on there is work to lose."""
        self.held = True

    def release(self) -> None:
        """All is written; raises `Interrupted` if a signal has come."""
        self.held = False
        self.check()

    def listen(self) -> None:
        """Exchange with the other ranks which signal has come to any of them."""
        if self.agree is not None:
            self.asked = self.agree(self.heard) or None

    def check(self) -> None:
        """If a signal has come, call the launcher's handler, or raise `Interrupted` where there is none."""
        if self.asked is None:
            return
        handler = self._before.get(self.asked)
        if not callable(handler) or handler is signal.default_int_handler:
            raise Interrupted(self.asked, self._why)
        number, self.asked, self.heard = self.asked, None, 0
        try:
            handler(number, None)
        except SystemExit as fault:
            raise LauncherExit(fault.code) from None

    def ask(self, number: int, why: str) -> None:
        """Stop as after a signal, for a reason that none announces; nothing where a signal has come before."""
        if not self.heard:
            self._why = why
            self._request(number)
            self._when = math.inf  # the signal of a closed terminal may come later, and is no second request

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.heard:
            self._request(number)
        elif now - self._when > ONE_REQUEST:
            raise Interrupted(number)
        self._when = min(self._when, now)

    def _request(self, number: int) -> None:
        self.heard, self._when = number, time.monotonic()
        if self.agree is None:
            self.asked = number
            if not self.held and threading.current_thread() is threading.main_thread():
                self.check()


def request(number: int, why: str) -> None:
    """Ask the run that is under way to stop; raises `Interrupted` where there is none, or it has nothing to lose."""
    if SignalHandler.current is not None:
        SignalHandler.current.ask(number, why)
    elif threading.current_thread() is threading.main_thread():
        raise Interrupted(number, why)


def signal_name(number: int) -> str:
    """SIGTERM for 15; a number that is no signal's as it is."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return "standard output" if number == NO_SIGNAL else f"signal {number}"
