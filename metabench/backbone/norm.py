"""Normalisation layers for T tasks at once; activations are `[N, T, C, ...]`, as in `layers`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from metabench.backbone.alone import Alone, Pool, normalise_alone
from metabench.backbone.batch_norm import batch_norm

Statistics = Literal["batch", "running", "pooled"]


class Norm(nn.Module):
    """A normalisation of `[N, T, C, ...]` followed by a scale (unless `scale=False`) and a shift per channel."""

    def __init__(self, channels: int, *, scale: bool, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if scale else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def _per_channel(self, tasks: int) -> tuple[Tensor, Tensor]:
        """Scale and shift as `[T*C]`."""
        weight = torch.ones_like(self.bias) if self.weight is None else self.weight
        return tuple(p.expand(tasks, -1).flatten() for p in (weight, self.bias))  # type: ignore[return-value]


class BatchNorm(Norm):
    """Batch normalisation with one of three kinds of `statistics`.

    "batch": those of each task's batch, in training and evaluation. "running": the same in training; `eval()` uses
    their exponential average (momentum 0.1), which T tasks update by the mean of their own updates. "pooled": as
    "running", but in training the batch is that of all T tasks together, under one scale and shift.
    """

    def __init__(self, channels: int, *, scale: bool, eps: float, statistics: Statistics) -> None:
        super().__init__(channels, scale=scale, eps=eps)
        self.statistics, self.running, self.pooled = statistics, statistics != "batch", statistics == "pooled"
        self.running_mean: Tensor
        self.running_var: Tensor
        self.frozen = False  # normalise with running statistics; set by train() and eval()
        self.alone: Alone | None = None  # normalise each query with the support set alone
        if self.running:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def train(self, mode: bool = True) -> BatchNorm:
        """Set the mode; in evaluation, a layer with running statistics normalises with them."""
        super().train(mode)
        self.frozen = self.running and not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[N, T, C, ...]`, per task."""
        if self.alone is not None:
            return self.each_alone(x)
        if self.pooled and self.training:  # treat all examples as one task's
            return self._normalise(x.flatten(0, 1).unsqueeze(1)).view(x.shape)
        return self._normalise(x)

    def each_alone(self, x: Tensor, pool: Pool | None = None) -> Tensor:
        """Normalise each query of x `[N, T, C, ...]` with the support set alone; then take maxima, if `pool` does."""
        assert self.alone is not None
        return normalise_alone(x, *self._per_channel(x.shape[1]), self.eps, self.alone, pool)

    def _normalise(self, x: Tensor) -> Tensor:
        tasks = x.shape[1]
        weight, bias = self._per_channel(tasks)
        folded = x.flatten(1, 2)
        if self.frozen:
            mean, scale = (
                self.running_mean.repeat(tasks),
                weight * torch.rsqrt(self.running_var + self.eps).repeat(tasks),
            )
            shape = (1, -1, *[1] * (folded.dim() - 2))
            return torch.addcmul((bias - mean * scale).view(shape), folded, scale.view(shape)).view(x.shape)
        y, mean, var = batch_norm(folded, weight, bias, self.eps)
        if self.running and self.training:
            count = folded.numel() // folded.shape[1]
            unbiased = var * (count / max(1, count - 1))
            for average, value in ((self.running_mean, mean), (self.running_var, unbiased)):
                average.lerp_(value.view(tasks, -1).mean(0), 0.1)
        return y.view(x.shape)


class GroupNorm(Norm):
    """Group normalisation (Wu, He 2018), per example; layer normalisation of one group, instance of one per channel."""

    def __init__(self, channels: int, groups: int, *, scale: bool, eps: float) -> None:
        super().__init__(channels, scale=scale, eps=eps)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x `[N, T, C, ...]`, per task."""
        n, tasks, channels = x.shape[:3]
        parts = x.reshape(n, tasks, self.groups, -1)
        var, mean = torch.var_mean(parts, dim=-1, keepdim=True, correction=0)
        y = ((parts - mean) * torch.rsqrt(var + self.eps)).view(x.shape)
        shape = (1, tasks, channels, *[1] * (x.dim() - 3))
        weight, bias = (p.view(shape) for p in self._per_channel(tasks))
        return torch.addcmul(bias, y, weight)


def make_norm(kind: str, channels: int, *, scale: bool, eps: float, statistics: Statistics) -> nn.Module:
    """Build the normalisation `kind`: batch, group (of 8 channels, or more), layer, instance or none."""
    if kind == "batch":
        return BatchNorm(channels, scale=scale, eps=eps, statistics=statistics)
    if kind == "group":
        return GroupNorm(channels, math.gcd(channels, max(1, channels // 8)), scale=scale, eps=eps)
    if kind == "layer":
        return GroupNorm(channels, 1, scale=scale, eps=eps)
    if kind == "instance":
        return GroupNorm(channels, channels, scale=scale, eps=eps)
    return nn.Identity()


@contextmanager
def held(layers: Sequence[nn.Module], name: str, value: Any) -> Iterator[None]:
    """Within the context, the attribute `name` of every layer is `value`; afterwards it is as it was."""
    before = [getattr(layer, name) for layer in layers]
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, former in zip(layers, before, strict=True):
            setattr(layer, name, former)
