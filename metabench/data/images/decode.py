"""One picture, from the bytes of a file in any format that Pillow reads to a square of 8-bit pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from metabench.data.images.ingest import FILTERS
from metabench.data.images.pictures import upright
from metabench.errors import DataError

Fit = Literal["stretch", "crop"]


def decode(path: Path, data: bytes, *, size: int, channels: int, resize: str, fit: Fit) -> np.ndarray:
    """The picture as uint8 [channels, size, size], upright as its camera recorded it.

    `stretch` resizes both sides, `crop` keeps the proportions and the middle. What is transparent is white, 16 bits of
    grey become 8, of an animation the first frame counts. Raises `DataError` that names the file.
    """
    try:
        with Image.open(io.BytesIO(data)) as file:
            return square(upright(file), size=size, channels=channels, resize=resize, fit=fit)
    except Exception as fault:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, … on damaged bytes
        raise DataError(f"{path}: cannot be read as an image ({_reason(fault)}): replace or remove it") from fault


def square(picture: Image.Image, *, size: int, channels: int, resize: str, fit: Fit) -> np.ndarray:
    """An open picture as uint8 [channels, size, size]; raises `ValueError` for pixels of unknown range."""
    picture = _eight_bits(picture, "L" if channels == 1 else "RGB")
    if fit == "crop":
        picture = ImageOps.fit(picture, (size, size), method=FILTERS[resize])
    elif picture.size != (size, size):
        picture = picture.resize((size, size), FILTERS[resize])
    pixels = np.asarray(picture)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _eight_bits(picture: Image.Image, mode: str) -> Image.Image:
    """The picture in `mode`, L or RGB."""
    if picture.mode.startswith("I"):  # 16 bits, in Pillow's integers
        pixels = np.asarray(picture).astype(np.int64).clip(0, 0xFFFF)
        picture = Image.fromarray((pixels // 257).astype(np.uint8))
    elif picture.mode == "F":
        raise ValueError("its pixels are real numbers of unknown range")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    return picture.convert(mode)


def _reason(fault: Exception) -> str:
    """A reason without the address of a buffer."""
    return "no such format" if isinstance(fault, Image.UnidentifiedImageError) else " ".join(str(fault).split())
