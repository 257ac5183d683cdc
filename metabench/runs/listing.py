"""Runs as rows of a list: what each is, how it stands, what it found, how old and how large it is."""

from __future__ import annotations

import fnmatch
import json
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metabench.errors import UserError, format_value, suggest
from metabench.runs.reader import RunReader
from metabench.runs.run_id import flat
from metabench.runs.untrusted import clean, clean_text, read_content
from metabench.utils.files import DamagedError

RUNNING, KILLED, COMPLETE, DAMAGED = "running", "killed", "complete", "damaged"


@dataclass(frozen=True)
class Row:
    """A run in a list; `value` and `ci95` are of its final metric on test tasks, in the mode it reports first."""

    path: str
    name: str  # of its folder
    data: str
    algo: str
    seed: int | None
    status: str
    reason: str | None
    metric: str | None
    value: float | None
    ci95: float | None
    age: float  # seconds since it was last written to
    size: int  # bytes of all its files

    def as_dict(self) -> dict[str, Any]:
        """The row by its column names."""
        return asdict(self)


def row_of(run: RunReader) -> Row:
    """The row of a run."""
    config = run.sound_config or {}
    status, reason = state(run)
    test = run.summary.test if run.finished else None
    best = test.modes[test.prediction] if test else None
    size, written = _size(run.path)
    return Row(
        path=clean_text(run.path.as_posix()),
        name=clean_text(run.path.resolve().name),
        data=_short(config.get("data")),
        algo=_short(config.get("algo")),
        seed=run.seed if run.finished or config else None,
        status=status,
        reason=reason,
        metric=test.metric if test else None,
        value=best.mean if best else None,
        ci95=best.ci95 if best else None,
        age=max(0.0, time.time() - written),
        size=size,
    )


SORTS: dict[str, Callable[[Row], Any]] = {
    "name": lambda row: row.name,
    "data": lambda row: row.data,
    "algo": lambda row: row.algo,
    "status": lambda row: row.status,
    "metric": lambda row: (row.metric or "~", _worst_last(row)),
    "age": lambda row: row.age,
    "size": lambda row: -row.size,
}
"""Orders of a list: the best metric, the youngest and the largest run come first."""


def _worst_last(row: Row) -> float:
    if row.value is None:
        return math.inf
    return -row.value if row.metric == "accuracy" else row.value


def rows_of(runs: Iterable[RunReader], filters: Sequence[str] = (), sort: str = "age") -> list[Row]:
    """The rows of runs that pass every filter, `KEY=VALUE` or `KEY=VALUE,VALUE`, in order.

    A key is a column or a key of the configuration; a value may have the wildcards of a shell. Raises `UserError` for
    a key that no run has.
    """
    found = [(row := row_of(run), {**flat(run.sound_config or {}), **row.as_dict()}) for run in runs]
    for text in filters:
        key, _, given = text.partition("=")
        if found and not any(key in values for _, values in found):
            known = dict.fromkeys(name for _, values in found for name in values)
            raise UserError(f"{text}: {suggest(key, known, 'no run has such a key')}")
        found = [(row, values) for row, values in found if _passes(values.get(key), given.split(","))]
    return sorted((row for row, _ in found), key=SORTS[sort])


def _passes(value: Any, wanted: Sequence[str]) -> bool:
    texts = {format_value(value)} | ({json.dumps(value)} if isinstance(value, (bool, list, float)) else set())
    return any(fnmatch.fnmatchcase(text, pattern) for text in texts for pattern in wanted)


def state(run: RunReader) -> tuple[str, str | None]:
    """Status of a run, and the reason: as its status.json says it, but for one whose process is gone."""
    if run.finished:
        return COMPLETE, None
    if os.path.lexists(run.path / "summary.json"):
        try:
            run.summary  # noqa: B018 -- its fault
        except DamagedError as fault:
            return DAMAGED, str(fault)
    try:
        found = clean(read_content(run.path / "status.json"))
        status, reason = format_value(found["status"], 20), found.get("reason")
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError):
        return DAMAGED, "status.json: is missing or damaged"
    if status == RUNNING and not _owned(run.path):
        return KILLED, None
    return status, None if reason is None else format_value(reason)


def _owned(path: Path) -> bool:
    """False where the process that writes a run is known to be gone."""
    try:
        owner = read_content(path / ".owner")
        if owner["host"] != socket.gethostname():
            return True
        os.kill(int(owner["pid"]), 0)
    except (DamagedError, ProcessLookupError, KeyError, TypeError, ValueError, OverflowError):
        return False
    except PermissionError:  # of another user
        return True
    return True


def _size(path: Path) -> tuple[int, float]:
    """Bytes of all files below a folder, and when the youngest was written; links are not followed."""
    size, written = 0, 0.0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 -- many files
            except OSError:
                continue
            size, written = size + status.st_size, max(written, status.st_mtime)
    return size, written


def _short(node: Any) -> str:
    """The name of a component as `algo=` or `data=` has it; the class of one from outside the package."""
    if not isinstance(node, dict):
        return "?"
    target = str(node.get("_target_"))
    *_, module, cls = ["", *target.split(".")]
    kinds = [suffix for key, suffix in (("stream", "_sequence"), ("online", "_online")) if node.get(key)]
    return format_value("".join([module if target.startswith("metabench.") else cls, *kinds]), 40)


def age_text(seconds: float) -> str:
    """A time in its largest whole unit: 40 s, 5 min, 3 h, 12 d."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{int(seconds // unit)} {name}"
    return f"{int(seconds)} s"


def size_text(size: int) -> str:
    """A number of bytes in decimal units, to three digits."""
    amount, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.3g} {unit}" if amount < 999.5 else f"{amount:.0f} {unit}"
