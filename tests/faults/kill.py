"""kill -9, whenever it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from identical import identical, seconds, straight
from patches import die_at_byte
from program import only_run, run_fresh, run_metabench, start_metabench

from faults.fault import Attempt, fault
from faults.runs import EVERY, MAML, MODELS, STEPS, again, both, done_steps, progress

HOLDS = (
    "the run stays readable; at most one checkpoint interval is repeated; the run ends identical to an undisturbed run"
)


def continues(overrides: tuple[str, ...], cwd: Path, done: int) -> int:
    """The same command goes on close to where the run was and ends like one that nothing happened to; the loss."""
    _, start = again(*overrides, cwd=cwd)
    identical(only_run(cwd), straight(*overrides))
    assert 0 <= done - start <= EVERY, (done, start)
    return done - start


@fault("kill -9 at a random moment: {}", HOLDS, tries=25, over=MODELS)
def killed(attempt: Attempt, model: str) -> None:
    overrides, note = MODELS[model], attempt.folder / "progress"
    straight(*overrides)
    for number in count():  # again where it had ended before
        cwd = attempt.folder / str(number)
        cwd.mkdir()
        note.unlink(missing_ok=True)
        started = start_metabench(*overrides, cwd=cwd, patch=partial(progress, note))
        time.sleep(attempt.share * seconds(*overrides) / (1 + number))
        started.kill()
        if started.wait().code == -signal.SIGKILL:
            break
    attempt.note("meta-steps done again", continues(overrides, cwd, done_steps(note)))


@fault("kill -9 within a checkpoint write: {}", HOLDS, tries=25, over=MODELS)
def killed_in_a_write(attempt: Attempt, model: str) -> None:
    overrides, note, cwd = MODELS[model], attempt.folder / "progress", attempt.folder / "work"
    cwd.mkdir()
    run = straight(*overrides)
    writes = STEPS // EVERY
    if attempt.number % 2:
        size = min((run / "checkpoints" / name).stat().st_size for name in ("last.pt", "best.pt"))
        write, most = attempt.chance.randrange(1, writes), attempt.chance.randrange(size)
        death = partial(in_write, write, partial(die_at_byte, most))
    else:
        death = partial(die_at_line, attempt.chance.randrange(1, writes), attempt.chance.randrange(1, LINES))
    done = run_metabench(*overrides, cwd=cwd, patch=both(partial(progress, note), death))
    assert done.code in (-signal.SIGKILL, -signal.SIGXFSZ), done
    attempt.note("meta-steps done again", continues(overrides, cwd, done_steps(note)))


LINES = 45  # about as many lines of ours are executed in one write


def in_write(number: int, before: Callable[[], Any]) -> None:
    """A patch: `before` is called when the `number`-th checkpoint is about to be written; the process is killed if it
    is written all the same."""
    from metabench.runs.run_dir import RunDirectory

    calls = count(1)

    def watch(original: Any) -> Any:
        def watched(self: RunDirectory, content: dict[str, Any]) -> None:
            if next(calls) < number:
                original(self, content)
                return
            before()
            original(self, content)
            os.kill(os.getpid(), signal.SIGKILL)

        return watched

    for name in ("save", "save_best"):
        setattr(RunDirectory, name, watch(getattr(RunDirectory, name)))


def die_at_line(write: int, line: int) -> None:
    """A patch: kill -9 before the `line`-th line executed in a checkpoint's write."""
    from metabench.runs import run_dir
    from metabench.utils import files

    ours, lines = (files.__file__, run_dir.__file__), count(1)

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in ours:
            return None
        if event == "line" and next(lines) == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    in_write(write, partial(sys.settrace, trace))


@fault("kill -9 of the command, started from a shell", HOLDS, tries=5, short=0)
def killed_command(attempt: Attempt) -> None:
    cwd = attempt.folder
    command = [Path(sys.executable).with_name("metabench"), *MAML]
    began = time.monotonic()
    assert run_fresh("metabench", *MAML, cwd=_empty(cwd / "whole")).code == 0
    whole = time.monotonic() - began
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    work = _empty(cwd / "work")
    for number in count(1):
        process = subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.DEVNULL)
        time.sleep((0.3 + 0.6 * attempt.share) * whole / number)
        process.kill()
        if process.wait() == -signal.SIGKILL:
            break
    assert run_fresh("metabench", *MAML, cwd=work).code == 0
    identical(only_run(work), only_run(cwd / "whole"))


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder
