"""ResNet-12, the residual network of few-shot learning (Oreshkin et al. 2018; Lee et al. 2019)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from metabench.backbone.base import Backbone
from metabench.backbone.drop_block import block_keys, drop_block
from metabench.backbone.layers import Conv2d, max_pool, read_maps
from metabench.backbone.norm import Statistics, make_norm
from metabench.config.types import Count, Positive, Share
from metabench.errors import ConfigError

BLOCKS = 4
DROPPING = 2  # the last blocks, whose maps DropBlock thins
SLOPE = 0.1  # of leaky ReLUs


class Residual(nn.Module):
    """Three 3x3 convolutions beside one of 1x1, each with its normalisation; then a leaky ReLU and max-pooling."""

    def __init__(self, inputs: int, outputs: int, norm: str, eps: float, statistics: Statistics) -> None:
        super().__init__()
        shapes = [(inputs, outputs, 3), (outputs, outputs, 3), (outputs, outputs, 3), (inputs, outputs, 1)]
        self.convs = nn.ModuleList(
            Conv2d(a, b, stride=1, bias=norm != "batch", init="he", kernel=kernel) for a, b, kernel in shapes
        )
        self.norms = nn.ModuleList(make_norm(norm, outputs, scale=True, eps=eps, statistics=statistics) for _ in shapes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[N, T, outputs, H // 2, W // 2]` of x `[N, T, inputs, H, W]`."""
        first, second, third, beside = (
            lambda x, conv=conv, norm=norm: norm(conv(x)) for conv, norm in zip(self.convs, self.norms, strict=True)
        )
        y = third(F.leaky_relu(second(F.leaky_relu(first(x), SLOPE)), SLOPE))
        return max_pool(F.leaky_relu(y + beside(x), SLOPE))


class ResNet12(Backbone, rowwise=True):
    """Four residual blocks, each of which halves the map; then the mean over the last map, or all of it.

    84x84 inputs shrink to 42, 21, 10, 5. With `drop` the maps of the last two blocks are thinned in training, by
    DropBlock at a constant rate. Raises `ConfigError` for inputs that do not fit.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        *,
        widths: Annotated[list[Count], Field(min_length=BLOCKS, max_length=BLOCKS)],
        readout: Literal["mean", "flatten"],
        norm: Literal["batch", "group", "layer", "none"],
        norm_eps: Positive,
        statistics: Statistics,
        drop: Share,
        drop_block: Count,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ConfigError(
                "backbone", "resnet12", f"needs images [C, H, W]; this data has inputs of shape {input_shape}"
            )
        channels, height, width = input_shape
        if min(height, width) < 2**BLOCKS:
            raise ConfigError("data.size", min(height, width), f"too small for resnet12; use {2**BLOCKS} or more")
        self.readout, self.drop, self.block = readout, drop, drop_block
        inputs = [channels, *widths]
        self.blocks = nn.ModuleList(Residual(inputs[i], widths[i], norm, norm_eps, statistics) for i in range(BLOCKS))
        self.map_shape = (widths[-1], height // 2**BLOCKS, width // 2**BLOCKS)
        self.feature_size = widths[-1] * (1 if readout == "mean" else self.map_shape[1] * self.map_shape[2])

    def forward(self, x: Tensor) -> Tensor:
        """Features `[T, N, feature_size]` of images `[T, N, C, H, W]`."""
        return read_maps(self.maps(x), self.readout)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps of the last block, `[T, N, *map_shape]`."""
        keys = block_keys(x.detach()) if self.drop and self.training else None
        x = x.transpose(0, 1)
        for number, block in enumerate(self.blocks):
            x = block(x)
            if keys is not None and number >= BLOCKS - DROPPING:
                x = drop_block(x, keys, number, self.drop, self.block)
        return x.transpose(0, 1)
