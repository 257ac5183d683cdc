"""A user's images or points as inputs of a model: `[N, *input_shape]`, prepared as in training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from metabench.data.base import TaskSource
from metabench.data.images.pictures import open_picture, upright
from metabench.errors import DataError, UserError
from metabench.inference.numbers import as_array, ordered

Picture = Image.Image | np.ndarray | Tensor | str | Path
Inputs = Sequence[Picture] | Sequence[float] | np.ndarray | Tensor
COLOURS = (3, 4)  # channels of a picture whose last axis they are
LARGEST = 16.0  # of a prepared input: normalised images are within; values of 0 to 255 are not prepared


def prepare_inputs(given: Inputs, source: TaskSource) -> Tensor:
    """Inputs `[N, *input_shape]`, float32, of images or points.

    An image is a path, a PIL image, or an array of uint8 `[H, W]`, `[H, W, channels]` or `[channels, H, W]`, of any
    size: the source prepares it as it did the images of training. Arrays of floats are inputs already, as tasks have
    them. Points are numbers `[N]`, or `[N, *input_shape]`. Raises `UserError` for anything else.
    """
    if isinstance(given, (str, Path, Image.Image)):
        raise UserError(f"{given}: is one image; give a list of images")
    shape = source.spec.input_shape
    if len(shape) != 3:
        return _points(given, shape)
    if isinstance(given, (np.ndarray, Tensor)):
        if not given.ndim:
            raise UserError("images: should be a list of images, or an array [N, …]")
        if given.ndim == 3 and given.shape[-1] in COLOURS and not _is_floating(given):
            raise UserError(f"an array of shape {list(given.shape)}: is one image; give a list of images")
    try:
        images = list(ordered(given))
    except TypeError:
        raise UserError(f"images: should be a list of images, not {type(given).__name__}") from None
    found = [_image(one, i, source) for i, one in enumerate(images)]
    if not found:
        raise UserError("no images: give at least one")
    return torch.stack(found)


def _is_floating(array: np.ndarray | Tensor) -> bool:
    return array.is_floating_point() if isinstance(array, Tensor) else bool(np.issubdtype(array.dtype, np.floating))


def _points(given: Any, shape: tuple[int, ...]) -> Tensor:
    x = torch.from_numpy(as_array(given, "inputs")).float()
    if shape == (1,) and x.ndim == 1:
        x = x.unsqueeze(1)
    if x.shape[1:] != shape or x.ndim != 1 + len(shape) or not len(x):
        raise UserError(f"inputs of shape {list(x.shape)}: should be [N, {', '.join(map(str, shape))}], N at least 1")
    return _checked(x, "inputs")


def _image(one: Picture | float, number: int, source: TaskSource) -> Tensor:
    """The input of image `number`, `[C, H, W]`."""
    shape, name = source.spec.input_shape, f"image {number}"
    if isinstance(one, (str, Path)):
        one, name = open_picture(one), str(one)
    elif isinstance(one, Image.Image):
        one = _upright(one, name)
    else:
        pixels = as_array(one, name)
        if pixels.dtype.kind == "f":
            values = torch.from_numpy(pixels).float()
            values = values.unsqueeze(0) if values.ndim == 2 and shape[0] == 1 else values
            if values.shape != shape:
                said = f"{name} of shape {list(values.shape)}: floats are prepared inputs and should be {list(shape)}"
                raise UserError(f"{said}; uint8 arrays, PIL images and paths may have any size")
            return _checked(values, name)
        one = _picture(pixels, name)
    try:
        return source.prepare(one)
    except DataError as fault:
        raise DataError(f"{name}: {fault}") from None


def _upright(picture: Image.Image, name: str) -> Image.Image:
    """An open picture as `open_picture` gives that of a file."""
    if 0 in picture.size:
        raise DataError(f"{name}: has no pixels")
    try:
        return upright(picture)
    except Exception as fault:  # of a file that is read only now: whatever Pillow raises on damaged bytes
        raise DataError(f"{name}: {fault}") from None


def _picture(pixels: np.ndarray, name: str) -> Image.Image:
    """A PIL image of whole numbers 0 to 255."""
    shape = list(pixels.shape)
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * 255
    if pixels.size == 0 or pixels.min() < 0 or pixels.max() > 255:
        raise UserError(f"{name}: should have values of 0 to 255, or floats")
    if pixels.max() == 1:
        raise UserError(f"{name}: whole numbers are 0 to 255, and 1 is nearly black; give booleans or floats")
    if pixels.ndim == 3 and pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[-1] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in COLOURS):
        raise UserError(f"{name} of shape {shape}: should be [H, W], [H, W, channels] or [channels, H, W]")
    return Image.fromarray(np.ascontiguousarray(pixels.astype(np.uint8)))


def _checked(x: Tensor, name: str) -> Tensor:
    if not bool(x.isfinite().all()):
        raise UserError(f"{name}: holds a value that is not finite")
    if x.ndim == 3 and x.abs().max() > LARGEST:
        raise UserError(f"{name}: floats are 0 to 1, as tasks have them; pictures of 0 to 255 are arrays of uint8")
    return x
