"""Layers that run T tasks at once, under shared weights or one set of weights per task.

A parameter has its usual shape when all tasks share it and a leading T when each task has its own. Activations of
convolutions are `[N, T, C, H, W]`: examples, then tasks, then channels. In that order both foldings are views: tasks
into channels (`[N, T*C, H, W]`, a grouped convolution, one batch norm) and tasks into examples (`[N*T, C, H, W]`, one
convolution under shared weights).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.bilinear import Convolution, Product

Init = Literal["he"] | None
HeadInit = float | Literal["glorot", "normal"] | None


class Linear(nn.Module):
    """Affine map `[T, N, I]` to `[T, N, O]`; weight `[O, I]` or `[T, O, I]`, bias `[O]` or `[T, O]`.

    Initialised as in torch, weight and bias uniform in ±1 / √I; or with bias 0 and the weight Xavier-uniform
    (`glorot`; Glorot, Bengio 2010), standard normal (`normal`), or normal with standard deviation `init`, truncated at
    2 `init`.
    """

    def __init__(self, inputs: int, outputs: int, init: HeadInit = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        if init is None:
            nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
            nn.init.uniform_(self.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))
        elif init == "glorot":
            nn.init.xavier_uniform_(self.weight)
        elif init == "normal":
            nn.init.normal_(self.weight)
        else:
            nn.init.trunc_normal_(self.weight, std=init, a=-2 * init, b=2 * init)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the map, per task."""
        if self.weight.dim() == 2:
            return F.linear(x, self.weight, self.bias)
        return Product()(x, self.weight) + self.bias.unsqueeze(1)


class Conv2d(nn.Module):
    """Convolution of `[N, T, C, H, W]` with a K x K kernel, K odd, that keeps the size of a map at stride 1.

    The weight is `[O, C, K, K]` or `[T, O, C, K, K]`, initialised Xavier-uniform (Glorot, Bengio 2010) or, with `he`,
    normal with variance 2 / (K² O) (He et al. 2015).
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, bias: bool, init: Init = None, kernel: int = 3
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        if init is None:
            nn.init.xavier_uniform_(self.weight)
        else:
            nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.stride, self.padding = stride, kernel // 2
        self.maps = Convolution(stride, self.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the convolution, per task."""
        if self.weight.dim() == 4:
            y = F.conv2d(x.flatten(0, 1), self.weight, None, self.stride, self.padding)
            y = y.view(*x.shape[:2], *y.shape[1:])
        else:
            y = self.maps(x, self.weight)
        return y if self.bias is None else y + self.bias[..., None, None]


def max_pool(x: Tensor) -> Tensor:
    """2x2 max-pooling of `[N, T, C, H, W]`; an odd last row or column is dropped."""
    if x.device.type == "cpu" and not torch.is_grad_enabled():  # the same in a tenth of the time
        height, width = (n - n % 2 for n in x.shape[-2:])
        x = torch.maximum(x[..., 0:height:2, :], x[..., 1:height:2, :])
        return torch.maximum(x[..., 0:width:2], x[..., 1:width:2])
    return F.max_pool2d(x.flatten(0, 1), 2).unflatten(0, x.shape[:2])


def read_maps(maps: Tensor, readout: str) -> Tensor:
    """Features `[T, N, F]` of maps `[T, N, C, H, W]`: the mean of each map, or all of its numbers."""
    return maps.mean((-1, -2)) if readout == "mean" else maps.flatten(2)
