"""From a vector to an image, for models that draw."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.backbone.layers import Conv2d, Linear
from metabench.backbone.norm import make_norm
from metabench.errors import ConfigError


class ImageDecoder(nn.Module):
    """Vectors `[T, N, inputs]` to images `[T, N, *shape]`, before any last non-linearity.

    A linear map to 2 x `filters` maps of a quarter of the image's side, then 3x3 convolutions, group normalisation and
    ELU, doubling the side twice by sub-pixel convolution (Shi et al. 2016): four maps become one of twice the side.
    Every example is drawn by itself.
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
        """Draw."""
        x = self.first(x).unflatten(-1, self.start).transpose(0, 1)  # [N, T, C, H, W]
        for i, (norm, conv) in enumerate(zip(self.norms, self.convs, strict=True)):
            x = conv(F.elu(norm(x)))
            if i % 2:
                x = F.pixel_shuffle(x, 2)
        return x[..., : self.shape[1], : self.shape[2]].transpose(0, 1)


def image_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """`shape` as that of an image, [C, H, W]; raises `ConfigError`."""
    if len(shape) != 3:
        raise ConfigError("data", f"inputs of shape {shape}", "are no images [C, H, W], which this method draws")
    channels, height, width = shape
    return channels, height, width
