"""The most memory that a meta-step takes of a GPU: by tasks at a fixed chunk, and by inner steps.

    python scripts/benchmarks/peak_memory.py [--device cuda]

MAML on 5-way 1-shot 28x28 drawings, conv4-64. On a CPU it is the peak of the process, which never falls: a rehearsal.
`memory.py` counts what autograd keeps, on any machine.
"""

from __future__ import annotations

import argparse
import gc

import torch
from peers.worker import process_peak

from metabench.config.compose import compose
from metabench.training.components import Components
from metabench.utils.console import Display

TASKS, CHUNK = (32, 64, 128, 256), 32
STEPS = (1, 5, 25)


def peak(device: str, *overrides: str) -> float:
    """MB of two meta-steps."""
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run = Components(compose(f"device={device}", "data=glyphs", "algo=maml", *overrides), Display())
    for step in range(2):
        run.meta_step(step, run.source.sample("train", step * run.config.train.tasks, run.config.train.tasks))
    return (torch.cuda.max_memory_allocated() if device == "cuda" else process_peak()) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--overrides", nargs="*", default=[], help="of the configuration, for a smaller network")
    options = parser.parse_args()
    engines = ("eager", "graph") if options.device == "cuda" else ("eager",)
    print("| engine | setting | MB |\n|---|---|---|", flush=True)
    for engine in engines:
        for tasks in TASKS:
            flags = (f"train.tasks={tasks}", f"chunk={CHUNK}", f"engine={engine}", *options.overrides)
            print(f"| {engine} | {tasks} tasks, {CHUNK} at once | {peak(options.device, *flags):.0f} |", flush=True)
        for steps in STEPS:
            for remat in ("false", "true"):
                flags = (f"algo.inner_steps={steps}", f"remat={remat}", f"engine={engine}", *options.overrides)
                found = peak(options.device, "train.tasks=8", *flags)
                print(f"| {engine} | {steps} inner steps, 8 tasks, remat={remat} | {found:.0f} |", flush=True)


if __name__ == "__main__":
    main()
