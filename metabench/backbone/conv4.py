"""The four-block convolutional network of few-shot learning (Vinyals et al. 2016; Snell et al. 2017)."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.base import Backbone
from metabench.backbone.layers import Conv2d
from metabench.backbone.norm import make_norm
from metabench.config import Count, Positive
from metabench.errors import ConfigError

BLOCKS = 4


class Conv4(Backbone):
    """Four times: 3x3 convolution, normalisation, ReLU, halving; then flattened, or averaged over the map.

    28x28 inputs go through 14, 7, 3, 1 with max-pooling (feature_size = filters) and through 14, 7, 4, 2 with strided
    convolutions (4 x filters flattened, filters averaged). A bias before batch statistics cancels, so there is none.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        *,
        filters: Count,
        pool: Literal["max", "stride"],
        readout: Literal["flatten", "mean"],
        norm: Literal["batch", "group", "layer", "none"],
        norm_scale: bool,
        norm_eps: Positive,
        statistics: Literal["batch", "running"],
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ConfigError(
                "backbone", "conv4", f"needs images [C, H, W]; this data has inputs of shape {input_shape}"
            )
        channels, height, width = input_shape
        self.pool, self.readout = pool, readout
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for block in range(BLOCKS):
            stride, inputs = (2 if pool == "stride" else 1), (filters if block else channels)
            self.convs.append(Conv2d(inputs, filters, stride=stride, bias=norm != "batch"))
            self.norms.append(make_norm(norm, filters, scale=norm_scale, eps=norm_eps, running=statistics == "running"))
            height, width = ((n + 1) // 2 if pool == "stride" else n // 2 for n in (height, width))
        if height * width == 0:
            raise ConfigError(
                "data.size", input_shape[1], "is too small for four max-pools; 16 or more, or pool=stride"
            )
        self.feature_size = filters * (height * width if readout == "flatten" else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[T, N, feature_size]` of images `[T, N, C, H, W]`."""
        x = x.transpose(0, 1)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
            if self.pool == "max":
                x = F.max_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])
        x = x.mean((-1, -2)) if self.readout == "mean" else x.flatten(2)
        return x.transpose(0, 1)
