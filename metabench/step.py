"""One meta-step: the gradient of a batch of tasks, chunk by chunk, and the outer update."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import torch

from metabench.algo.base import Algorithm
from metabench.config import Device, Train
from metabench.device import autocast
from metabench.engine.compiled import Compiled, CompileError
from metabench.engine.eager import Eager
from metabench.engine.graphed import Graphed
from metabench.engine.plan import Plan
from metabench.optim import schedule, set_learning_rate
from metabench.tasks import Metrics, Tasks


class MetaStep:
    """Adds up the gradients of chunks of tasks, clips, and steps the optimiser, by the engine of the plan.

    Every engine and chunk size gives the same gradient, and the same move of the buffers, up to rounding.
    """

    def __init__(
        self, algo: Algorithm, optimizer: torch.optim.Optimizer, train: Train, device: Device, plan: Plan
    ) -> None:
        self.algo, self.optimizer, self.train, self.plan = algo, optimizer, train, plan
        self.parameters = [p for p in algo.parameters() if p.requires_grad]
        self.buffers = [b for b in algo.buffers() if b.is_floating_point()]
        where = next(algo.parameters()).device
        self.eager = Eager(algo, partial(autocast, device, where))
        self.backward: Callable[[Tasks, float], Metrics] = self.eager
        if plan.engine == "compile":
            self.backward = Compiled(algo, self.eager.precision)
        self.update: Callable[[Tasks], Metrics] = self._update
        if plan.engine == "graph":
            self.update = Graphed(self._update, algo, optimizer)

    def __call__(self, step: int, tasks: Tasks) -> Metrics:
        """Meta-step number `step` (from 0) on `tasks`; the metrics of every task, `[T]` each."""
        if not self.algo.training:
            self.algo.train()
        lr = self.optimizer.defaults["lr"] * schedule(self.train, step)
        set_learning_rate(self.optimizer, lr, graphed=self.plan.engine == "graph")
        return self.update(tasks)

    def _update(self, tasks: Tasks) -> Metrics:
        for parameter in self.parameters:
            parameter.grad = None
        metrics = self.accumulate(tasks, self.plan.chunk)
        if self.train.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.train.clip)
        self.optimizer.step()
        return metrics

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

    def _backward(self, tasks: Tasks, share: float) -> Metrics:
        try:
            return self.backward(tasks, share)
        except CompileError as fault:
            if not self.plan.fallback:
                raise
            warnings.warn(f"{fault}, as this run now does", stacklevel=2)
            self.backward = self.eager
            return self.backward(tasks, share)
