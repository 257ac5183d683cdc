"""Paths that begin with `~`, on machines that may know no home directory: a container without HOME or user entry."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from metabench.errors import UserError


def expanded(path: str | PathLike[str]) -> Path:
    """`path` with `~` replaced; raises `UserError` where that is unknown."""
    try:
        return Path(path).expanduser()
    except TypeError:
        raise UserError(f"{path!r}: should be a path, not {type(path).__name__}") from None
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


def cache_folder() -> Path:
    """METABENCH_CACHE, else `metabench` in the user's cache folder; raises `UserError` where no home is known."""
    named = os.environ.get("METABENCH_CACHE")
    return expanded(named) if named else default_cache()


def default_cache() -> Path:
    """`metabench` in XDG_CACHE_HOME, else in ~/.cache; raises `UserError` where no home is known."""
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (xdg if xdg.is_absolute() else home("METABENCH_DATA and METABENCH_CACHE") / ".cache") / "metabench"
