"""The four-block convolutional network of few-shot learning (Vinyals et al. 2016; Snell et al. 2017)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from metabench.backbone.base import Backbone
from metabench.backbone.layers import Conv2d, Init, max_pool, read_maps
from metabench.backbone.norm import BatchNorm, Statistics, make_norm
from metabench.backbone.task_norm import TaskNorm
from metabench.config.types import Count, Number, Positive, Section
from metabench.errors import ConfigError

BLOCKS = 4
CENTRED = ("batch", "instance", "tasknorm")  # which cancel a bias before them


class Scale(Section):
    """Input standardisation: (x - mean) / std."""

    mean: Number
    std: Positive


class Conv4(Backbone, rowwise=True):
    """Four blocks of 3x3 convolution, normalisation, ReLU and downsampling; then flattened, or averaged over the map.

    With `readout=linear` the last block has no ReLU: features that a ReLU makes positive have one direction in common,
    so that no cosine of two is near 0 and keys made of them are alike; so, if less, does a maximum (`pool=max`).

    28x28 inputs shrink to 14, 7, 3, 1 with max-pooling (feature_size = filters) and to 14, 7, 4, 2 with strided
    convolutions (4 x filters flattened, filters averaged). Only the first `halvings` blocks downsample. Batch norm,
    instance norm and TaskNorm-I cancel a bias, so there is none before them. `standardise` also changes the meaning of
    the zero padding: 0 is the mean of standardised pixels, but an extreme of pixels in [0, 1]. Raises `ConfigError` for
    inputs that do not fit.
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        *,
        filters: Count,
        pool: Literal["max", "stride"],
        halvings: Annotated[int, Field(ge=0, le=BLOCKS)],
        readout: Literal["flatten", "mean", "linear"],
        norm: Literal["batch", "group", "layer", "instance", "tasknorm", "tasknorm_l", "none"],
        norm_scale: bool,
        norm_eps: Positive,
        statistics: Statistics,
        init: Init,
        standardise: Scale | None,
        head_init: Literal["normal"] | Positive | None = None,
    ) -> None:
        super().__init__()
        if len(input_shape) != 3:
            raise ConfigError(
                "backbone", "conv4", f"needs images [C, H, W]; this data has inputs of shape {input_shape}"
            )
        channels, height, width = input_shape
        self.pool, self.halvings, self.readout, self.standardise = pool, halvings, readout, standardise
        self.head_init = head_init
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        for block in range(BLOCKS):
            halving, inputs = block < halvings, (filters if block else channels)
            stride = 2 if halving and pool == "stride" else 1
            self.convs.append(Conv2d(inputs, filters, stride=stride, bias=norm not in CENTRED, init=init))
            if norm in ("tasknorm", "tasknorm_l"):
                self.norms.append(TaskNorm(filters, layer=norm == "tasknorm_l", scale=norm_scale, eps=norm_eps))
            else:
                self.norms.append(make_norm(norm, filters, scale=norm_scale, eps=norm_eps, statistics=statistics))
            if halving:
                height, width = ((n + 1) // 2 if pool == "stride" else n // 2 for n in (height, width))
        if height * width == 0:
            raise ConfigError(
                "data.size",
                input_shape[1],
                f"too small for {halvings} max-pools; use {2**halvings} or more, or backbone.pool=stride",
            )
        self.map_shape = (filters, height, width)
        self.feature_size = filters * (1 if readout == "mean" else height * width)

    def forward(self, x: Tensor) -> Tensor:
        """Features `[T, N, feature_size]` of images `[T, N, C, H, W]`."""
        return read_maps(self.maps(x), self.readout)

    def maps(self, x: Tensor) -> Tensor:
        """Feature maps of the last block, `[T, N, *map_shape]`."""
        x = x.transpose(0, 1)
        if self.standardise is not None:
            x = (x - self.standardise.mean) / self.standardise.std
        for block, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x, halves = conv(x), self.pool == "max" and block < self.halvings
            if halves and isinstance(norm, BatchNorm) and norm.alone:
                x = norm.each_alone(x, max_pool)
            else:
                x = max_pool(norm(x)) if halves else norm(x)
            if block < BLOCKS - 1 or self.readout != "linear":
                x = F.relu(x)  # after the maximum: the same, of a quarter of the numbers
        return x.transpose(0, 1)
