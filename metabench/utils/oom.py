"""Running out of memory, said with the override that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from metabench.errors import UserError
from metabench.utils.counted import counted

_SAID = re.compile("can't allocate memory|not enough memory|out of memory|ALLOC_FAILED", re.IGNORECASE)


class OutOfMemoryError(UserError):
    """The device, or the machine, has no room for what is to be held at once."""

    exit_code = 4
    status = "oom"


@contextmanager
def oom_advice(chunk: int) -> Iterator[None]:
    """Within it running out of memory, with `chunk` tasks held at once or none, is a `OutOfMemoryError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as fault:  # of a device, or of torch's allocator on the CPU, the latter
        if not (isinstance(fault, MemoryError) or _SAID.search(str(fault))):
            raise
        said = f"out of memory with {counted(chunk, 'task')} held at once (chunk={chunk})" if chunk else "out of memory"
        advice = "smaller episodes or remat=true need less" if chunk else "a smaller backbone or data set needs less"
        if chunk > 1:
            advice = f"chunk={chunk // 2} holds half as many"
        raise OutOfMemoryError(f"{said}: {advice}") from fault
