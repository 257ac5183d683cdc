"""Checkpoints that are not what was written."""

from __future__ import annotations

import atexit
import shutil
import signal
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from identical import identical, straight
from program import only_run, run_metabench, signal_in

from faults.fault import Attempt, fault
from faults.runs import EVERY, MAML, again
from metabench.utils.files import DamagedError, load_tensors, save_tensors

HOLDS = "detected, with one warning; the previous checkpoint is used; nothing is deleted; the run ends identical"
STEP = 3 * EVERY + 5  # where the run was stopped


@cache
def half() -> Path:
    """A working directory with a run stopped half-way."""
    cwd = Path(tempfile.mkdtemp(prefix="half-"))
    atexit.register(shutil.rmtree, cwd, ignore_errors=True)
    done = run_metabench(*MAML, cwd=cwd, patch=partial(signal_in, "train", STEP, signal.SIGTERM))
    assert done.code == 128 + signal.SIGTERM
    return cwd


def survived(attempt: Attempt, damage: Callable[[Path], object]) -> None:
    cwd = shutil.copytree(half(), attempt.folder / "work")
    path = only_run(cwd) / "checkpoints/last.pt"
    damage(path)
    damaged = path.read_bytes()
    done, start = again(*MAML, cwd=cwd)
    assert start == STEP - STEP % EVERY
    (warning,) = (line for line in done.out.splitlines() if line.startswith("warning: "))
    assert "checkpoints/last.pt: " in warning
    assert warning.endswith("; the checkpoint before it is used")
    assert path.with_suffix(".damaged").read_bytes() == damaged
    identical(only_run(cwd), straight(*MAML))


@fault("newest checkpoint truncated", HOLDS, tries=20)
def truncated(attempt: Attempt) -> None:
    survived(attempt, lambda path: path.write_bytes(path.read_bytes()[: int(attempt.share * path.stat().st_size)]))


@fault("newest checkpoint: a byte flipped", HOLDS, tries=20)
def flipped(attempt: Attempt) -> None:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[int(attempt.share * len(content))] ^= 1 << attempt.chance.randrange(8)
        path.write_bytes(content)

    survived(attempt, flip)


@fault("newest checkpoint emptied", HOLDS, tries=1)
def emptied(attempt: Attempt) -> None:
    survived(attempt, lambda path: path.write_bytes(b""))


@fault("newest checkpoint replaced by another run's", HOLDS, tries=1)
def swapped(attempt: Attempt) -> None:
    other = straight(*MAML, "seed=1") / "checkpoints/last.pt"
    survived(attempt, partial(shutil.copy, other))


@fault(
    "a bit flipped in each byte of a checkpoint in turn (20 parts)", "every flipped bit is detected", tries=20, short=0
)
def each_byte(attempt: Attempt) -> None:
    path = attempt.folder / "last.pt"
    save_tensors(path, load_tensors(straight(*MAML) / "checkpoints/last.pt"))
    content = bytearray(path.read_bytes())
    places = range(attempt.number, len(content), attempt.tries)
    for at in places:
        content[at] ^= 1 << attempt.chance.randrange(8)
        path.write_bytes(content)
        before = content[at]
        try:
            load_tensors(path)
        except DamagedError:
            content[at] = (straight(*MAML) / "checkpoints/last.pt").read_bytes()[at]
        else:
            raise AssertionError(f"byte {at} of {len(content)}: {before}")
    attempt.note("bytes", len(content))
