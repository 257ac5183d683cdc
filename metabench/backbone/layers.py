"""Layers that run T tasks at once, under shared weights or under one set of weights a task.

A parameter has its usual shape when all tasks share it and a leading T when each task has its own. Activations of
convolutions are `[N, T, C, H, W]`: examples, then tasks, then channels. In that order both foldings are views: tasks
into channels (`[N, T*C, H, W]`, a grouped convolution, torch's own batch norm) and tasks into examples
(`[N*T, C, H, W]`, one convolution under shared weights). Torch's batch norm is safe here because nothing is vmapped:
under `vmap` its second-order gradient, where the scale adapts, is wrong without a warning (torch 2.15).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Module):
    """Affine map `[T, N, I]` to `[T, N, O]`; weight `[O, I]` or `[T, O, I]`, bias `[O]` or `[T, O]`."""

    def __init__(self, inputs: int, outputs: int, init_std: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if init_std is None:
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            nn.init.uniform_(self.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
        else:
            nn.init.trunc_normal_(self.weight, std=init_std, a=-2 * init_std, b=2 * init_std)

    def forward(self, x: Tensor) -> Tensor:
        """The map, for every task."""
        if self.weight.dim() == 2:
            return F.linear(x, self.weight, self.bias)
        return torch.baddbmm(self.bias.unsqueeze(1), x, self.weight.mT)


class Conv2d(nn.Module):
    """3x3 convolution, padding 1, of `[N, T, C, H, W]`; weight `[O, C, 3, 3]` or `[T, O, C, 3, 3]`, Xavier-uniform."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(outputs, inputs, 3, 3)))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """The convolution, for every task."""
        n, tasks = x.shape[:2]
        if self.weight.dim() == 4:
            y = F.conv2d(x.flatten(0, 1), self.weight, self.bias, self.stride, padding=1)
        else:
            bias = None if self.bias is None else self.bias.flatten()
            y = F.conv2d(x.flatten(1, 2), self.weight.flatten(0, 1), bias, self.stride, padding=1, groups=tasks)
        return y.view(n, tasks, -1, *y.shape[2:])


class Norm(nn.Module):
    """A normalisation of `[N, T, C, ...]` followed by a scale (unless `scale=False`) and a shift a channel."""

    def __init__(self, channels: int, *, scale: bool, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels)) if scale else None
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def _per_channel(self, tasks: int) -> tuple[Tensor, Tensor]:
        """Scale and shift as `[T*C]`."""
        # Ones where there is no scale: torch's double backward of batch norm without a weight fails on the CPU (2.15).
        weight = torch.ones_like(self.bias) if self.weight is None else self.weight
        return tuple(p.expand(tasks, -1).flatten() for p in (weight, self.bias))  # type: ignore[return-value]


class BatchNorm(Norm):
    """Batch normalisation, each task by itself.

    Statistics are those of the batch, always, unless `running=True`: then training also keeps an exponential average
    (momentum 0.1) and `eval()` normalises with it. T tasks move the average by the mean of what each alone would.
    """

    def __init__(self, channels: int, *, scale: bool, eps: float, running: bool) -> None:
        super().__init__(channels, scale=scale, eps=eps)
        self.running = running
        self.running_mean: Tensor
        self.running_var: Tensor
        self.frozen = False  # normalise with the running statistics; set by train() and eval()
        if running:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))

    def train(self, mode: bool = True) -> BatchNorm:
        """As of any module; a model with running statistics is frozen on them outside training."""
        super().train(mode)
        self.frozen = self.running and not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The normalisation, for every task."""
        tasks, channels = x.shape[1:3]
        weight, bias = self._per_channel(tasks)
        mean = var = None
        if self.frozen or (self.running and self.training):
            mean, var = self.running_mean.repeat(tasks), self.running_var.repeat(tasks)
        y = F.batch_norm(x.flatten(1, 2), mean, var, weight, bias, training=not self.frozen, momentum=0.1, eps=self.eps)
        if mean is not None and var is not None and self.training:
            self.running_mean.copy_(mean.view(tasks, channels).mean(0))
            self.running_var.copy_(var.view(tasks, channels).mean(0))
        return y.view(x.shape)


class GroupNorm(Norm):
    """Group normalisation of each example by itself (Wu, He 2018); one group is layer normalisation."""

    def __init__(self, channels: int, groups: int, *, scale: bool, eps: float) -> None:
        super().__init__(channels, scale=scale, eps=eps)
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """The normalisation, for every task."""
        n, tasks, channels = x.shape[:3]
        parts = x.reshape(n, tasks, self.groups, -1)
        var, mean = torch.var_mean(parts, dim=-1, keepdim=True, correction=0)
        y = ((parts - mean) * torch.rsqrt(var + self.eps)).view(x.shape)
        shape = (1, tasks, channels, *[1] * (x.dim() - 3))
        weight, bias = (p.view(shape) for p in self._per_channel(tasks))
        return torch.addcmul(bias, y, weight)


def make_norm(kind: str, channels: int, *, scale: bool, eps: float, running: bool) -> nn.Module:
    """The normalisation named `kind`: batch, group (8 channels a group, or more so that they divide), layer or none."""
    if kind == "batch":
        return BatchNorm(channels, scale=scale, eps=eps, running=running)
    if kind == "group":
        return GroupNorm(channels, math.gcd(channels, max(1, channels // 8)), scale=scale, eps=eps)
    if kind == "layer":
        return GroupNorm(channels, 1, scale=scale, eps=eps)
    return nn.Identity()
