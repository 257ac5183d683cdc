"""Signals: a checkpoint, a documented exit code, and a launcher's own handler still runs."""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from identical import checkpoint, identical, seconds, straight
from program import SINUSOID, only_run, start_metabench, until

from faults.fault import Attempt, fault
from faults.runs import MAML, STEPS, again, both, done_steps, progress
from metabench.utils.files import read_json

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
LATENCY = "seconds until it had left"


@fault(
    "{0.name} at a random moment",
    "exit code 128 + n within 5 s; no meta-step is repeated; the resumed run ends identical",
    tries=20,
    over=SIGNALS,
)
def signalled(attempt: Attempt, number: signal.Signals) -> None:
    note, run = attempt.folder / "progress", straight(*MAML)
    for repetition in count():  # again where it had ended before
        cwd = attempt.folder / str(repetition)
        cwd.mkdir()
        note.unlink(missing_ok=True)
        started = start_metabench(*MAML, cwd=cwd, patch=partial(progress, note))
        started.entered()
        time.sleep(attempt.share * seconds(*MAML) / (1 + repetition))
        code, waited = _left(started, number)
        if code:
            break
    # Before the run has begun Python's own answers hold: a shell shows 128 + n for both.
    assert code in (128 + number, -number), code
    done = done_steps(note)
    attempt.note(LATENCY, waited, limit=5)
    _, start = again(*MAML, cwd=cwd)
    assert start == done or done <= 1, (start, done)
    identical(only_run(cwd), run)


def _left(started: Any, number: int) -> tuple[int, float]:
    began = time.monotonic()
    started.kill(number)
    code = started.wait().code
    return code, time.monotonic() - began


COMPILED = (*SINUSOID, "engine=compile")


@fault("{0.name} while the meta-step is compiled", "exit code 128 + n within 5 s", tries=3, short=0, over=SIGNALS)
def signalled_compiling(attempt: Attempt, number: signal.Signals) -> None:
    cwd = attempt.folder / "work"
    cwd.mkdir()
    cold = {"TORCHINDUCTOR_CACHE_DIR": str(attempt.folder / "compiler")}
    started = start_metabench(*COMPILED, cwd=cwd, env=cold)
    until(lambda: list(cwd.glob("outputs/*/*/*/checkpoints")))
    time.sleep(0.3 + 3 * attempt.share)
    assert started.running, "compiling had ended before"
    code, waited = _left(started, number)
    assert code == 128 + number
    assert read_json(only_run(cwd) / "status.json")["status"] == "stopped"
    attempt.note(LATENCY, waited, limit=5)


@fault(
    "{0.name} with a launcher's own handler",
    "called after the checkpoint is written; if the handler returns, the run continues; if it exits, the run ends",
    tries=5,
    over=SIGNALS,
)
def handled(attempt: Attempt, number: signal.Signals) -> None:
    note, told, cwd = attempt.folder / "progress", attempt.folder / "told", attempt.folder / "work"
    cwd.mkdir()
    leaves = bool(attempt.number % 2)
    launched = partial(launcher, number, told, note, leaves)
    step = attempt.chance.randrange(2, STEPS)
    own = partial(signal_at, step, number)
    done = start_metabench(*MAML, cwd=cwd, patch=both(partial(progress, note), launched, own)).wait()
    assert done.code == (17 if leaves else 0), done
    assert told.read_text() == f"{step} of {step}\n"
    assert read_json(only_run(cwd) / "status.json")["status"] == ("stopped" if leaves else "complete")
    again(*MAML, cwd=cwd)
    identical(only_run(cwd), straight(*MAML))


def launcher(number: int, told: Path, note: Path, leaves: bool) -> None:
    """A patch: a handler like a launcher's, which asks the checkpoint what it holds and then returns or leaves."""

    def handler(number: int, frame: object) -> None:
        held = checkpoint(only_run(Path.cwd()), "last.pt")["step"]
        with told.open("a") as file:
            file.write(f"{held} of {done_steps(note)}\n")
        if leaves:
            sys.exit(17)

    signal.signal(number, handler)


def signal_at(step: int, number: int) -> None:
    """A patch: the process signals itself in meta-step `step`, from 1."""
    from metabench.engine.meta_step import MetaStep

    original = MetaStep.__call__

    def watched(self: Any, index: int, tasks: Any) -> Any:
        if index == step - 1:
            os.kill(os.getpid(), number)
        return original(self, index, tasks)

    MetaStep.__call__ = watched  # type: ignore[method-assign]
