"""Glyphs are the same everywhere, do not depend on how many are asked for, and are about as hard as Omniglot."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from metabench.data.images import glyph_strokes
from metabench.data.images.glyph_strokes import draw_glyphs
from metabench.data.images.rasterize import curve, paint


@pytest.fixture(scope="module")
def bank():
    return draw_glyphs(classes=100, seed=0)


def test_shape_names_and_digest(bank):
    assert bank.images.shape == (100, 20, 28, 28)
    assert bank.images.dtype == torch.uint8
    assert (bank.names[0], bank.names[-1]) == ("Glyphs/character0001", "Glyphs/character0100")
    assert bank.names == sorted(bank.names)
    assert bank.digest == hashlib.sha256(bank.images.numpy().tobytes()).hexdigest()


def test_every_drawing_is_bright_ink_on_black_and_none_is_repeated(bank):
    pictures = bank.images.flatten(0, 1)
    assert (pictures.amax((1, 2)) > 200).all()
    ink = (pictures > 127).float().mean((1, 2))
    assert ink.min() > 0.01
    assert ink.max() < 0.35
    assert 0.05 < ink.mean() < 0.13  # Omniglot: 0.08
    assert len({picture.numpy().tobytes() for picture in pictures}) == len(pictures)


def test_a_drawing_depends_on_seed_class_and_number_alone(bank, monkeypatch):
    fewer = draw_glyphs(classes=7, drawings=3, seed=0)
    assert torch.equal(fewer.images, bank.images[:7, :3])
    monkeypatch.setattr(glyph_strokes, "_CHUNK", 2)
    assert torch.equal(draw_glyphs(classes=7, drawings=3, seed=0).images, fewer.images)
    assert not torch.equal(draw_glyphs(classes=7, drawings=3, seed=1).images, fewer.images)


def test_golden():
    """The set that published results name must not move; a new one needs a new name."""
    assert draw_glyphs(classes=20, seed=7).digest[:16] == "25e0c6cdbc479c30"


@pytest.mark.parametrize("size", [14, 64])
def test_other_sizes_show_the_same_drawings(bank, size):
    other = draw_glyphs(classes=4, drawings=5, size=size, seed=0).images.float()
    assert other.shape == (4, 5, size, size)
    small = torch.nn.functional.interpolate(other, 14, mode="area")
    expected = torch.nn.functional.avg_pool2d(bank.images[:4, :5].float(), 2)
    cosine = torch.cosine_similarity(small.flatten(2), expected.flatten(2), dim=-1)
    assert cosine.min() > 0.9


def test_pixels_are_about_as_good_as_on_omniglot():
    """5-way 1-shot nearest neighbour by cosine: 0.45 on Omniglot's binary 28x28 images, 0.49 on grey ones."""
    x = torch.nn.functional.normalize(draw_glyphs(classes=300, seed=0).images.flatten(2).float(), dim=-1)
    random = np.random.default_rng(0)
    right = 0
    for _ in range(1000):
        c = random.choice(300, 5, replace=False)
        s, q = random.choice(20, 2, replace=False)
        right += int(((x[c, q] @ x[c, s].T).argmax(1) == torch.arange(5)).sum())
    assert 0.40 < right / 5000 < 0.65


def test_curve_passes_through_its_points():
    points = np.random.default_rng(0).normal(size=(3, 8, 2))
    dense = curve(points, per_segment=4)
    assert dense.shape == (3, 29, 2)
    np.testing.assert_allclose(dense[:, ::4], points, atol=1e-12)


def test_paint_is_the_distance_to_the_curve():
    random = np.random.default_rng(0)
    points = 14 + np.cumsum(random.normal(size=(6, 2, 8, 2), scale=2.0), axis=-2)
    drawn = np.array([[True, True], [True, False]] * 3)
    radius = np.linspace(0.6, 1.4, 6)
    pixel = np.stack(np.meshgrid(np.arange(28) + 0.5, np.arange(28) + 0.5), axis=-1)  # (x, y)
    dense = curve(points, per_segment=100)
    distance = np.linalg.norm(pixel[None, None, :, :, None] - dense[:, :, None, None], axis=-1).min(-1)
    distance = np.where(drawn[:, :, None, None], distance, np.inf).min(1)
    exact = 255 * np.clip(radius[:, None, None] + 0.5 - distance, 0, 1)
    painted = paint(points, drawn, radius, 28)
    assert np.abs(painted - exact).max() < 12  # of 255; the curve is a chain of dabs
    assert painted.any((1, 2)).all()
