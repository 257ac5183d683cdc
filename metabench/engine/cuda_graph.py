"""A whole meta-step as one CUDA graph: one launch instead of a thousand, and no wait for the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.tasks import Metrics, Tasks

WARM_UP = 3  # runs before the capture, in which libraries choose their algorithms and optimisers make their state


class CudaGraphStep:
    """Replays `update`, captured on its first call; tasks are copied to where the graph reads them.

    `update` must change nothing but parameters, buffers and optimiser state. Metrics are copied out, since the next
    replay writes over them.
    """

    def __init__(self, update: Callable[[Tasks], Metrics], algo: Algorithm, optimizer: torch.optim.Optimizer) -> None:
        self.update, self.algo, self.optimizer = update, algo, optimizer
        self.graph: torch.cuda.CUDAGraph | None = None
        self.tasks: Tasks
        self.metrics: Metrics

    def __call__(self, tasks: Tasks) -> Metrics:
        """One meta-step."""
        if self.graph is None:
            self.tasks = tasks.with_tensors(t.clone() for t in tasks.tensors())
            self.graph = self._capture()
        for mine, given in zip(self.tasks.tensors(), tasks.tensors(), strict=True):
            mine.copy_(given)
        self.graph.replay()
        return {name: value.clone() for name, value in self.metrics.items()}

    def _capture(self) -> torch.cuda.CUDAGraph:
        self._warm_up()
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.metrics = self.update(self.tasks)
        return graph

    def _warm_up(self) -> None:
        """Run `update` on a stream of its own, and undo what it did."""
        model = list(self.algo.state_dict().values())
        before = [t.clone() for t in (*model, *self._state())]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.update(self.tasks)
        torch.cuda.current_stream().wait_stream(stream)
        now = [*model, *self._state()]
        old = before if len(before) == len(now) else before[: len(model)]  # else the warm-up made the optimiser's state
        for tensor, value in zip(now, old, strict=False):
            tensor.copy_(value)
        for tensor in now[len(old) :]:
            tensor.zero_()  # as optimisers begin: moments, momentum and step counts

    def _state(self) -> Iterator[Tensor]:
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            for value in self.optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor):
                    yield value
