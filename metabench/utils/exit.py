"""The end of the process for a mistake of the user: one line, and an exit code."""

from __future__ import annotations

import sys
from typing import NoReturn

from metabench.utils.distributed import silent
from metabench.utils.starting import Starting


def leave(message: str, code: int, *, alone: bool = False) -> NoReturn:
    """End the process with one line on stderr; of several ranks the first says it, if it did not befall one `alone`."""
    Starting.clear()
    if alone or not silent():
        print(f"metabench: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
