"""The plan of a run's meta-steps: which engine, how many tasks at once, how many threads.

A pure function of the configuration and the machine, never of a timing or of the memory free at the moment: a stopped
run must go on with the same rounding. docs/performance.md has the measurements behind the numbers here.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass

import torch

from metabench.algo.base import Algorithm
from metabench.config.schema import Config
from metabench.engine.cost import saved_bytes, work
from metabench.errors import ConfigError
from metabench.tasks import Tasks
from metabench.utils.counted import counted

CPU_BUDGET = 1 << 30  # bytes of saved activations; larger chunks are no faster on a CPU
CUDA_SHARE = 0.5  # of the device's memory
SMALL = 250_000  # floating-point operations a call, below which calling costs more than computing (CPU)
COMPILE_FROM = 10_000  # meta-steps that pay for compiling
COMPILE_TO = 3_000  # calls in a meta-step that the compiler takes in reasonable time


@dataclass(frozen=True)
class Plan:
    """The engine, chunk and threads of a run."""

    engine: str  # eager, compile or graph
    chunk: int  # tasks in memory at once
    threads: int | None = None  # of the CPU, where not torch's own choice
    fallback: bool = False  # to the eager engine, should compiling or capturing fail

    def describe(self) -> str:
        """The plan in words."""
        threads = f", {counted(self.threads, 'thread')}" if self.threads else ""
        wait = " (the first meta-step waits for the compiler)" if self.engine == "compile" else ""
        return f"engine {self.engine}, {counted(self.chunk, 'task')} at once{threads}{wait}"


def check_engine(config: Config, device: torch.device) -> None:
    """Raise `ConfigError` if this machine cannot do what is asked for."""
    if config.engine == "graph" and device.type != "cuda":
        raise ConfigError("engine", "graph", "needs a CUDA device; auto, eager and compile run on a CPU")
    if config.engine == "compile" and device.type == "cpu" and not find_compiler():
        raise ConfigError("engine", "compile", "needs a C++ compiler, and there is no c++, g++ or clang++ here")
    if config.engine == "compile" and config.remat:
        raise ConfigError("remat", "true", "is undone by engine=compile, which computes nothing twice")


def make_plan(config: Config, algo: Algorithm, task: Tasks) -> Plan:
    """The plan for a checked `config`, with `task`, one training task, to try the model on."""
    algo.train()
    chunk, engine, auto = _chunk(config, algo, task), config.engine, config.engine == "auto"
    if task.support.x.is_cuda:
        return Plan("graph" if auto else engine, chunk, fallback=auto)
    calls, flops = work(algo, task)
    small = flops * chunk < SMALL * calls
    if auto:
        pays = small and config.train.steps >= COMPILE_FROM and calls <= COMPILE_TO and not config.remat
        engine = "compile" if pays and find_compiler() else "eager"
    return Plan(engine, chunk, threads=1 if small and config.device.threads is None else None, fallback=auto)


def _chunk(config: Config, algo: Algorithm, task: Tasks) -> int:
    """The tasks of a meta-step held at once; an automatic number is made smaller, so that as many chunks are even."""
    tasks = config.train.tasks
    if algo.coupled:
        return tasks
    chunk = min(tasks, pick_chunk(config.chunk, algo, task))
    return math.ceil(tasks / math.ceil(tasks / chunk)) if config.chunk == "auto" else chunk


def find_compiler() -> str | None:
    """The C++ compiler of this machine."""
    return next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def pick_chunk(chunk: int | str, algo: Algorithm, task: Tasks) -> int:
    """The number of tasks to hold in memory at once: as configured, or what one `task`'s saved activations allow."""
    if isinstance(chunk, int):
        return chunk
    device = task.support.x.device
    budget = CPU_BUDGET
    if device.type == "cuda":
        budget = int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE)
    return max(1, budget // max(1, saved_bytes(algo, task.tasks(0, 1))))
