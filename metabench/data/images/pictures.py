"""Pictures of any format and size, as a user has them, before a data source makes inputs of them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageOps

from metabench.errors import DataError

SIXTEEN_BITS = ("PPM", "PNG")  # formats whose 16 bits Pillow may give as 32-bit integers
EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")  # of Pillow's modes
TRANSPARENT = ("LA", "PA", "RGBA")


def open_picture(path: str | Path) -> Image.Image:
    """The picture in a file, upright as its camera recorded it; raises `DataError` that names the file."""
    try:
        with Image.open(path) as picture:
            return upright(picture)
    except OSError as fault:
        reason = fault.strerror or "is no picture that Pillow reads"
        raise DataError(f"{path}: {reason}") from None
    except Exception as fault:  # Pillow raises SyntaxError, ValueError, struct.error, ... on damaged bytes
        raise DataError(f"{path}: cannot be read as an image ({fault})") from None


def upright(picture: Image.Image) -> Image.Image:
    """The picture as its camera recorded it; raises `ValueError` for pixels of unknown range."""
    if picture.mode == "I" and picture.format not in SIXTEEN_BITS:
        raise ValueError("its pixels are 32-bit integers of unknown range")
    return ImageOps.exif_transpose(picture)


def flat_picture(picture: Image.Image, mode: str) -> Image.Image:
    """The picture as `mode`, "L" or "RGB", on white where it is transparent.

    Raises `DataError` for other than 8 bits a channel.
    """
    if picture.mode not in EIGHT_BITS:
        raise DataError(f"a picture of mode {picture.mode}: should have 8 bits a channel, grey or RGB")
    if picture.mode in TRANSPARENT or "transparency" in picture.info:
        page = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(page, picture.convert("RGBA"))
    return picture.convert(mode)
