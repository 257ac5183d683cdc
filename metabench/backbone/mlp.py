"""Multi-layer perceptron: 1-40-40 for sinusoids, 784-256-128-64-64 for MAML's non-convolutional Omniglot model."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.backbone.norm import Statistics, make_norm
from metabench.config.types import Count, Positive


class MLP(Backbone, rowwise=True):
    """Linear map, normalisation and ReLU per hidden layer; the features are the last layer's, before ReLU if `linear`.

    Post-ReLU features share a common direction; a closed-form head, as that of `r2d2`, spends one of its few degrees
    of freedom on it.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        *,
        hidden: list[Count],
        norm: Literal["batch", "group", "layer", "none"],
        norm_scale: bool,
        norm_eps: Positive,
        statistics: Statistics,
        init_std: Positive | None,
        readout: Literal["linear"] | None,
        head_init: Literal["normal"] | Positive | None = None,
    ) -> None:
        super().__init__()
        sizes = [math.prod(input_shape), *hidden]
        self.linears = nn.ModuleList(Linear(a, b, init_std) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(
            make_norm(norm, size, scale=norm_scale, eps=norm_eps, statistics=statistics) for size in hidden
        )
        self.feature_size, self.init_std, self.readout, self.head_init = sizes[-1], init_std, readout, head_init

    def widen(self, count: int) -> None:
        """Add `count` inputs per example; re-initialises the first layer."""
        outputs, inputs = self.linears[0].get_parameter("weight").shape
        self.linears[0] = Linear(inputs + count, outputs, self.init_std)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[T, N, feature_size]` of inputs `[T, N, *input_shape]`."""
        x = x.flatten(2)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = linear(x)
            if not isinstance(norm, nn.Identity):  # norms take examples first
                x = norm(x.transpose(0, 1)).transpose(0, 1)
            if linear is not self.linears[-1] or self.readout is None:
                x = F.relu(x)
        return x
