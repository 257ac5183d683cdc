"""The program as a user meets it: a process with arguments, a working directory, output and an exit code.

`run_metabench` forks it from a process that has imported torch, so that a tiny run takes half a second and not five;
`run_fresh` starts a command from nothing, for what is true of a start only.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

_FORK = multiprocessing.get_context("forkserver")
_FORK.set_forkserver_preload(["__main__", "metabench.cli.app", "metabench.training.runner", "torch._dynamo"])
_numbers = count()

TINY = (
    *("train.steps=20", "train.tasks=4", "validate.every=10", "validate.episodes=8", "test.episodes=8"),
    *("log.every=5", "log.pictures=false", "checkpoint.every=5", "device=cpu"),
)
SINUSOID = (*TINY, "backbone.hidden=[8]")
GLYPHS = (
    *TINY,
    *("data=glyphs", "data.characters=40", "data.size=16", "data.ways=3", "data.queries=2"),
    *("data.train.ways=3", "data.train.shots=1", "data.train.queries=2", "backbone.filters=4"),
)
# No two of the intervals meet often: a stop falls within a log window and between validations and checkpoints.
ODD = ("train.steps=50", "log.every=7", "validate.every=13", "checkpoint.every=11")


@dataclass(frozen=True)
class Ended:
    code: int  # minus the signal's number, if a signal ended it
    out: str
    err: str


class Started:
    """A forked process under way. Its output lies in files beside `cwd`, so it never waits for a reader."""

    def __init__(self, arguments: tuple[str, ...], cwd: Path, files: list[Path], **options: Any) -> None:
        self._files, self._entered = files, _FORK.Event()
        self._process = _FORK.Process(
            target=_enter, args=(arguments, cwd, files, self._entered), kwargs=options, daemon=True
        )
        self._process.start()

    def entered(self) -> None:
        """Wait until the program begins: before it a signal meets multiprocessing."""
        assert self._entered.wait(60)

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def kill(self, number: int = signal.SIGKILL) -> None:
        with suppress(ProcessLookupError):  # it may have ended a moment ago
            os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> Ended:
        self._process.join(timeout)
        if self.running:
            self.kill()
            raise TimeoutError(f"still running after {timeout} s: {self._files[0].read_text()}")
        return Ended(self._process.exitcode, *(path.read_text() if path.is_file() else "" for path in self._files))


def _enter(
    arguments: tuple[str, ...],
    cwd: Path,
    files: list[Path],
    entered: Any,
    env: dict[str, str] | None = None,
    patch: Callable[[], None] | None = None,
) -> None:
    for number, (name, path) in enumerate(zip(("stdout", "stderr"), files, strict=True), start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        setattr(sys, name, os.fdopen(number, "w", buffering=1, closefd=False))
    os.chdir(cwd)
    os.environ.update({"CUDA_VISIBLE_DEVICES": "", **(env or {})})  # a fork cannot use the GPU
    sys.argv = ["metabench", *arguments]
    multiprocessing.current_process()._config["daemon"] = False  # the program may start processes of its own

    import torch

    from metabench.cli.main import main

    torch.set_num_threads(1)
    if patch:
        patch()
    entered.set()
    main()


def start_metabench(*arguments: str, cwd: Path, **options: Any) -> Started:
    """The program under way; options: `env`, and `patch`, called in the new process before the program."""
    number = next(_numbers)
    return Started(arguments, cwd, [cwd.parent / f"{cwd.name}.{number}.{name}" for name in ("out", "err")], **options)


def run_metabench(*arguments: str, cwd: Path, **options: Any) -> Ended:
    return start_metabench(*arguments, cwd=cwd, **options).wait()


def run_on_terminal(*arguments: str, cwd: Path) -> str:
    """What a terminal shows of it, control codes included."""
    ours, its = pty.openpty()
    os.set_blocking(ours, False)
    started = Started(arguments, cwd, [Path(os.ttyname(its))] * 2, env={"TERM": "xterm", "COLUMNS": "120"})
    shown = b""

    def ended() -> bool:
        nonlocal shown
        over = not started.running
        with suppress(BlockingIOError):
            shown += os.read(ours, 1 << 20)
        return over

    until(ended)
    os.close(ours)
    os.close(its)
    return shown.decode()


def run_fresh(*command: str, cwd: Path, env: dict[str, str] | None = None) -> Ended:
    """`metabench`, `python` or another command of this environment, from nothing."""
    first = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [first, *command[1:]], cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True, timeout=240
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def signal_in(split: str, call: int, number: int, times: int = 1, pause: float = 0) -> None:
    """A patch: the process sends itself a signal in the `call`-th meta-step, or drawing of another split; `times`
    times, with `pause` seconds between."""
    from metabench.data.few_shot import FewShotImages
    from metabench.data.sinusoid import Sinusoid
    from metabench.engine.meta_step import MetaStep

    calls = count(1)

    def watch(cls: Any, name: str) -> None:
        original = getattr(cls, name)

        def watched(self: Any, first: Any, *rest: Any) -> Any:
            if (name == "__call__" or first == split) and next(calls) == call:
                for _ in range(times):
                    os.kill(os.getpid(), number)
                    time.sleep(pause)
            return original(self, first, *rest)

        setattr(cls, name, watched)

    for cls, name in (
        [(MetaStep, "__call__")] if split == "train" else [(Sinusoid, "sample"), (FewShotImages, "sample")]
    ):
        watch(cls, name)


def die_before(name: str) -> None:
    """A patch: the process is killed when it is about to write the checkpoint `name`."""
    from metabench.runs import run_dir

    original = run_dir.save_tensors

    def save(path: Path, content: dict[str, Any]) -> None:
        if path.name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        original(path, content)

    run_dir.save_tensors = save  # type: ignore[attr-defined]


def until(true: Callable[[], Any], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def only_run(cwd: Path) -> Path:
    """The directory of the one run under `cwd`."""
    (found,) = cwd.glob("outputs/*/*/*/environment.json")
    return found.parent


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def records(run: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl, less the clock."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
