"""Disks that are full or read-only."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from unittest import SkipTest

from identical import identical, seconds, straight
from program import Ended, only_run, run_metabench, start_metabench

from faults.damage import half
from faults.fault import Attempt, fault
from faults.kill import in_write
from faults.runs import EVERY, MAML, STEPS, again, begun
from metabench.utils.files import load_tensors

HOLDS = "exit code 2; one line names the path; existing files are intact; once there is space the run ends identical"


@contextmanager
def small_disk(folder: Path, size: str = "2m") -> Iterator[None]:
    """`folder` is a disk of its own."""
    folder.mkdir()
    mount = shutil.which("mount")
    made = mount and subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if not made or made.returncode:
        raise SkipTest("a small disk can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(path: Path) -> None:
    """A file that takes all that is left, to the byte."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass


@fault("the disk becomes full at a random moment", HOLDS, tries=20)
def full(attempt: Attempt) -> None:
    for number in count():  # again where it had ended before
        cwd = attempt.folder / str(number)
        with small_disk(cwd):
            started = start_metabench(*MAML, cwd=cwd)
            time.sleep(attempt.share * seconds(*MAML) / (1 + number))
            fill(cwd / "filler")
            done = started.wait()
            if done.code == 0:
                continue
            _said(done, "No space left on device")
            if run := begun(cwd):
                _intact(run)
            (cwd / "filler").unlink()
            again(*MAML, cwd=cwd)
            identical(only_run(cwd), straight(*MAML))
            return


@fault("a write is refused at a random byte of a checkpoint", HOLDS, tries=20)
def refused(attempt: Attempt) -> None:
    cwd = attempt.folder / "work"
    cwd.mkdir()
    line = 1000  # bytes that the process may write in any case: what it says goes to a file too
    size = line + int(attempt.share * (min(p.stat().st_size for p in straight(*MAML).glob("checkpoints/*")) - line))
    write = attempt.chance.randrange(1, STEPS // EVERY)
    done = run_metabench(*MAML, cwd=cwd, patch=partial(in_write, write, partial(limit, size)))
    _said(done, "File too large")
    _intact(only_run(cwd))
    assert not list(only_run(cwd).rglob("*.part"))
    again(*MAML, cwd=cwd)
    identical(only_run(cwd), straight(*MAML))


def limit(size: int) -> None:
    """No file of this process can be longer; a write beyond is an error, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@fault("a read-only output folder: {}", "exit code 2; one line names the path; no byte is changed", tries=3,
       over=("new run", "stopped run"))  # fmt: skip
def read_only(attempt: Attempt, case: str) -> None:
    cwd = attempt.folder / "work"
    with small_disk(cwd):
        if case == "stopped run":
            shutil.copytree(half(), cwd, dirs_exist_ok=True)
        before = _content(cwd)
        subprocess.run(["mount", "-o", "remount,ro", cwd], check=True)
        _said(run_metabench(*MAML, cwd=cwd), "Read-only file system")
        assert _content(cwd) == before


@fault("a finished run in a read-only folder", "the result is shown; exit code 0", tries=3)
def read_only_finished(attempt: Attempt) -> None:
    cwd = attempt.folder / "work"
    with small_disk(cwd):
        shutil.copytree(straight(*MAML).parents[3], cwd, dirs_exist_ok=True)
        subprocess.run(["mount", "-o", "remount,ro", cwd], check=True)
        done = run_metabench(*MAML, cwd=cwd)
        assert (done.code, done.err) == (0, "")
        assert "finished before" in done.out


def _said(done: Ended, reason: str) -> None:
    assert done.code == 2, done
    assert done.err.startswith("metabench: ")
    assert "outputs/sinusoid/maml" in done.err
    assert done.err.endswith(f": cannot be written: {reason}\n")
    assert done.err.count("\n") == 1


def _intact(run: Path) -> None:
    """Every file under its own name is whole."""
    for path in run.glob("checkpoints/*.pt"):
        assert load_tensors(path)["step"] > 0
    metrics = run / "metrics.jsonl"
    for line in metrics.read_text().splitlines() if metrics.exists() else ():
        json.loads(line)


def _content(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
