"""Pixels of any depth: 8 and 16 bits keep their range, and what has no known range is refused."""

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
