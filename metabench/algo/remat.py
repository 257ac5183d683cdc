"""Rematerialisation: keep only the inputs and recompute in the backward pass (Chen et al. 2016, arXiv 1604.06174).

`torch.utils.checkpoint` does not support computations that take gradients themselves, as an inner loop does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

Outputs = tuple[Tensor, ...]


def rematerialised(
    function: Callable[..., Outputs], inputs: Sequence[Tensor], used: Sequence[Tensor], moved: Sequence[Tensor]
) -> Outputs:
    """`function(*inputs)`, differentiable once in its inputs and in the parameters `used` inside it.

    The function must be deterministic. The buffers that it reads or updates, `moved`, are updated once, and are in the
    backward pass what they were in the forward pass, whatever has changed them since.
    """
    return _Rematerialised.apply(function, moved, len(inputs), *inputs, *used)


class _Rematerialised(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., Outputs], moved: Sequence[Tensor], count: int, *tensors: Tensor
    ) -> Outputs:
        ctx.function, ctx.moved, ctx.count = function, moved, count
        ctx.began = [buffer.clone() for buffer in moved]
        ctx.save_for_backward(*tensors)
        return function(*tensors[:count])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        given, used = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        now = [buffer.clone() for buffer in ctx.moved]
        _set(ctx.moved, ctx.began)
        with torch.enable_grad():
            inputs = [t.detach().requires_grad_(t.is_floating_point()) for t in given]
            outputs = ctx.function(*inputs)
        _set(ctx.moved, now)
        wanted = [t for t in (*inputs, *used) if t.requires_grad]
        found = iter(torch.autograd.grad(outputs, wanted, cotangents, allow_unused=True))
        return None, None, None, *(next(found) if t.requires_grad else None for t in (*inputs, *used))


def _set(buffers: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value)
