"""A line on the terminal while the program starts, before anything else can be shown; nothing is imported for it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from metabench import __version__

_CLEAR = "\r\x1b[K"


class Starting:
    """The line, drawn over by the next one and taken away by `clear`. In a pipe or a log there is none."""

    shown = False

    @classmethod
    def say(cls, what: str) -> None:
        """Show what is being done."""
        with suppress(OSError, ValueError, AttributeError):  # of an output that cannot be written others know
            if not sys.stdout.isatty() or os.environ.get("RANK", "0") != "0":
                return
            line = f"metabench {__version__}: {what}"
            if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
                print(line, flush=True)
                return
            print(f"{_CLEAR}{line}", end="", flush=True)
            cls.shown = True

    @classmethod
    def clear(cls) -> None:
        """Take it away."""
        if cls.shown:
            cls.shown = False
            with suppress(OSError, ValueError):
                print(_CLEAR, end="", flush=True)
