"""A plain perceptron, for the parts of a model that are not its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.layers import Linear


class Perceptron(nn.Module):
    """Linear maps `sizes[0]` to `sizes[-1]` with a ReLU between each two, none after the last."""

    def __init__(self, sizes: Sequence[int], init: Literal["glorot"] | None = None) -> None:
        super().__init__()
        self.linears = nn.ModuleList(Linear(a, b, init) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """The map of `[T, N, sizes[0]]`."""
        for i, linear in enumerate(self.linears):
            x = linear(F.relu(x) if i else x)
        return x
