"""Random changes to training images, as torchvision's transforms v2 make them, for all images of many tasks at once.

Those draw one set of numbers per call from a global generator. Here each image has its own, from the key of its task
(`metabench.rng`), so that a resumed run, another batch size and another device see the same images; and a batch is a
few kernels instead of several per image.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from metabench.config.types import Section, Whole
from metabench.rng import uniform

Strength = Annotated[float, Field(ge=0, le=1)]
_LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue in grey, as torchvision weighs them


class Augment(Section):
    """Changes to a training image, in this order; 0 and false change nothing."""

    crop: Whole  # pixels of black border, from which a window of the image's size is cut
    flip: bool  # left to right, half of the images
    brightness: Strength  # jitter: factors uniform in 1 ± strength
    contrast: Strength
    saturation: Strength

    def __call__(self, x: Tensor, keys: Tensor, stream: int) -> Tensor:
        """Images `[T, N, C, H, W]` in 0..1, changed by random numbers of their tasks' `keys [T]`."""
        numbers = uniform(keys, stream, x.shape[1], 6).flatten(0, 1)
        images = x.flatten(0, 1)
        if self.crop:
            images = windows(images, (numbers[:, :2] * (2 * self.crop + 1)).long(), self.crop)
        if self.flip:
            images = torch.where(numbers[:, 2, None, None, None] < 0.5, images.flip(-1), images)
        jitter = (self.brightness, self.contrast, self.saturation)
        for number, strength, change in zip(numbers[:, 3:].T, jitter, (brightness, contrast, saturation), strict=True):
            if strength:
                factor = (1 + strength * (2 * number - 1)).to(x.dtype)
                images = change(images, factor[:, None, None, None])
        return images.view(x.shape)


def windows(images: Tensor, corner: Tensor, border: int) -> Tensor:
    """Windows of the images' size out of images `[B, C, H, W]` with a black border; `corner [B, 2]`: top and left."""
    batch, _, height, width = images.shape
    padded = F.pad(images, (border,) * 4)
    rows = corner[:, :1] + torch.arange(height, device=images.device)
    columns = corner[:, 1:] + torch.arange(width, device=images.device)
    at = torch.arange(batch, device=images.device)[:, None, None]
    return padded.movedim(1, -1)[at, rows[:, :, None], columns[:, None]].movedim(-1, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Images times their factors `[B, 1, 1, 1]`."""
    return (images * factor).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Images blended with their mean grey."""
    return _blend(images, grey(images).mean((1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Images blended with themselves in grey; grey images stay as they are."""
    return _blend(images, grey(images), factor) if images.shape[1] == 3 else images


def grey(images: Tensor) -> Tensor:
    """Images `[B, C, H, W]` in grey, `[B, 1, H, W]`."""
    if images.shape[1] != 3:
        return images
    luma = torch.cat([images.new_full((1, 1, 1), weight) for weight in _LUMA])  # new_tensor would wait for the device
    return (images * luma).sum(1, keepdim=True)


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (other + factor * (images - other)).clamp(0, 1)
