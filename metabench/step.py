"""One meta-step: the gradient of a batch of tasks, in chunks that fit memory, and the outer update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.config import Device, Train
from metabench.device import autocast
from metabench.optim import schedule
from metabench.tasks import Metrics, Tasks

CPU_BUDGET = 1 << 30  # bytes of saved activations; larger chunks are no faster on a CPU
CUDA_SHARE = 0.5  # of the device's memory


class MetaStep:
    """Calls `algo(tasks)` chunk by chunk, adds up the gradients, and steps the optimiser.

    Every chunk size gives the same gradient, and the same move of the buffers, up to rounding.
    """

    def __init__(
        self,
        algo: Algorithm,
        optimizer: torch.optim.Optimizer,
        train: Train,
        device: Device,
    ) -> None:
        self.algo, self.optimizer, self.train, self.device = algo, optimizer, train, device
        self.base_lr = [group["lr"] for group in optimizer.param_groups]
        self.parameters = [p for p in algo.parameters() if p.requires_grad]
        self.buffers = [b for b in algo.buffers() if b.is_floating_point()]
        self.chunk: int | None = None

    def __call__(self, step: int, tasks: Tasks) -> Metrics:
        """Meta-step number `step` (from 0) on `tasks`; the metrics of every task, `[T]` each."""
        self.algo.train()
        if self.chunk is None:
            self.chunk = pick_chunk(self.train.chunk, self.algo, tasks)
        self.optimizer.zero_grad(set_to_none=True)
        metrics = self.accumulate(tasks, min(self.chunk, len(tasks)))
        if self.train.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.train.clip)
        factor = schedule(self.train, step)
        for group, lr in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = lr * factor
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
        with autocast(self.device, tasks.support.x.device):
            loss, metrics = self.algo(tasks)
        (loss * share).backward()
        return metrics


def pick_chunk(chunk: int | str, algo: Algorithm, tasks: Tasks) -> int:
    """The number of tasks to hold in memory at once: as configured, or what one task's saved activations allow.

    A pure function of the configuration and the device, never of the memory free at the moment: a resumed run must
    add its gradients in the same order.
    """
    if isinstance(chunk, int):
        return chunk
    device = tasks.support.x.device
    budget = CPU_BUDGET
    if device.type == "cuda":
        budget = int(torch.cuda.get_device_properties(device).total_memory * CUDA_SHARE)
    return max(1, budget // max(1, saved_bytes(lambda: algo(tasks.tasks(0, 1)), algo)))


def saved_bytes(forward: Callable[[], Any], algo: Algorithm) -> int:
    """The most bytes that autograd keeps at once for backward passes in `forward`, the model's own tensors apart."""
    own = {t.untyped_storage().data_ptr() for t in (*algo.parameters(), *algo.buffers())}
    keepers: Counter[int] = Counter()  # of each storage, by address; a kept storage cannot lose its address
    live = peak = 0

    class Kept:
        """A tensor, counted for as long as autograd keeps it: an inner step frees what it kept."""

        def __init__(self, tensor: Tensor) -> None:
            nonlocal live, peak
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.address, self.bytes = storage.data_ptr(), storage.nbytes() * (storage.data_ptr() not in own)
            live += 0 if keepers[self.address] else self.bytes
            keepers[self.address] += 1
            peak = max(peak, live)

        def __del__(self) -> None:
            nonlocal live
            keepers[self.address] -= 1
            live -= 0 if keepers[self.address] else self.bytes

    before = [b.clone() for b in algo.buffers()]
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        forward()
    for buffer, old in zip(algo.buffers(), before, strict=True):
        buffer.copy_(old)
    return peak
