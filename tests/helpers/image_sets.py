"""Image sets that tests draw: coloured glyphs in folders, of different sizes and formats, some classes with fewer."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from build import CPU, composed
from PIL import Image

from metabench.config.build import component
from metabench.data.image_folder import ImageFolder
from metabench.data.images.glyph_strokes import draw_glyphs

CLASSES, IMAGES = 15, 8  # 9 train, 3 validate, 3 test
MOST = 26, 18
FORMATS = ("png", "jpg", "bmp", "gif", "webp", "tiff", "ppm", "JPEG")
THREE_WAY = ("data.ways=3", "data.shots=1", "data.queries=3", "data.size=16")


@cache
def glyphs() -> np.ndarray:
    """Ink `[classes, images, 24, 24]` in 0..1."""
    return draw_glyphs(classes=MOST[0], drawings=MOST[1], size=24, seed=5).images.numpy() / 255


def picture(number: int, image: int) -> Image.Image:
    """Image `image` of a class, in the two colours of that class; images differ in size."""
    ink = glyphs()[number, image][..., None]
    color = np.random.default_rng(number).random(3)
    drawn = Image.fromarray((255 * (ink * color + (1 - ink) * (1 - color))).astype(np.uint8))
    return drawn.resize((20 + 3 * image, 40 - image))


def write(folder: Path, classes: range = range(CLASSES), images: int = IMAGES, fewer: int = 2) -> Path:
    """A folder per class; every third class has `fewer` images less."""
    for number in classes:
        place = folder / f"bird {number:02d}"
        place.mkdir(parents=True)
        for image in range(images - (fewer if number % 3 == 0 else 0)):
            picture(number, image).save(place / f"{image}.{FORMATS[image % len(FORMATS)]}")
    return folder


def write_csv(folder: Path) -> Path:
    """The same classes as split files in the form of miniImageNet, with the images in one folder."""
    (folder / "images").mkdir(parents=True)
    for name, classes in (("train", range(9)), ("val", range(9, 12)), ("test", range(12, 15))):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["filename", "label"])
            for number in classes:
                for image in range(IMAGES):
                    rows.writerow([f"n{number:04d}{image}.png", f"n{number:04d}"])
                    picture(number, image).save(folder / "images" / f"n{number:04d}{image}.png")
    return folder


def by_pillow(path: Path, *, size: int = 16, channels: int = 3, resize: str = "bilinear", fit: str = "stretch"):
    """The pixels `[channels, size, size]` of a file, by a few calls of Pillow."""
    with Image.open(path) as file:
        opened = file.convert("RGB" if channels == 3 else "L")
    width, height = opened.size
    side = min(width, height)
    left, top = ((width - side) / 2, (height - side) / 2) if fit == "crop" else (0, 0)
    box = (left, top, left + side, top + side) if fit == "crop" else (0, 0, width, height)
    made = np.asarray(opened.resize((size, size), Image.Resampling[resize.upper()], box=box))
    return made.reshape(size, size, channels).transpose(2, 0, 1)


def source(root: Path | None, *overrides: str, data: str = "images", seed: int = 0) -> ImageFolder:
    """The source that a command line names."""
    made, arguments = component(named(data, overrides) | {"root": root and str(root)}, ImageFolder, "data")
    return made(seed, CPU, **arguments)


@cache
def named(data: str, overrides: tuple[str, ...]) -> dict[str, Any]:
    """The `data` node of a command line."""
    return dict(composed("algo=protonet", f"data={data}", *THREE_WAY, *overrides).data)
