"""Memory that runs out."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from identical import identical, straight
from program import SINUSOID, only_run, run_metabench

from faults.fault import Attempt, fault
from faults.runs import MAML, STEPS, again
from metabench.utils.files import read_json


def asked_too_much() -> None:
    torch.empty(1 << 60)


def cuda_says_so() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def python_says_so() -> None:
    raise MemoryError


CASES = {
    "torch's allocator refuses": asked_too_much,
    "CUDA's refuses (simulated)": cuda_says_so,
    "Python's refuses (simulated)": python_says_so,
}
HOLDS = "exit code 4, status oom; one line suggests a smaller `chunk`; rerunning the command resumes and ends identical"


@fault("out of memory in a random meta-step: {}", HOLDS, tries=5, over=CASES)
def refused(attempt: Attempt, case: str) -> None:
    cwd = attempt.folder / "work"
    cwd.mkdir()
    step = attempt.chance.randrange(1, STEPS + 1)
    done = run_metabench(*MAML, cwd=cwd, patch=partial(in_forward, 1 + step, CASES[case]))  # the first is the plan's
    _said(done.code, done.err, only_run(cwd), "out of memory with 4 tasks held at once (chunk=4): chunk=2 holds half")
    again(*MAML, cwd=cwd)
    identical(only_run(cwd), straight(*MAML))


@fault(
    "a process limited to less memory than the tasks need",
    "exit code 4, status oom; halving `chunk` repeatedly leads to a run that fits",
    tries=3,
)
def limited(attempt: Attempt) -> None:
    cwd = attempt.folder / "work"
    cwd.mkdir()
    large = (*SINUSOID, "train.steps=1", "train.tasks=64", "data.train.shots=400", "backbone.hidden=[500,500]")
    patch = partial(limit, 300 << 20)
    done = run_metabench(*large, "chunk=64", cwd=cwd, patch=patch)
    _said(
        done.code, done.err, only_run(cwd), "out of memory with 64 tasks held at once (chunk=64): chunk=32 holds half"
    )
    assert run_metabench(*large, "chunk=1", cwd=cwd, patch=patch).code == 0


def _said(code: int, err: str, run: Path, line: str) -> None:
    assert code == 4, err
    assert err.startswith(f"metabench: {line}")
    assert err.count("\n") == 1
    status = read_json(run / "status.json")
    assert status["status"] == "oom"
    assert line in status["reason"]


def in_forward(call: int, happens: Callable[[], Any]) -> None:
    """A patch: something happens in the `call`-th gradient of the run's model."""
    from metabench.algo import maml

    original, calls = maml.MAML.forward, [0]

    def watched(self: Any, tasks: Any) -> Any:
        calls[0] += 1
        if calls[0] == call:
            happens()
        return original(self, tasks)

    maml.MAML.forward = watched  # type: ignore[method-assign]


def limit(more: int) -> None:
    """A patch: the process may take that many bytes of address space more than it has now."""
    (pages,) = Path(f"/proc/{os.getpid()}/statm").read_text().split()[:1]
    most = int(pages) * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
