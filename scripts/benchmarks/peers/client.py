"""The parent's side: a worker process, asked one line at a time."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from peers.environment import last_line

SCRIPTS = Path(__file__).parents[1]


def python_path() -> str:
    """Where a child finds this package, and what its parent was told to find: a checkout that is not installed."""
    return os.pathsep.join(filter(None, (str(SCRIPTS), os.environ.get("PYTHONPATH"))))


class WorkerError(Exception):
    """One line that says why a contestant cannot do a workload."""


class Worker:
    """A contestant's process; `ask` waits for its answer, and all others sleep meanwhile."""

    def __init__(self, python: Path, module: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # lives as long as the process
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [str(python), "-P", "-m", f"peers.{module}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, **environment, "PYTHONPATH": python_path()},
        )
        self.pending = b""

    def ask(self, limit: float, do: str, **what: Any) -> dict[str, Any]:
        """The answer to one request, within `limit` seconds; raises `WorkerError`."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write((json.dumps({"do": do, **what}) + "\n").encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._why_ended()) from None
        answer: dict[str, Any] = json.loads(self._line(limit))
        for kind in ("unsupported", "error"):
            if kind in answer:
                raise WorkerError(answer[kind])
        return answer

    def _line(self, limit: float) -> bytes:
        assert self.process.stdout is not None
        deadline = time.monotonic() + limit
        while b"\n" not in self.pending:
            ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                self.stop()
                raise WorkerError(f"no answer within {limit:.0f} s")
            part = os.read(self.process.stdout.fileno(), 1 << 16)
            if not part:
                raise WorkerError(self._why_ended())
            self.pending += part
        line, _, self.pending = self.pending.partition(b"\n")
        return line

    def _why_ended(self) -> str:
        code = self.process.wait()
        self.log.seek(0)
        return last_line(self.log.read()) if code >= 0 else f"ended by signal {-code}"

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.log):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
