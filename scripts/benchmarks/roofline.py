"""How near each workload comes to what the machine can compute: the arithmetic counted, the peak measured.

    python scripts/benchmarks/roofline.py [--device cuda] [--only TEXT] [--markdown FILE]

- GFLOP: multiplications and additions of all convolutions and matrix products of one meta-step (forward, backward,
  backward of the backward), counted on one task and multiplied by the tasks.
- peak: the best rate of this machine, here and now, over matrix products and 3x3 convolutions of 64 channels.
- alone: the convolutions and products that the step calls, each timed by itself on tensors of the same make. What a
  step takes beyond is normalisation, activation, memory traffic and calling.
- busy: the share of a step in which the GPU runs a kernel; the rest it waits to be told what to do. Below the table are
  the kernels that take most of each step; on a CPU the operators, which profiling makes slower.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from metabench.config.compose import compose
from metabench.engine.cost import work
from metabench.training.components import Components
from metabench.utils.console import Display

TOP = 6  # kernels that are listed
STRIDED = ("data=glyphs", "algo=maml")
WORKLOADS = {
    "MAML 5-way 1-shot, 1 query, 1 step, 32 tasks": STRIDED,
    "MAML 5-way 1-shot, 15 queries, 5 steps, 32 tasks": (*STRIDED, "data.train.queries=15", "algo.inner_steps=5"),
    "MAML 20-way 1-shot, 1 query, 5 steps, 16 tasks": (
        *STRIDED, "data.ways=20", "train.tasks=16", "algo.inner_steps=5", "algo.inner_lr=0.1"
    ),
    "ProtoNet 60-way 1-shot, 5 queries": ("data=glyphs", "algo=protonet"),
    "MAML sinusoid, 1 step, 25 tasks": ("data=sinusoid",),
    "MAML sinusoid, 5 steps, 25 tasks": ("data=sinusoid", "algo.inner_steps=5"),
}  # fmt: skip


class Calls(TorchDispatchMode):
    """Every convolution and matrix product with the shapes and strides of its arguments, and how often it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.again: dict[str, Callable[[], Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket in flop_registry:
            key = repr((func, [_make(a) for a in args]))
            self.counts[key] += 1
            if key not in self.again:
                like = [torch.empty_like(a).normal_() if isinstance(a, Tensor) else a for a in args]
                self.again[key] = lambda: func(*like, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _make(argument: Any) -> Any:
    return (argument.shape, argument.stride()) if isinstance(argument, Tensor) else argument


def seconds(function: Callable[[], Any], repetitions: int, device: str) -> float:
    """The median time of a call, after three to warm up."""
    times = []
    for repetition in range(repetitions + 3):
        if device == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        if repetition >= 3:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def alone(call: Callable[[], Any], device: str) -> float:
    """The time of one of many calls in a row, so that a GPU is not timed being woken up."""
    in_a_row = 20 if device == "cuda" else 1
    return seconds(lambda: [call() for _ in range(in_a_row)], 9, device) / in_a_row


def kernels(step: Callable[[], None], steps: int, device: str) -> list[tuple[str, float]]:
    """Seconds a step of each kernel, the longest first."""
    kind = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[kind]) as found:
        for _ in range(steps):
            step()
        if device == "cuda":
            torch.cuda.synchronize()
    events = found.key_averages()
    if device == "cuda":
        took = {e.key: e.self_device_time_total for e in events if e.device_type == DeviceType.CUDA}
    else:
        took = {e.key: e.self_cpu_time_total for e in events}
    return sorted(((name, us * 1e-6 / steps) for name, us in took.items()), key=lambda pair: -pair[1])


def peak(device: str) -> float:
    """The best rate in FLOP/s."""
    rates = []
    for n in (512, 1024, 2048, *((8192,) if device == "cuda" else ())):
        a = torch.randn(n, n, device=device)
        rates.append(2 * n**3 / seconds(lambda a=a: a @ a, 7, device))  # type: ignore[misc]
    for images, size in ((8, 28), (32, 28), (32, 14), (160, 14)):
        for layout in (torch.contiguous_format, torch.channels_last):
            x = torch.randn(images, 64, size, size, device=device).contiguous(memory_format=layout)
            w = torch.randn(64, 64, 3, 3, device=device).contiguous(memory_format=layout)
            flops = 2 * images * 64 * 64 * 9 * size * size
            rates.append(flops / seconds(lambda x=x, w=w: F.conv2d(x, w, padding=1), 15, device))  # type: ignore[misc]
    return max(rates)


def measure(overrides: tuple[str, ...], device: str) -> tuple[float, float, float, list[tuple[str, float]]]:
    """FLOPs of a meta-step, its seconds, those of its convolutions and products alone, and those of its kernels."""
    run = Components(compose(f"device={device}", "train.steps=100000", *overrides), Display())
    run.algo.train()
    flops = work(run.algo, run.source.sample("train", 0, 1)).flops * run.config.train.tasks
    steps = iter(range(run.steps))

    def step() -> None:
        i = next(steps)
        run.meta_step(i, run.loader(i))

    slow = seconds(step, 3, device) > 0.1
    took = seconds(step, 7 if slow else 200, device)
    found = kernels(step, 2 if slow else 20, device)
    with Calls() as calls:
        run.meta_step.eager(run.loader(0).tasks(0, run.plan.chunk), 1.0)
    chunks = run.config.train.tasks / run.plan.chunk
    with torch.no_grad():
        products = sum(alone(calls.again[key], device) * count * chunks for key, count in calls.counts.items())
    return flops, took, products, found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--only", default="", help="workloads whose name contains this")
    arguments.add_argument("--markdown", type=Path)
    options = arguments.parse_args()
    threads = torch.get_num_threads()
    best = peak(options.device)
    where = torch.cuda.get_device_name() if options.device == "cuda" else f"CPU, {threads} threads"
    print(f"torch {torch.__version__}, {where}, float32; peak {best / 1e9:.0f} GFLOP/s", flush=True)
    lines = [
        "| workload | GFLOP | step, ms | GFLOP/s | share of the peak | alone, ms | step / alone | busy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    top: list[str] = []
    for name, overrides in WORKLOADS.items():
        if options.only not in name:
            continue
        torch.set_num_threads(threads)
        flops, took, products, found = measure(overrides, options.device)
        rate, busy = flops / took, ""
        if options.device == "cuda":
            busy = f"{sum(s for _, s in found) / took:.0%}"
        lines.append(
            f"| {name} | {flops / 1e9:.3f} | {1e3 * took:.2f} | {rate / 1e9:.0f} | {rate / best:.0%} "
            f"| {1e3 * products:.2f} | {took / products:.2f} | {busy} |"
        )
        top += [f"\n{name}", *(f"- {1e3 * s:8.3f} ms {s / took:4.0%}  {kernel[:100]}" for kernel, s in found[:TOP])]
        print(lines[-1], flush=True)
    lines += top
    print("\n".join(top), flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
