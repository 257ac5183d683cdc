"""A sweep as the default runs it against its jobs one after the other, as a ratio in one run.

    python scripts/benchmarks/sweep.py --repetitions 3

The jobs start from one process that has imported everything, as those of a sweep do: each takes some meta-steps with
the threads of its share, and only those are timed. Medians of interleaved repetitions; `before` is one job after the
other, each with the threads of a run alone.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence

import torch

from metabench.config.compose import compose
from metabench.sweep.share import share_machine
from metabench.training.components import Components
from metabench.utils.console import Display
from metabench.utils.memory import total_memory

WORKLOADS: dict[str, tuple[int, int, list[str]]] = {
    "12 sinusoid runs, MAML": (12, 400, ["data=sinusoid", "engine=eager"]),
    "4 conv4 runs, MAML 5-way 1-shot": (4, 8, ["data=glyphs"]),
    "3 conv4 runs, MAML 5-way 1-shot": (3, 8, ["data=glyphs"]),
    "4 conv4 runs, ProtoNet": (4, 8, ["data=glyphs", "algo=protonet"]),
}


def job(overrides: Sequence[str], seed: int, steps: int, threads: int) -> int:
    """Fork a job and return its process id."""
    if child := os.fork():
        return child
    code = 1
    try:
        torch.set_num_threads(threads)
        run = Components(compose("device=cpu", f"seed={seed}", *overrides), Display())
        for step in range(steps):
            run.meta_step(step, run.loader(step))
        code = 0
    finally:
        os._exit(code)


def sweep(overrides: Sequence[str], jobs: int, steps: int, side: int, threads: Sequence[int], cores: int) -> float:
    """Seconds of all jobs, `side` at once and never with more threads than cores."""
    began, running = time.perf_counter(), dict[int, int]()
    for seed in range(jobs):
        while running and (len(running) >= side or sum(running.values()) + threads[seed] > cores):
            _end(running)
        running[job(overrides, seed, steps, threads[seed])] = threads[seed]
    while running:
        _end(running)
    return time.perf_counter() - began


def _end(running: dict[int, int]) -> None:
    child, status = os.wait()
    if status:
        raise SystemExit(f"a job ended with {os.waitstatus_to_exitcode(status)}")
    del running[child]


def main() -> None:
    """Print a row per workload."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of the number of meta-steps")
    options = parser.parse_args()
    cores = torch.get_num_threads()
    print(f"torch {torch.__version__}, {cores} cores, load {os.getloadavg()[0]:.1f} at the start")
    print(
        "| sweep | one after the other, s | side by side, s | ratio (each repetition) |\n|---|---|---|---|", flush=True
    )
    for name, (jobs, steps, overrides) in WORKLOADS.items():
        steps = max(1, round(steps * options.scale))
        share = share_machine(range(jobs), cores, total_memory())
        plans = {"before": (1, [cores] * jobs), "now": (share.side_by_side, list(share.threads.values()))}
        times: dict[str, list[float]] = {plan: [] for plan in plans}
        for _ in range(options.repetitions):
            for plan, (side, threads) in plans.items():
                times[plan].append(sweep(overrides, jobs, steps, side, threads, cores))
        ratios = [before / now for before, now in zip(times["before"], times["now"], strict=True)]
        before, now = (statistics.median(times[plan]) for plan in plans)
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {name} | {before:.1f} | {now:.1f} | {statistics.median(ratios):.2f} ({each}) |", flush=True)


if __name__ == "__main__":
    main()
