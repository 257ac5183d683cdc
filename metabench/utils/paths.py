"""Paths that begin with `~`, on machines that may know no home directory: a container without HOME or user entry."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from metabench.errors import UserError


def expanded(path: str | PathLike[str]) -> Path:
    """`path` with `~` replaced; raises `UserError` where that is unknown."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: there is no such home directory; set HOME to a folder or give a path without ~"
        ) from None


def home(instead: str) -> Path:
    """The home directory; raises `UserError` that names what to set `instead` where it is unknown."""
    try:
        return Path.home()
    except RuntimeError:
        raise UserError(f"~: there is no home directory here; set HOME or {instead} to a folder") from None
