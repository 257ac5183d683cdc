"""Outer optimisers, with the arguments that a config sets, and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from metabench.config.schema import Train
from metabench.config.types import NonNegative, Positive, Share
from metabench.utils.dynamo import plain_step


class Adam(torch.optim.Adam):
    """Adam (Kingma, Ba, ICLR 2015, arXiv 1412.6980), in one fused kernel."""

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        *,
        lr: Positive,
        betas: Annotated[list[Share], Field(min_length=2, max_length=2)],
        eps: Positive,
        weight_decay: NonNegative,
    ) -> None:
        first, second = betas
        super().__init__(params, lr=lr, betas=(first, second), eps=eps, weight_decay=weight_decay, fused=True)

    step = plain_step(torch.optim.Adam)


class SGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum; on a GPU in one fused kernel, which alone reads `lr` from a tensor."""

    def __init__(
        self, params: Iterable[nn.Parameter], *, lr: Positive, momentum: Share, weight_decay: NonNegative
    ) -> None:
        moved = list(params)
        fused = all(p.is_cuda for p in moved) or None
        super().__init__(moved, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=fused)

    step = plain_step(torch.optim.SGD)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float, *, graphed: bool) -> None:
    """Set the learning rate of all parameters: a float, or for a CUDA graph (`graphed`) the tensor that it reads."""
    for group in optimizer.param_groups:
        where = group["params"][
            0
        ].device  # the tensor of a loaded state lies on the CPU, where a graph takes it for a constant
        if "capturable" in group:
            group["capturable"] = graphed
        if not graphed:
            group["lr"] = lr
        elif isinstance(group["lr"], Tensor) and group["lr"].device == where:
            group["lr"].fill_(lr)
        else:
            group["lr"] = torch.full((), lr, device=where)


def schedule(train: Train, step: int) -> float:
    """The learning-rate factor at meta-step `step` (from 0): a pure function, so resuming needs no state."""
    match train.schedule:
        case "linear":
            return 1 - step / train.steps
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / train.steps))
        case "halve":
            return 0.5 ** (step // (train.halve_every or train.steps))
        case _:
            return 1.0
