"""One meta-step: the gradient of a batch of tasks, chunk by chunk, and the outer update."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch

from metabench.algo.base import Algorithm
from metabench.config.schema import Device, Train
from metabench.engine.compiled import Compiled, CompileError
from metabench.engine.cuda_graph import CudaGraphStep, GraphError
from metabench.engine.device import autocast
from metabench.engine.plan import Plan
from metabench.optim import schedule, set_learning_rate
from metabench.tasks import Metrics, Tasks
from metabench.utils.distributed import SINGLE, Distributed


class MetaStep:
    """Adds up the gradients of chunks of tasks, clips, and steps the optimiser, by the engine of the plan.

    Every engine and chunk size gives the same gradient, and the same move of the buffers, up to rounding.
    """

    def __init__(
        self,
        algo: Algorithm,
        optimizer: torch.optim.Optimizer,
        train: Train,
        device: Device,
        plan: Plan,
        ranks: Distributed = SINGLE,
    ) -> None:
        self.algo, self.optimizer, self.train, self.plan, self.ranks = algo, optimizer, train, plan, ranks
        self.parameters = [p for p in algo.parameters() if p.requires_grad]
        self.clipped = [self.parameters] if train.clip_each is None else _by_module(algo)
        self.buffers = [b for b in algo.buffers() if b.is_floating_point()]
        where = next(algo.parameters()).device
        self.precision = partial(autocast, device, where)
        self.backward: Callable[[Tasks, float], Metrics] = self.eager
        if plan.engine == "compile":
            self.backward = Compiled(algo, self.precision)
        # What is replayed as one CUDA graph: a whole meta-step, or what comes before ranks meet.
        self.plain = self._update if ranks.size == 1 else self._gradient
        self.graphed = plan.engine == "graph"
        self.update: Callable[[Tasks], Metrics] = self.plain
        if self.graphed:
            self.update = CudaGraphStep(self.plain, algo, optimizer)

    def __call__(self, step: int, tasks: Tasks) -> Metrics:
        """Meta-step number `step` (from 0) on `tasks`; the metrics of every task, `[T]` each."""
        if not self.algo.training:
            self.algo.train()
        try:
            return self._step(step, tasks)
        except GraphError as fault:
            if not self.plan.fallback:
                raise
            warnings.warn(f"{fault}, as this run now does", stacklevel=2)
            self.update, self.graphed = self.plain, False
            return self._step(step, tasks)

    def _step(self, step: int, tasks: Tasks) -> Metrics:
        lr = self.optimizer.defaults["lr"] * schedule(self.train, step)
        alone = self.ranks.size == 1
        set_learning_rate(self.optimizer, lr, graphed=self.graphed and alone)
        return self.update(tasks) if alone else self._together(tasks)

    def _update(self, tasks: Tasks) -> Metrics:
        metrics = self._gradient(tasks)
        self._move()
        return metrics

    def _gradient(self, tasks: Tasks) -> Metrics:
        for parameter in self.parameters:
            parameter.grad = None
        return self.accumulate(tasks, self.plan.chunk)

    def _move(self) -> None:
        if self.train.clip is not None:
            for part in self.clipped:
                torch.nn.utils.clip_grad_norm_(part, self.train.clip)
        self.optimizer.step()

    def _together(self, tasks: Tasks) -> Metrics:
        """The meta-step of all ranks, of whose tasks these are a share; one sum makes gradient, buffers and metrics."""
        mine = self.ranks.shard(self.train.tasks)
        share = len(mine) / self.train.tasks
        before = [b.clone() for b in self.buffers]
        metrics = self.update(tasks)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        moves = [b - old for b, old in zip(self.buffers, before, strict=True)]
        others = (mine.start, self.train.tasks - mine.stop)
        placed = [torch.nn.functional.pad(value, others) for value in metrics.values()]
        summed = iter(self.ranks.all_reduce([*(share * t for t in (*gradients, *moves)), *placed]))
        for gradient in gradients:
            gradient.copy_(next(summed))
        for buffer, old in zip(self.buffers, before, strict=True):
            buffer.copy_(old + next(summed))
        self._move()
        return dict(zip(metrics, summed, strict=True))

    def accumulate(self, tasks: Tasks, chunk: int) -> Metrics:
        """Add the gradient of the mean over `tasks` to the parameters, and move the buffers by the mean move."""
        total = len(tasks)
        if chunk >= total:
            return self._backward(tasks, 1.0)
        before = [b.clone() for b in self.buffers]
        moved = [torch.zeros_like(b) for b in self.buffers]
        parts: list[Metrics] = []
        for start in range(0, total, chunk):
            part = tasks.tasks(start, min(start + chunk, total))
            share = len(part) / total
            parts.append(self._backward(part, share))
            for buffer, old, move in zip(self.buffers, before, moved, strict=True):
                move.add_(buffer - old, alpha=share)
                buffer.copy_(old)
        for buffer, move in zip(self.buffers, moved, strict=True):
            buffer.add_(move)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    def eager(self, tasks: Tasks, share: float) -> Metrics:
        """Add `share` times the gradient of the mean over `tasks` to the parameters, and move the buffers."""
        with self.precision():
            loss, metrics = self.algo(tasks)
        (loss * share).backward()
        return metrics

    def _backward(self, tasks: Tasks, share: float) -> Metrics:
        try:
            return self.backward(tasks, share)
        except CompileError as fault:
            if not self.plan.fallback:
                raise
            warnings.warn(f"{fault}, as this run now does", stacklevel=2)
            self.backward = self.eager
            return self.backward(tasks, share)


def _by_module(algo: Algorithm) -> list[list[torch.nn.Parameter]]:
    """The trained parameters of each direct part of an algorithm, and its own as a part.

    Each once: what two parts share, as a network and its backbone, is of the larger.
    """
    parts = sorted((list(child.parameters()) for child in algo.children()), key=len, reverse=True)
    found: list[list[torch.nn.Parameter]] = []
    seen: set[torch.nn.Parameter] = set()
    for part in (*parts, list(algo.parameters())):
        found.append([parameter for parameter in part if parameter.requires_grad and parameter not in seen])
        seen |= {*part}
    return [part for part in found if part]
