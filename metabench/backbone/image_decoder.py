"""A convolutional decoder from vectors to images, for generative models."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.layers import Conv2d, Linear
from metabench.backbone.norm import make_norm
from metabench.errors import ConfigError


class ImageDecoder(nn.Module):
    """Vectors `[T, N, inputs]` to images `[T, N, *shape]`, without a final non-linearity.

    A linear map gives 2 x `filters` maps of a quarter of the image's side; 3x3 convolutions, group normalisation and
    ELU follow. Two sub-pixel convolutions (Shi et al. 2016) each turn four maps into one of twice the side.
    Examples are decoded independently.
    """

    def __init__(self, inputs: int, filters: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = image_shape(shape)
        channels, height, width = self.shape
        self.start = (2 * filters, -(-height // 4), -(-width // 4))
        self.first = Linear(inputs, self.start[0] * self.start[1] * self.start[2])
        widths = [2 * filters, 4 * filters, filters, 4 * channels]  # the second is folded to `filters` maps
        inputs_of = [2 * filters, 2 * filters, filters, filters]
        self.convs = nn.ModuleList(Conv2d(a, b, stride=1, bias=True) for a, b in zip(inputs_of, widths, strict=True))
        self.norms = nn.ModuleList(
            make_norm("group", n, scale=True, eps=1e-5, statistics="batch")
            for n in (2 * filters, 2 * filters, filters, filters)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images `[T, N, *shape]` of x `[T, N, inputs]`."""
        x = self.first(x).unflatten(-1, self.start).transpose(0, 1)  # [N, T, C, H, W]
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            x = conv(F.elu(norm(x)))
            if i % 2:
                x = F.pixel_shuffle(x, 2)
        return x[..., : self.shape[1], : self.shape[2]].transpose(0, 1)


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`shape` as the shape of an image, [C, H, W]; raises `ConfigError` if it is not."""
    if len(shape) != 3:
        raise ConfigError("data", f"inputs of shape {shape}", "should be images [C, H, W], which this method generates")
    channels, height, width = shape
    return channels, height, width
