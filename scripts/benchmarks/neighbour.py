"""A meta-step beside busy neighbours, by the number of threads: one, all, and what the rule picks.

    python scripts/benchmarks/neighbour.py --neighbours 1

Each repetition times a few meta-steps of every choice under the same neighbours; ratios are to one thread.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time

os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the program sets it, before torch is imported

import torch

from metabench.config.compose import compose
from metabench.engine.threads import free_cores, pick_threads
from metabench.training.components import Components
from metabench.utils.console import Display

STEPS = 2


def busy() -> None:
    """Keep a core busy until killed."""
    while True:
        pass


def main() -> None:
    """Print a row per workload and number of neighbours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neighbours", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    cores = torch.get_num_threads()
    print(f"torch {torch.__version__}, {cores} threads, load {os.getloadavg()[0]:.1f} at the start")
    print("| workload | neighbours | one thread, ms | all threads / one | rule / one | free cores found |")
    print("|---|---|---|---|---|---|", flush=True)
    for name, overrides in {"MAML conv4": ["data=glyphs"], "ProtoNet conv4": ["data=glyphs", "algo=protonet"]}.items():
        run = Components(compose("device=cpu", *overrides), Display())
        tasks = run.source.sample("train", 0, run.config.train.tasks)
        run.meta_step(0, tasks)
        for count in (0, options.neighbours):
            others = [multiprocessing.get_context("fork").Process(target=busy, daemon=True) for _ in range(count)]
            for other in others:
                other.start()
            times: dict[str, list[float]] = {"one": [], "all": [], "rule": []}
            found = []
            for _ in range(options.repetitions):
                free = free_cores()
                found.append(free or 0.0)
                for choice, threads in (("one", 1), ("all", cores), ("rule", pick_threads(cores, free))):
                    torch.set_num_threads(threads)
                    began = time.perf_counter()
                    for step in range(STEPS):
                        run.meta_step(step, tasks)
                    times[choice].append((time.perf_counter() - began) / STEPS)
            for other in others:
                other.kill()
            one, every, rule = (statistics.median(times[choice]) for choice in times)
            cells = f"{1e3 * one:.0f} | {every / one:.2f} | {rule / one:.2f} | {statistics.median(found):.1f}"
            print(f"| {name} | {count} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
