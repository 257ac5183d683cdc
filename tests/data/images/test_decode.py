"""Pictures of any depth and kind: 8 and 16 bits keep their range, and what has no known range is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metabench.data.images.decode import decode
from metabench.errors import DataError

RAMP = np.arange(16).reshape(4, 4)


def decoded(values: np.ndarray, kind: str) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format=kind)
    return decode(Path("one"), file.getvalue(), size=4, channels=1, resize="nearest", fit="stretch")[0]


@pytest.mark.parametrize(
    ("dtype", "largest", "kind"),
    [
        (np.uint8, 255, "PNG"),
        (np.uint8, 255, "TIFF"),
        (np.uint16, 65535, "PNG"),
        (np.uint16, 65535, "TIFF"),
        (np.uint16, 65535, "PPM"),
    ],
)
def test_the_range_of_a_depth_is_that_of_8_bits(dtype, largest, kind):
    values = (RAMP * (largest // 15)).astype(dtype)
    np.testing.assert_allclose(decoded(values, kind), RAMP * 17, atol=1)


@pytest.mark.parametrize("largest", [255, 2**30])
def test_32_bits_have_no_known_range(largest):
    with pytest.raises(DataError, match="32-bit integers of unknown range"):
        decoded((RAMP * (largest // 15)).astype(np.int32), "TIFF")


def test_real_numbers_have_no_known_range():
    with pytest.raises(DataError, match="real numbers of unknown range"):
        decoded((RAMP / 15).astype(np.float32), "TIFF")


def saved(picture: Image.Image, kind: str, **options: object) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, format=kind, **options)
    return decode(Path("one"), file.getvalue(), size=4, channels=3, resize="nearest", fit="stretch").transpose(1, 2, 0)


RED = Image.new("RGB", (4, 4), "red")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    picture = Image.new("RGBA", (4, 4), (0, 0, 0, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 2, 4))
    found = saved(picture.convert(mode), "PNG")
    assert (found[:, :2] == 255).all()
    assert (found[:, 2:] == 0).all()


def test_half_of_a_colour_is_half_of_white():
    found = saved(Image.new("RGBA", (4, 4), (200, 0, 100, 128)), "PNG")
    np.testing.assert_allclose(found[0, 0], [227, 127, 177], atol=1)


TURNS = {1: 0, 3: 180, 6: -90, 8: 90}  # the degrees that Pillow turns a picture by, for an orientation of EXIF


@pytest.mark.parametrize("orientation", TURNS)
def test_a_photograph_is_upright_as_its_camera_recorded_it(orientation):
    picture = RED.copy()
    picture.paste("blue", (0, 0, 4, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = np.asarray(picture.rotate(TURNS[orientation]))
    np.testing.assert_array_equal(saved(picture, "PNG", exif=exif), expected)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_an_animation_the_first_frame_counts(kind):
    frames = {"save_all": True, "append_images": [Image.new("RGB", (4, 4), "blue")] * 2}
    found = saved(RED, kind, **frames, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(found, np.asarray(RED))


@pytest.mark.parametrize(
    ("mode", "kind"), [("1", "PNG"), ("L", "BMP"), ("P", "GIF"), ("CMYK", "JPEG"), ("YCbCr", "TIFF")]
)
@pytest.mark.parametrize("color", ["black", "white"])
def test_other_kinds_of_colour_become_rgb(color, mode, kind):
    picture = Image.new("RGB", (4, 4), color)
    np.testing.assert_allclose(saved(picture.convert(mode), kind), np.asarray(picture), atol=1)
