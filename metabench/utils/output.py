"""Standard output that cannot be written: a request to stop, as a signal is, and never a traceback.

A reader goes away (`metabench … | head`), the disk of a log is full, a terminal is closed. Each is noticed where bytes
leave the process, whoever printed them. What follows is dropped, and `signals.request` is told once.
"""

from __future__ import annotations

import errno
import io
import select
import sys
from contextlib import suppress
from typing import Any

from metabench.utils.signals import HANGUP, NO_SIGNAL, PIPE, Interrupted, request

# Why it cannot be written, by the error, and the signal that such an end is known by.
_CAUSES = {
    errno.EPIPE: (PIPE, "the reader of standard output has gone"),
    errno.EIO: (HANGUP, "the terminal was closed"),
}


class Output(io.RawIOBase):
    """The bytes of a standard stream; after the first error they are dropped. `stops`: the error ends the run."""

    lost: Interrupted | None = None  # the end that the first error of an output means

    def __init__(self, stream: Any, *, stops: bool) -> None:
        self._stream = stream  # kept, since it would close the file when it is collected
        self._raw = getattr(stream.buffer, "raw", stream.buffer)
        self._stops = stops
        self._failed = False

    def write(self, content: Any) -> int:
        """Write some of `content` and return how many bytes; an error is a request to stop."""
        try:
            while not self._failed:
                written = self._raw.write(content)
                if written is not None:
                    return int(written)
                select.select([], [self._raw], [])  # a pipe that does not block, and is full
        except (OSError, ValueError) as fault:
            self._failed = True
            if self._stops:
                report_lost(fault)
        return len(content)

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return True for a terminal."""
        return bool(self._raw.isatty())

    def fileno(self) -> int:
        """The descriptor of the file."""
        return int(self._raw.fileno())

    @property
    def name(self) -> Any:
        """The name of the file, as Python's own streams have it."""
        return getattr(self._raw, "name", None)


def report_lost(fault: Exception) -> None:
    """Ask to stop because of an error of standard output; raises `Interrupted` where nothing is to be written first."""
    number, why = _CAUSES.get(
        getattr(fault, "errno", None) or 0,
        (NO_SIGNAL, f"standard output cannot be written: {getattr(fault, 'strerror', None) or fault}"),
    )
    Output.lost = Interrupted(number, why)
    request(number, why)


def guard_output() -> None:
    """Let errors of stdout be requests to stop, and drop what stderr does not take; repeated calls change nothing."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if not isinstance(stream, io.TextIOWrapper) or isinstance(getattr(stream.buffer, "raw", stream.buffer), Output):
            continue  # none, or one that a notebook or a test put there
        with suppress(OSError):
            stream.flush()
        raw = Output(stream, stops=name == "stdout")
        guarded = io.TextIOWrapper(
            io.BufferedWriter(raw) if hasattr(stream.buffer, "raw") else raw,
            encoding=stream.encoding,
            errors="replace",  # a terminal or a log without ± is no reason to fail
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, guarded)


def flush_output() -> None:
    """Write what is still held back; raises `Interrupted` if standard output could not be written, now or before."""
    if sys.stdout is not None:
        sys.stdout.flush()
    if Output.lost:
        raise Output.lost
