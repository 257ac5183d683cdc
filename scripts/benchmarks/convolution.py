"""Ways to run many tasks' convolutions under many tasks' weights, each a whole second-order meta-gradient of conv4.

    python scripts/benchmarks/convolution.py [--device cuda] [--compile] [--markdown FILE]

- grouped: tasks folded into channels, one grouped convolution (what metabench does);
- unfold: im2col and one batched matrix product;
- loop: one convolution a task, in channels-last;
- vmap: torch.func over a function of one task, with batch norm written out (torch's own is wrong under vmap);
- halves: the grouped way in two Python threads of one intra-op thread each, half the tasks each (CPU);
- default allocator: the grouped way in a process that returns freed memory to the system (CPU).

The same weights and tasks; medians of interleaved repetitions; the difference is that of the gradient to the first row.
With --compile each also as one compiled graph.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.backbone.bilinear import Convolution
from metabench.backbone.layers import Conv2d
from metabench.config.compose import compose
from metabench.engine.compiled import Compiled
from metabench.tasks import Tasks
from metabench.training.components import Components
from metabench.utils.console import Display

STRIDED = ("data=glyphs", "algo=maml", "engine=eager")
WORKLOADS = {
    "5-way, 1 query, 1 step, 32 tasks": (*STRIDED, "chunk=32"),
    "5-way, 15 queries, 1 step, 32 tasks": (*STRIDED, "chunk=8", "data.train.queries=15"),
    "5-way, max-pool, 1 query, 1 step, 32 tasks": (*STRIDED, "chunk=16", "backbone.pool=max"),
    "20-way, 1 query, 1 step, 16 tasks": (*STRIDED, "chunk=16", "data.ways=20", "train.tasks=16", "algo.inner_lr=0.1"),
}


class Unfolded(Convolution):
    """Patches as columns, and one batched product."""

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """See `Bilinear`."""
        n, tasks, _, height, width = x.shape
        y = w.flatten(2) @ self._columns(x)  # [T, O, N*L]
        size = [(side - 1) // self.stride + 1 for side in (height, width)]
        return y.view(tasks, -1, n, *size).permute(2, 0, 1, 3, 4)

    def input_gradient(self, g: Tensor, w: Tensor, shape: torch.Size) -> Tensor:
        """See `Bilinear`."""
        n, tasks, channels, *size = shape
        columns = w.flatten(2).mT @ g.permute(1, 2, 0, 3, 4).flatten(2)
        columns = columns.view(tasks, channels * 9, n, -1).permute(2, 0, 1, 3).flatten(0, 1)
        return F.fold(columns, (size[0], size[1]), 3, padding=1, stride=self.stride).view(shape)

    def weight_gradient(self, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        """See `Bilinear`."""
        return (g.permute(1, 2, 0, 3, 4).flatten(2) @ self._columns(x).mT).view(shape)

    def _columns(self, x: Tensor) -> Tensor:
        n, tasks = x.shape[:2]
        columns = F.unfold(x.flatten(0, 1), 3, padding=1, stride=self.stride)
        return columns.view(n, tasks, *columns.shape[1:]).permute(1, 2, 0, 3).flatten(2)


class Loop(Convolution):
    """One task after another, channels last."""

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """See `Bilinear`."""
        pairs = zip(x.unbind(1), w.unbind(), strict=True)
        return torch.stack([F.conv2d(_last(a), _last(b), None, self.stride, 1) for a, b in pairs], dim=1)

    def input_gradient(self, g: Tensor, w: Tensor, shape: torch.Size) -> Tensor:
        """See `Bilinear`."""
        like = _last(g.new_empty(shape[0], *shape[2:]))
        pairs = zip(g.unbind(1), w.unbind(), strict=True)
        return torch.stack([self._backward(_last(a), like, _last(b), 1, 0) for a, b in pairs], dim=1)

    def weight_gradient(self, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        """See `Bilinear`."""
        like = _last(g.new_empty(shape[1:]))
        pairs = zip(x.unbind(1), g.unbind(1), strict=True)
        return torch.stack([self._backward(_last(b), _last(a), like, 1, 1) for a, b in pairs])


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def by_maps(run: Components, maps: type[Convolution]) -> Callable[[], None]:
    """The meta-gradient with every convolution done by `maps`."""

    def gradient() -> None:
        for module in run.algo.modules():
            if isinstance(module, Conv2d):
                module.maps = maps(module.stride)
        run.meta_step.accumulate(run.loader(0), run.plan.chunk)

    return gradient


def by_vmap(run: Components) -> Callable[[], None]:
    """MAML written for one task, vmapped in chunks."""
    algo: Any = run.algo
    parameters, norms = dict(algo.named_parameters()), [f"backbone.norms.{i}.bias" for i in range(4)]
    convs, pool, eps = [f"backbone.convs.{i}.weight" for i in range(4)], algo.backbone.pool, algo.backbone.norms[0].eps
    adapted = {name: p for name, p in parameters.items() if name not in norms}

    def network(weights: dict[str, Tensor], fixed: dict[str, Tensor], x: Tensor) -> Tensor:
        for conv, norm in zip(convs, norms, strict=True):
            x = F.conv2d(x, weights[conv], None, 1 if pool == "max" else 2, 1)
            var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
            x = ((x - mean) * torch.rsqrt(var + eps) + fixed[norm].view(1, -1, 1, 1)).relu()
            x = F.max_pool2d(x, 2) if pool == "max" else x
        z = x.mean((-1, -2)) if algo.backbone.readout == "mean" else x.flatten(1)
        return F.linear(z, weights["network.head.weight"], weights["network.head.bias"])

    def task(
        weights: dict[str, Tensor], fixed: dict[str, Tensor], sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor
    ) -> Tensor:
        fast = weights
        for _ in range(algo.inner_steps):
            g = torch.func.grad(lambda w: F.cross_entropy(network(w, fixed, sx), sy))(fast)
            fast = {name: w - algo.inner_lr * g[name] for name, w in fast.items()}
        return F.cross_entropy(network(fast, fixed, qx), qy)

    def total(weights: dict[str, Tensor], fixed: dict[str, Tensor], batch: Tasks) -> Tensor:
        return torch.vmap(task, in_dims=(None, None, 0, 0, 0, 0))(weights, fixed, *batch.support, *batch.query).sum()

    def gradient() -> None:
        batch, size = run.loader(0), run.plan.chunk
        fixed = {name: parameters[name].detach() for name in norms}
        given = {name: p.detach() for name, p in adapted.items()}
        for start in range(0, len(batch), size):
            found = torch.func.grad(total, argnums=(0, 1))(given, fixed, batch.tasks(start, start + size))
            for name, g in (found[0] | found[1]).items():
                p, g = parameters[name], g / len(batch)
                p.grad = g if p.grad is None else p.grad.add_(g)

    return gradient


def by_halves(run: Components) -> Callable[[], None]:
    """Two threads, each with a model of its own and its half of the tasks of a chunk."""
    by_maps(run, Convolution)()
    pool = ThreadPoolExecutor(2, initializer=lambda: torch.set_num_threads(1))
    models = [copy.deepcopy(run.algo) for _ in range(2)]

    def half(model: Algorithm, batch: Tasks) -> tuple[Tensor, ...]:
        loss, _ = model(batch)
        return torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])

    def gradient() -> None:
        batch, size = run.loader(0), run.plan.chunk // 2
        parts = [batch.tasks(start, start + size) for start in range(0, len(batch), size)]
        for pair in range(0, len(parts), 2):
            for found in pool.map(half, models, parts[pair : pair + 2]):
                for p, g in zip(run.parameters, found, strict=True):
                    p.grad = g / len(parts) if p.grad is None else p.grad.add_(g, alpha=1 / len(parts))

    return gradient


def by_compiler(run: Components, maps: type[Convolution]) -> Callable[[], None]:
    """The gradient of a chunk recorded with `maps` and compiled."""
    compiled, eager = Compiled(run.algo, run.meta_step.precision), by_maps(run, maps)

    def gradient() -> None:
        run.meta_step.backward = compiled
        eager()
        run.meta_step.backward = run.meta_step.eager

    return gradient


def measure(run: Components, ways: dict[str, Callable[[], None]], repetitions: int) -> dict[str, tuple[float, Tensor]]:
    """Median seconds, and the gradient, of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    gradients = {}
    for repetition in range(repetitions + 2):
        for name, way in ways.items():
            run.optimizer.zero_grad(set_to_none=True)
            began = time.perf_counter()
            way()
            if run.device.type == "cuda":
                torch.cuda.synchronize()
            if repetition >= 2:
                times[name].append(time.perf_counter() - began)
            gradients[name] = torch.cat([p.grad.flatten() for p in run.parameters if p.grad is not None])
    return {name: (statistics.median(times[name]), gradients[name]) for name in ways}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--compile", action="store_true")
    arguments.add_argument("--markdown", type=Path)
    arguments.add_argument("--default-allocator", action="store_true", help=argparse.SUPPRESS)
    options = arguments.parse_args()
    lines = ["| workload | way | ms | ratio | gradient differs |", "|---|---|---|---|---|"]
    if not options.default_allocator:
        print(f"torch {torch.__version__}, {options.device}, {torch.get_num_threads()} threads")
    alone = []
    if options.device == "cpu" and not options.default_allocator:
        command = [sys.executable, __file__, "--default-allocator"]
        alone = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    for i, (workload, overrides) in enumerate(WORKLOADS.items()):
        keep = f"device.keep_memory={str(not options.default_allocator).lower()}"
        run = Components(compose(f"device={options.device}", keep, *overrides), Display())
        run.algo.train()
        ways = {"grouped": by_maps(run, Convolution)}
        if options.default_allocator:
            print(measure(run, ways, 7)["grouped"][0])
            continue
        ways |= {"unfold": by_maps(run, Unfolded), "loop": by_maps(run, Loop), "vmap": by_vmap(run)}
        if options.device == "cpu":
            ways["halves"] = by_halves(run)
        if options.compile:
            ways |= {f"{n}, compiled": by_compiler(run, m) for n, m in (("grouped", Convolution), ("unfold", Unfolded))}
        found = measure(run, ways, 7)
        base, reference = found["grouped"]
        rows = [(name, took, (g - reference).norm() / reference.norm()) for name, (took, g) in found.items()]
        rows += [("default allocator", float(alone[i]), 0.0)] if alone else []
        for name, took, difference in rows:
            lines.append(f"| {workload} | {name} | {1e3 * took:.0f} | {took / base:.2f} | {difference:.0e} |")
            print(lines[-1], flush=True)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
