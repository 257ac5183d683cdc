"""The gradient of a chunk of tasks, recorded once as a flat graph of tensor operations and compiled.

Recording runs the ordinary program, inner gradients included, so every algorithm can be compiled as it is written: no
autograd is left in what the compiler sees. What an algorithm keeps between meta-steps must therefore be a parameter or
a buffer; a plain number would be recorded as a constant.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.base import Algorithm
from metabench.errors import UserError
from metabench.tasks import Metrics, Tasks
from metabench.utils.paths import cache_folder


class CompileError(UserError):
    """Torch's compiler failed."""


def keep_compiled() -> None:
    """Let torch's compiler keep its files below METABENCH_CACHE, unless TORCHINDUCTOR_CACHE_DIR names a folder.

    By default they lie in the system's temporary folder, which is emptied. Nothing changes where the cache cannot be
    written.
    """
    if "TORCHINDUCTOR_CACHE_DIR" not in os.environ:
        with suppress(OSError, UserError):
            folder = cache_folder() / "torchinductor"
            folder.mkdir(parents=True, exist_ok=True)
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder.absolute())


class Compiled:
    """Adds gradients as `MetaStep.eager` does; compiles at the first call for each number of tasks."""

    def __init__(self, algo: Algorithm, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        self.model = _Gradient(algo, precision)
        self.parameters, self.buffers = dict(self.model.named_parameters()), dict(self.model.named_buffers())
        self.learned = [name for name, p in self.parameters.items() if p.requires_grad]
        self.compiled: dict[int, Callable[..., Any]] = {}
        self.outputs: list[list[str]] = []  # the names of gradients, buffers and metrics among the outputs

    def __call__(self, tasks: Tasks, share: float) -> Metrics:
        """Add `share` times the gradient of the mean over `tasks` to the parameters, and move the buffers."""
        given = (*self.parameters.values(), *self.buffers.values(), *tasks.tensors())
        with torch.no_grad():
            if len(tasks) not in self.compiled:
                self.compiled[len(tasks)] = self._compile(given, tasks)
            found = iter(self.compiled[len(tasks)](*given))
            gradients, buffers, metrics = self.outputs
            for name, value in zip(gradients, found, strict=False):
                p, gradient = self.parameters[name], value if share == 1 else value * share
                p.grad = gradient if p.grad is None else p.grad.add_(gradient)
            for name, value in zip(buffers, found, strict=False):
                self.buffers[name].copy_(value)
            return dict(zip(metrics, found, strict=True))

    def _compile(self, given: tuple[Tensor, ...], tasks: Tasks) -> Callable[..., Any]:
        keep_compiled()
        for talker in ("torch.utils.cpp_extension", "torch._inductor.ir"):  # there is no CUDA; a factorisation is slow
            logging.getLogger(talker).setLevel(logging.ERROR)
        options: dict[str, Any] = {
            "cpp_wrapper": tasks.support.x.device.type == "cpu",
            "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,  # shapes and types never change
        }
        try:
            from torch.fx.experimental.proxy_tensor import make_fx  # a second, and needed here alone

            recorded = make_fx(lambda *tensors: self._gradient(iter(tensors), tasks))(*given)
            recorded.graph.eliminate_dead_code()
            recorded.recompile()
            compiled = torch.compile(recorded, fullgraph=True, dynamic=False, options=options)
            compiled(*given)
        except Exception as fault:
            lines = str(fault).strip().splitlines() or [""]
            raise CompileError(
                f"engine=compile failed ({type(fault).__name__}: {lines[0]}); use engine=eager"
            ) from fault
        return compiled

    def _gradient(self, tensors: Iterator[Tensor], like: Tasks) -> list[Tensor]:
        """Gradients of what is learned, buffers as the step leaves them, and metrics; nothing is changed."""
        state = {
            k: p.detach().requires_grad_(k in self.learned) for k, p in zip(self.parameters, tensors, strict=False)
        }
        moved = {k: b.clone() for k, b in zip(self.buffers, tensors, strict=False)}
        with torch.enable_grad():
            # Untied: with ties torch 2.15 gives a submodule with two names the wrong parameters back.
            given = (like.with_tensors(tensors),)
            gradients, metrics = functional_call(self.model, {**state, **moved}, given, tie_weights=False)
        parts = (gradients, moved, metrics)
        self.outputs = [list(part) for part in parts]
        return [value for part in parts for value in part.values()]


class _Gradient(nn.Module):
    """The gradient as a module's output, so that parameters can be given from outside for all of it."""

    def __init__(self, algo: Algorithm, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        super().__init__()
        self.algo, self.precision = algo, precision

    def forward(self, tasks: Tasks) -> tuple[Metrics, Metrics]:
        with self.precision():
            loss, metrics = self.algo(tasks)
        learned = {name: p for name, p in self.named_parameters() if p.requires_grad}
        found = torch.autograd.grad(loss, list(learned.values()), allow_unused=True)
        return {name: g for name, g in zip(learned, found, strict=True) if g is not None}, metrics
