"""Run directories as they lie on disk: found, read and checked; nothing in them is trusted.

A folder is a run if it holds a summary.json, or the status.json of one that has not finished. What cannot be read is
`Skipped` with a reason, never an exception.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metabench.errors import UserError, format_value
from metabench.report.summary import Summary, Values, parse
from metabench.report.untrusted import clean, read_content, read_yaml
from metabench.runs.run_id import first_identity, identity
from metabench.utils.files import DamagedError

NOT_RUNS = {"checkpoints", "pictures", "tensorboard"}  # folders within a run


@dataclass(frozen=True)
class Run:
    """One finished run."""

    path: Path
    summary: Summary
    config: Values | None  # as config.yaml has it; None where that is missing or not of this run
    config_fault: str | None

    @property
    def seed(self) -> int:
        """The seed of its training."""
        return self.summary.protocol.training["seed"]


@dataclass(frozen=True)
class Skipped:
    """A folder, or a file of one, that could not be used, and why."""

    path: Path
    reason: str


def find(folders: Iterable[Path]) -> list[Path]:
    """Every run directory in `folders` and below, in order, each once; raises `UserError` for what is no folder."""
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        for path, inner, files in os.walk(folder):
            inner[:] = sorted(name for name in inner if name not in NOT_RUNS and not name.startswith("."))
            if {"summary.json", "status.json"} & set(files):
                found.setdefault(Path(path).resolve(), None)
    return [Path(os.path.relpath(path)) if path.is_relative_to(Path.cwd()) else path for path in found]


def read_runs(paths: Iterable[Path]) -> Iterator[Run | Skipped]:
    """Each of `paths` as a run, or the reason why not."""
    for path in paths:
        try:
            yield read_run(path)
        except DamagedError as fault:
            yield Skipped(path, str(fault))


def read_run(path: Path) -> Run:
    """The run in `path`; raises `DamagedError` that names the file and what is wrong with it."""
    file = path / "summary.json"
    if not file.exists():
        raise DamagedError(_unfinished(path))
    summary = parse(read_content(file))
    try:
        return Run(path, summary, _config(path, summary), None)
    except DamagedError as fault:
        return Run(path, summary, None, str(fault))


def _unfinished(path: Path) -> str:
    try:
        status = clean(read_content(path / "status.json"))
        said = [str(status[key]) for key in ("status", "reason") if status.get(key)]
    except (DamagedError, ValueError, AttributeError):
        said = []
    return f"not finished: {format_value(', '.join(said) or 'no status')}"


def _config(path: Path, summary: Summary) -> Values:
    """config.yaml, if it is that of the run."""
    content = read_yaml(path / "config.yaml")
    try:
        agrees = isinstance(content, dict) and summary.identity in (
            identity(content, summary.inputs),
            first_identity(content),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        raise DamagedError("config.yaml: is no configuration") from None
    if not agrees:
        raise DamagedError("config.yaml: is not the configuration that this run had")
    return content
