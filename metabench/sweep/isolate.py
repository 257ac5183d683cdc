"""A job of a sweep in a process of its own, so that nothing it does can end the jobs beside it.

A fork of the sweep, which has imported everything and computed nothing. The kernel kills it where memory runs out; a
library may end it; its memory goes back to the machine, whatever it leaked. It tells the sweep by a pipe, a line of
JSON each: the folder that its output goes to, its progress, and its outcome.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from metabench.utils.files import write_errors
from metabench.utils.signals import SIGNALS, Interrupted, signal_name

POSSIBLE = sys.platform == "linux"  # elsewhere there is no fork, or no library that survives one
LOG = "job.log"  # what a job prints, in its folder
_PR_SET_PDEATHSIG = 1  # of sys/prctl.h

Handlers = dict[int, Any]


class Channel:
    """The job's end of the pipe."""

    current: Channel | None = None  # of this process, where it is such a job

    def __init__(self, end: int) -> None:
        self._end = end

    def tell(self, **message: Any) -> None:
        """Send a line to the sweep; nothing where that has gone."""
        line = f"{json.dumps(message)}\n".encode()
        with suppress(OSError):
            while line:
                line = line[os.write(self._end, line) :]

    def open_log(self, folder: Path) -> None:
        """Let output of this process, and of what it starts, go to `folder`/job.log from now on."""
        sys.stdout.flush()
        sys.stderr.flush()
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            log = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        self.tell(folder=str(folder))


class Process:
    """A job under way, as the sweep sees it."""

    def __init__(self, work: Callable[[], dict[str, Any]], handlers: Handlers) -> None:
        """Fork; `handlers` of signals are those that the job begins with."""
        sys.stdout.flush()
        sys.stderr.flush()
        self.folder: Path | None = None
        self.progress: dict[str, Any] = {}
        self.card: list[str] = []  # its protocol, once known
        self.spoke = False  # it told its outcome
        self._outcome: dict[str, Any] | None = None
        self._received = b""
        self.pipe, end = os.pipe()
        held = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        parent, self.pid = os.getpid(), os.fork()
        if not self.pid:
            os.close(self.pipe)
            _do(work, Channel(end), parent, handlers)
        os.close(end)
        os.set_blocking(self.pipe, False)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def kill(self, number: int) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def read(self) -> bool:
        """Take in what it has said; return False once it can say no more."""
        more = True
        with suppress(BlockingIOError):
            while part := os.read(self.pipe, 1 << 16):
                self._received += part
            more = False
        *lines, self._received = self._received.split(b"\n")
        for line in lines:
            self._hear(json.loads(line))
        return more

    def _hear(self, message: dict[str, Any]) -> None:
        if "folder" in message:
            self.folder = Path(message["folder"])
        elif "card" in message:
            self.card = message["card"]
        elif "outcome" in message:
            self._outcome, self.spoke = message["outcome"], True
        else:
            self.progress = message

    def poll(self) -> dict[str, Any] | None:
        """The outcome once it has ended, with `status` and `reason` where it said none; None while it runs."""
        ended, status = os.waitpid(self.pid, os.WNOHANG if self.read() else 0)
        if not ended:
            return None
        self.read()  # its last words
        os.close(self.pipe)
        return self._outcome or _without_a_word(os.waitstatus_to_exitcode(status))

    def end(self) -> None:
        """Ask it to stop, and wait."""
        self.kill(signal.SIGTERM)
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def wait(pipes: Sequence[int], seconds: float) -> None:
    """Wait until one of the pipes has something to say, or so long."""
    select.select(pipes, [], [], seconds)


def _without_a_word(code: int) -> dict[str, Any]:
    if code < 0:
        name = signal_name(-code)
        hint = ": the system does so where memory runs out" if name == "SIGKILL" else ""
        return {"status": "killed", "reason": f"killed by {name}{hint}"}
    if code > 128:
        return {"status": Interrupted.status, "reason": f"stopped by {signal_name(code - 128)}"}
    return {"status": "failed", "reason": f"its process ended with exit code {code}"}


def _do(work: Callable[[], dict[str, Any]], channel: Channel, parent: int, handlers: Handlers) -> NoReturn:
    """In the new process: do the job, tell what it returns, and leave without returning to the sweep."""
    code = 1
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # no orphan goes on where the sweep was killed
        if os.getppid() == parent:
            Channel.current = channel
            channel.tell(outcome=_ended(work))
            code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _ended(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except Interrupted as stopped:
        return {"status": stopped.status, "reason": stopped.why}
