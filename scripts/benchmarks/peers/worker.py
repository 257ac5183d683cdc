"""The worker's side: a process that does one contestant's work when asked, and otherwise waits for a line.

Requests and answers are lines of JSON on stdin and stdout. What a library prints goes to stderr, so that it cannot be
mistaken for an answer.

    {"do": "prepare", "workload": "omniglot5", "folder": …, "device": "cpu"}   weights and batches lie in the folder
    {"do": "first", "gradient": FILE.npz or null}                              the first meta-step
    {"do": "run", "count": 5}                                                  seconds of each of five more
    {"do": "memory"}                                                           peak before the first step, and now
    {"do": "quit"}
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from peers.workloads import BATCHES, WORKLOADS, Workload

Arrays = dict[str, np.ndarray]


class UnsupportedError(Exception):
    """The contestant cannot do a workload here; the message says what is missing."""


@dataclass(frozen=True)
class Job:
    """A workload with the weights to start from and the batches to go round, the same for every contestant.

    Weights are named as in metabench without the path to the backbone: `convs.0.weight`, `norms.0.bias`, `head.bias`.
    A batch has `support_x`, `support_y`, `query_x`, `query_y`, tasks first; a stream is both support and query.
    """

    workload: Workload
    folder: Path
    device: str

    def weights(self) -> Arrays:
        with np.load(self.folder / "weights.npz") as content:
            return dict(content)

    def batches(self) -> list[Arrays]:
        found = []
        for i in range(BATCHES):
            with np.load(self.folder / f"batch{i}.npz") as content:
                found.append(dict(content))
        return found


class Contestant(ABC):
    """One library's way to do the work: the path that its documentation shows."""

    other_equations = False  # True: its model is not that of metabench, so that gradients cannot be compared

    @abstractmethod
    def prepare(self, job: Job) -> None:
        """Build the model, the optimiser and the batches; nothing of it is timed, but for a cold start."""

    @abstractmethod
    def step(self, index: int) -> None:
        """The whole of a meta-step on batch `index`, Adam included; returns when the device is done."""

    @abstractmethod
    def gradient(self) -> Arrays:
        """The outer gradient that Adam was given in the first step, by the names of the weights."""

    def memory(self) -> int:
        """The most bytes held so far: of this process, or of its share of a GPU."""
        return process_peak()

    def versions(self) -> dict[str, str]:
        return {}


def process_peak() -> int:
    """The peak of this process alone: a process's `ru_maxrss` begins with that of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Server:
    """Answers requests with one contestant."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.before = 0
        self.steps = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "prepare":
                job = Job(WORKLOADS[request["workload"]], Path(request["folder"]), request["device"])
                self.contestant.prepare(job)
                self.before = self.contestant.memory()
                return {}
            case "first":
                seconds = self.timed()
                other = self.contestant.other_equations
                if request["gradient"] and not other:
                    np.savez(request["gradient"], **self.contestant.gradient())  # type: ignore[arg-type]
                return {"seconds": seconds, "other_equations": other}
            case "run":
                return {"seconds": [self.timed() for _ in range(request["count"])]}
            case "memory":
                return {"before": self.before, "peak": self.contestant.memory()}
            case "versions":
                return {"versions": self.contestant.versions()}
            case "export":
                self.contestant.export(  # type: ignore[attr-defined]
                    Job(WORKLOADS[request["workload"]], Path(request["folder"]), request["device"])
                )
                return {}
        raise ValueError(f"no such request: {request['do']}")

    def timed(self) -> float:
        began = time.perf_counter()
        self.contestant.step(self.steps % BATCHES)
        self.steps += 1
        return time.perf_counter() - began


def serve(make: Callable[[], Contestant]) -> None:
    """Answer line by line until `quit` or the end of input."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = Server(make())
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        try:
            reply = server.answer(request)
        except UnsupportedError as reason:
            reply = {"unsupported": str(reason)}
        except Exception as fault:  # the parent lists it and goes on with the others
            traceback.print_exc()
            reply = {"error": f"{type(fault).__name__}: {' '.join(str(fault).split())[:160]}"}
        print(json.dumps(reply), file=answers, flush=True)
    answers.flush()
    os._exit(0)  # no library's exit handlers: some wait for threads of theirs
