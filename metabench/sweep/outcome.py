"""The outcome of a job of a sweep: how it ended, and what it found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metabench.errors import UserError
from metabench.utils.files import write_errors, write_json

Outcome = dict[str, Any]
"""`status` and `reason` of a job; where it has a result `test`, and `run`, its folder."""

KILLED: Outcome = {"status": "killed", "reason": "the process ended without a word"}
UNKNOWN: Outcome = {"status": "failed", "reason": "no outcome was returned"}
FINE = ("complete", "skipped", "pruned")  # how a job may end without having failed
KEPT = ("status", "reason", "test", "run")


def as_outcome(returned: Any) -> Outcome:
    """The outcome that a task function or a launcher means: a dictionary, an exception, or nothing."""
    if returned is None:
        return dict(UNKNOWN)
    if isinstance(returned, dict):
        return returned
    said = str(returned) if isinstance(returned, UserError) else f"{type(returned).__name__}: {returned}"
    return {"status": "failed", "reason": said}


def write_outcome(folder: Path, outcome: Outcome, overrides: Sequence[str]) -> None:
    """Write `outcome.json`, for people who watch, and no more than is kept of an outcome."""
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "outcome.json", {**{k: outcome.get(k) for k in KEPT}, "overrides": list(overrides)})
