"""A whole meta-step as one CUDA graph: one launch instead of a thousand, and no wait for the host.

What torch's notes on CUDA graphs ask of a captured training step (2.11 to 2.15): three runs before it, on the stream of
the capture, where autograd and the libraries' handles are at home; gradients that the capture allocates; an optimiser
that keeps its step count and learning rate on the device; and nothing that waits for the device.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.errors import UserError
from metabench.tasks import Metrics, Tasks

WARM_UP = 3  # runs before the capture, in which libraries choose their algorithms and optimisers make their state


class GraphError(UserError):
    """A meta-step that cannot be captured as a CUDA graph."""


class CudaGraphStep:
    """Replays `update`, captured on its first call; tasks are copied to where the graph reads them.

    `update` must change nothing but parameters, buffers and optimiser state. Metrics are copied out, since the next
    replay writes over them. Raises `GraphError` where the capture fails; nothing has changed then.
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
        gc.collect()  # autograd nodes that a cycle keeps alive would bind a parameter to the stream they were made on
        stream = torch.cuda.Stream()
        self._warm_up(stream)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        try:
            with torch.cuda.graph(graph, stream=stream):
                self.metrics = self.update(self.tasks)
        except RuntimeError as fault:
            cause = fault.__context__ or fault  # leaving a capture that failed raises too, and says less
            if isinstance(cause, torch.OutOfMemoryError):
                raise cause from None
            reason = str(cause).strip().partition("\n")[0]
            raise GraphError(f"engine=graph failed ({reason}); use engine=eager") from fault
        return graph

    def _warm_up(self, stream: torch.cuda.Stream) -> None:
        """Run `update` on `stream`, and undo what it did."""
        model = [*self.algo.parameters(), *self.algo.buffers()]
        before = [t.detach().clone() for t in (*model, *self._state())]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.update(self.tasks)
        torch.cuda.current_stream().wait_stream(stream)
        now = [*model, *self._state()]
        old = before if len(before) == len(now) else before[: len(model)]  # else the warm-up made the optimiser's state
        with torch.no_grad():
            for tensor, value in zip(now, old, strict=False):
                tensor.copy_(value)
            for tensor in now[len(old) :]:
                tensor.zero_()  # as optimisers begin: moments, momentum and step counts

    def _state(self) -> Iterator[Tensor]:
        for parameter in (p for group in self.optimizer.param_groups for p in group["params"]):
            for value in self.optimizer.state.get(parameter, {}).values():
                if isinstance(value, Tensor):
                    yield value
