"""A job of a sweep in a process of its own, so that nothing it does can end the jobs after it.

A fork of the sweep, which has imported everything and computed nothing. The kernel kills it where memory runs out; a
library may end it; its memory goes back to the machine, whatever it leaked.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from tempfile import TemporaryFile
from types import FrameType
from typing import Any, BinaryIO, NoReturn

from metabench.utils.signals import SIGNALS, Interrupted, signal_name

POSSIBLE = sys.platform == "linux"  # elsewhere there is no fork, or no library that survives one
_PR_SET_PDEATHSIG = 1  # of sys/prctl.h


def isolated(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run `job` in a new process and return its value, or `status` and `reason` where it has none.

    Signals are passed on to the job, which ends as it would alone; then `Interrupted` is raised here.
    """
    child = 0
    asked: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        with suppress(ProcessLookupError):
            os.kill(child, number)

    with TemporaryFile() as answer:
        sys.stdout.flush()
        sys.stderr.flush()
        before = {number: signal.getsignal(number) for number in SIGNALS}
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        parent, child = os.getpid(), os.fork()
        if not child:
            _answer(job, answer, parent)
        for number, handler in before.items():
            if handler not in (signal.SIG_IGN, None):
                signal.signal(number, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            _, status = os.waitpid(child, 0)
        finally:
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
        code = os.waitstatus_to_exitcode(status)
        if asked:
            raise Interrupted(asked[0])
        answer.seek(0)
        said = answer.read()
    if said:
        return json.loads(said)
    if code < 0:
        name = signal_name(-code)
        hint = ": the system does so where memory runs out" if name == "SIGKILL" else ""
        return {"status": "killed", "reason": f"killed by {name}{hint}"}
    if code > 128:
        return {"status": Interrupted.status, "reason": f"stopped by {signal_name(code - 128)}"}
    return {"status": "failed", "reason": f"its process ended with exit code {code}"}


def _answer(job: Callable[[], dict[str, Any]], answer: BinaryIO, parent: int) -> NoReturn:
    """In the new process: do the job, write what it returns, and leave without returning to the sweep."""
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)  # no orphan goes on where the sweep was killed
        if os.getppid() == parent:
            answer.write(json.dumps(_ended(job)).encode())
            answer.flush()
            code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _ended(job: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return job()
    except Interrupted as stopped:
        return {"status": stopped.status, "reason": stopped.why}
