"""The end of the process that is no bug: one line, and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from metabench.utils.distributed import silent
from metabench.utils.signals import Interrupted
from metabench.utils.starting import Starting


def leave(message: str, code: int, *, alone: bool = False) -> NoReturn:
    """End the process with one line on stderr; of several ranks the first says it, if it did not befall one `alone`."""
    Starting.clear()
    if alone or not silent():
        print(f"metabench: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


@contextmanager
def continued() -> Iterator[None]:
    """End the process where a stop ends work that the same command continues; the line says so."""
    try:
        yield
    except Interrupted as stopped:
        leave(str(stopped), stopped.exit_code)
