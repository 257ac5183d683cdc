"""Cost of one task: the memory that its gradient keeps, and its arithmetic, measured on a trial run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from metabench.algo.base import Algorithm
from metabench.tasks import Tasks
from metabench.utils.dynamo import untraced


class Work(NamedTuple):
    """Operations called and floating-point operations computed."""

    calls: int
    flops: int


def work(algo: Algorithm, tasks: Tasks) -> Work:
    """The work of the meta-gradient of `tasks`; exact for one task, the convolutions of more are overcounted."""
    with trial(algo), _Count() as count:
        gradient(algo, tasks)
    return Work(count.calls, count.flops)


def saved_bytes(algo: Algorithm, tasks: Tasks) -> int:
    """The most bytes that autograd keeps at once for the gradient of `tasks`, the model's own tensors apart."""
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

    with trial(algo), torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):
        gradient(algo, tasks)
    return peak


def gradient(algo: Algorithm, tasks: Tasks) -> None:
    """The meta-gradient, if the model has one to learn by; without a trace in `.grad`."""
    loss, _ = algo(tasks)
    parameters = [p for p in algo.parameters() if p.requires_grad]
    if loss.requires_grad and parameters:
        torch.autograd.grad(loss, parameters, allow_unused=True)


@contextmanager
def trial(algo: Algorithm) -> Iterator[None]:
    """Within it the model may run; afterwards its buffers and the random numbers are as before."""
    before = [b.clone() for b in algo.buffers()]
    devices = {p.device for p in algo.parameters() if p.is_cuda}
    with torch.random.fork_rng(devices):  # of all GPUs by default, with a warning where there are several
        yield
    for buffer, old in zip(algo.buffers(), before, strict=True):
        buffer.copy_(old)


class _Count(TorchDispatchMode):
    calls = flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        if func.overloadpacket in flop_registry:
            self.flops += flop_registry[func.overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


untraced(_Count.__torch_dispatch__)
