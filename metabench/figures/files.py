"""Pictures as bytes: PNG for papers and screens, SVG and PDF; the same picture gives the same bytes."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from metabench.errors import UserError

PRINT = 300  # dots per inch of a PNG
FORMATS = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> Path:
    """`path` of a picture to be written; raises `UserError` for another suffix."""
    if path.suffix not in FORMATS:
        raise UserError(f"--output {path}: should end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return path


def picture_bytes(picture: Figure, suffix: str, dpi: int = PRINT, colours: int = 256) -> bytes:
    """The picture in the format of a suffix of `FORMATS`; `dpi` and `colours` are of a PNG."""
    if suffix == ".png":
        return _png(picture, dpi, colours)
    content = io.BytesIO()
    metadata = {"Date": None} if suffix == ".svg" else {"CreationDate": None}
    picture.savefig(content, format=suffix[1:], metadata=metadata)
    return content.getvalue()


def _png(picture: Figure, dpi: int, colours: int) -> bytes:
    """A PNG in a palette of its own colours, which takes a third of the bytes; with colour images in full colour."""
    full, content = io.BytesIO(), io.BytesIO()
    picture.savefig(full, format="png", dpi=dpi)
    image = Image.open(full).convert("RGB")
    shown = [image.get_array() for axes in picture.axes for image in axes.images]
    if not any(pixels is not None and pixels.ndim == 3 for pixels in shown):
        image = image.quantize(colours, dither=Image.Dither.NONE)
    image.save(content, "png", optimize=True, dpi=(dpi, dpi))
    return content.getvalue()
