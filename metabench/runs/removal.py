"""Remove runs: their own files alone, while nobody writes them, through no link.

A folder is a run of this program if its environment.json or a sound summary.json names a run. What else lies in it is
left, and the folder with it.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from metabench.errors import UserError
from metabench.runs.own_files import FILES, FOLDERS, REFUSED, TESTS
from metabench.runs.reader import RunReader
from metabench.runs.run_dir import RunDirectory, held_identity
from metabench.runs.untrusted import read_content
from metabench.utils.files import DamagedError

BEST = "best.pt"


def check_run(path: Path) -> None:
    """Raise `UserError` for what is not the folder of a run, or a link to one."""
    if path.is_symlink():
        raise UserError(f"{path}: is a link to {path.readlink()}; name that folder itself")
    if not path.is_dir():
        raise UserError(f"{path}: {'is not a folder' if os.path.lexists(path) else 'no such folder'}")
    if not isinstance(held_identity(path), str) and not RunReader(path).finished:
        raise UserError(f"{path}: is no run: neither its environment.json nor its summary.json is of one")


def check_prunable(path: Path) -> None:
    """Raise `UserError` for a run whose checkpoints are still needed to go on."""
    if not RunReader(path).finished:
        raise UserError(
            f"{path}: is not finished, and goes on from its checkpoints; without --checkpoints the run goes"
        )


def check_free(path: Path) -> None:
    """Raise `UserError` for a run that another process writes; changes nothing."""
    owner = _owner_elsewhere(path)
    if owner is not None:
        raise UserError(f"{path}: may be written by {owner}; if that is gone, remove {path / '.owner'} first")
    RunDirectory(path, "").check_free()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Within it no other process writes the run; raises `UserError` where one does."""
    check_free(path)
    with RunDirectory(path, ""):
        yield


def _owner_elsewhere(path: Path) -> str | None:
    """The process on another machine that says it writes the run: not every file system has locks for it."""
    try:
        owner = read_content(path / ".owner")
        return None if owner["host"] == socket.gethostname() else f"process {owner['pid']} on {owner['host']}"
    except (DamagedError, KeyError, TypeError):
        return None


def remove_run(path: Path) -> list[str]:
    """Remove a run and the tests below it; returns what else lies in its folder and is left.

    Raises `UserError` where that is no run, another process writes it or a test of it, or the system refuses.
    """
    check_run(path)
    for test in _tests(path):
        check_free(test)
    _remove_free_run(path)
    return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


def clear_run(path: Path) -> None:
    """Remove the files of a run, which the caller holds, and its tests: the summary first, that it is a run last.

    Of a link the link alone goes. Raises `UserError` where another process writes a test, or the system refuses.
    """
    with _refusals(path):
        _remove(path / "summary.json")
        for test in _tests(path):
            _remove_free_run(test)
        if (path / TESTS).is_dir() and not (path / TESTS).is_symlink():
            _remove(path / TESTS / REFUSED)
            _remove_if_empty(path / TESTS)
        for name in FOLDERS:
            _remove(path / name)
        for name in sorted(FILES, key=lambda name: name == "environment.json"):
            _remove(path / name)
            _remove(path / f".{name}.part")


def _remove_free_run(path: Path) -> None:
    """Remove a run that no other process writes, and its folder if nothing else lies there."""
    with held(path):
        clear_run(path)
    with _refusals(path):
        for name in (".owner", ".lock"):
            _remove(path / name)
        _remove_if_empty(path)


def _tests(path: Path) -> list[Path]:
    """The tests below a run."""
    tests = path / TESTS
    found = sorted(tests.iterdir()) if tests.is_dir() and not tests.is_symlink() else []
    return [test for test in found if test.is_dir() and not test.is_symlink() and held_identity(test) is not None]


def prune_checkpoints(path: Path) -> int:
    """Remove the checkpoints of a finished run but for the chosen weights; returns the bytes that this frees."""
    check_run(path)
    check_prunable(path)
    freed = 0
    with held(path), _refusals(path):
        folder = path / "checkpoints"
        if folder.is_dir() and not folder.is_symlink():
            for file in folder.iterdir():
                if file.name != BEST and not (file.is_dir() and not file.is_symlink()):
                    freed += file.lstat().st_size
                    file.unlink()
    return freed


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise UserError(f"{fault.filename or path}: cannot be removed: {fault.strerror or fault}") from None


def _remove(path: Path) -> None:
    """Remove a file, a folder with what is in it, or a link but not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_if_empty(path: Path) -> None:
    if not any(path.iterdir()):
        path.rmdir()
