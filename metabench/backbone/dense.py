"""Fully connected layers with batch normalisation, for parts of a model that no task adapts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.layers import Linear
from metabench.backbone.norm import BatchNorm, Statistics


class Dense(nn.Module):
    """Linear map, batch normalisation over the examples, ELU: `[T, N, inputs]` to `[T, N, outputs]`."""

    def __init__(self, inputs: int, outputs: int, statistics: Statistics) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs, bias=False)
        self.norm = BatchNorm(outputs, scale=True, eps=1e-5, statistics=statistics)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        return F.elu(self.norm(self.linear(x).transpose(0, 1))).transpose(0, 1)


def dense(sizes: Sequence[int], statistics: Statistics) -> nn.Sequential:
    """Stack `Dense` layers from `sizes[0]` to `sizes[-1]` features; the last layer is linear."""
    *inner, last = pairwise(sizes)
    return nn.Sequential(*(Dense(a, b, statistics) for a, b in inner), Linear(*last, "glorot"))
