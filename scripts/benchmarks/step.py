"""A meta-step with tasks vectorised against the same maths in a Python loop over tasks, as a ratio in one run.

    python scripts/benchmarks/step.py

Both compute the gradient of the same batch from the same weights; the loop calls the algorithm once a task
(`chunk=1`). Medians of interleaved repetitions.
"""

from __future__ import annotations

import statistics
import time

import torch

from metabench.config.compose import compose
from metabench.training.components import Components
from metabench.utils.console import Display

WORKLOADS = {
    "MAML sinusoid, 1 step, 25 tasks": (["data=sinusoid"], 30),
    "MAML sinusoid, 5 steps, 25 tasks": (["data=sinusoid", "algo.inner_steps=5"], 30),
    "MAML conv4 5-way 1-shot, 1 step, 32 tasks": (["data=glyphs"], 7),
    "ANIL conv4 5-way 1-shot, 5 steps, 32 tasks": (["data=glyphs", "algo=anil", "algo.inner_steps=5"], 7),
    "ProtoNet conv4 5-way 1-shot 5-query, 8 tasks": (
        ["data=glyphs", "algo=protonet", "data.train.ways=5", "train.tasks=8"],
        7,
    ),
}


def compare(overrides: list[str], repetitions: int) -> tuple[float, float, float]:
    """Median seconds of the vectorised and the looped gradient, and the relative difference of the two gradients."""
    run = Components(compose("device=cpu", *overrides), Display())
    step, count = run.meta_step, run.config.train.tasks
    run.algo.train()
    times: dict[int, list[float]] = {count: [], 1: []}
    gradients: dict[int, torch.Tensor] = {}
    for repetition in range(repetitions + 2):
        tasks = run.source.sample("train", repetition * count, count)
        for chunk in times:
            run.optimizer.zero_grad(set_to_none=True)
            began = time.perf_counter()
            step.accumulate(tasks, chunk)
            if repetition >= 2:  # the first two warm up
                times[chunk].append(time.perf_counter() - began)
            gradients[chunk] = torch.cat([p.grad.flatten() for p in step.parameters if p.grad is not None])
    difference = (gradients[1] - gradients[count]).norm() / gradients[1].norm()
    return statistics.median(times[count]), statistics.median(times[1]), difference.item()


def main() -> None:
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, CPU")
    print(f"{'workload':48} {'vectorised':>12} {'loop':>12} {'loop / vec.':>12} {'gradients differ':>18}")
    for name, (overrides, repetitions) in WORKLOADS.items():
        vectorised, loop, difference = compare(overrides, repetitions)
        print(
            f"{name:48} {1e3 * vectorised:9.1f} ms {1e3 * loop:9.1f} ms {loop / vectorised:12.1f} {difference:18.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
