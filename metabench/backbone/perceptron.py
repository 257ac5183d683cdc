"""A plain multi-layer perceptron, for parts of a model other than its backbone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.layers import Linear


class Perceptron(nn.Module):
    """Linear maps from `sizes[0]` to `sizes[-1]` with ReLUs between them, none after the last."""

    def __init__(self, sizes: Sequence[int], init: Literal["glorot"] | None = None) -> None:
        super().__init__()
        self.linears = nn.ModuleList(Linear(a, b, init) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Map `[T, N, sizes[0]]` to `[T, N, sizes[-1]]`."""
        for i, linear in enumerate(self.linears):
            x = linear(F.relu(x) if i else x)
        return x
