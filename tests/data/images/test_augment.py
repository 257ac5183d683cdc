"""Random changes to training images: each is held to slices in NumPy or to Pillow, and its numbers to their law."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import torch
from build import CPU
from PIL import Image, ImageEnhance
from scipy import stats
from torch import Tensor

from metabench.data.images import augment
from metabench.data.images.augment import Augment
from metabench.rng import task_keys

TASKS, EACH, SIZE = 12, 25, 9
NOTHING = {"crop": 0, "flip": False, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
ONE = {"crop": 3, "flip": True, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4}
KEYS = task_keys(7, 0, 0, TASKS, CPU)
each_change = pytest.mark.parametrize("name", ONE)


def images(channels: int = 3) -> Tensor:
    return torch.rand(TASKS, EACH, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def changed(x: Tensor, keys: Tensor = KEYS, stream: int = 19, **changes: object) -> Tensor:
    return Augment(**{**NOTHING, **changes})(x, keys, stream)


def test_zero_and_false_change_nothing():
    assert torch.equal(changed(images()), images())


@each_change
def test_every_change_is_within_its_own_task_and_position_alone(name):
    x = images()
    whole = changed(x, **{name: ONE[name]})
    assert not torch.equal(whole, x)
    assert torch.equal(changed(x, **{name: ONE[name]}), whole)
    assert torch.equal(changed(x[5:7], KEYS[5:7], **{name: ONE[name]}), whole[5:7])
    assert not torch.equal(changed(x, stream=20, **{name: ONE[name]}), whole)
    other = x.clone()
    other[3, 4] = 0.5
    beside = torch.ones(TASKS, EACH, dtype=bool)
    beside[3, 4] = False
    assert torch.equal(changed(other, **{name: ONE[name]})[beside], whole[beside])


@each_change
def test_images_of_a_task_have_numbers_of_their_own(name):
    same = images()[:1, :1].expand(TASKS, EACH, -1, -1, -1)
    kinds = {one.numpy().tobytes() for one in changed(same, **{name: ONE[name]}).flatten(0, 1)}
    assert len(kinds) == {"flip": 2, "crop": len(kinds)}.get(name, TASKS * EACH)
    assert len(kinds) > 40 or name == "flip"


def test_half_of_the_images_are_mirrored_left_to_right():
    x = images().numpy()
    y = changed(images(), flip=True).numpy()
    mirrored = np.array([np.array_equal(b, a[..., ::-1]) for a, b in pairs(x, y)])
    kept = np.array([np.array_equal(b, a) for a, b in pairs(x, y)])
    assert np.all(mirrored ^ kept)
    assert stats.binomtest(int(mirrored.sum()), len(mirrored)).pvalue > 0.01


def pairs(x: np.ndarray, y: np.ndarray):
    return zip(x.reshape(-1, *x.shape[2:]), y.reshape(-1, *y.shape[2:]), strict=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_crop_is_a_window_of_the_image_in_a_black_border_and_all_are_as_likely(channels):
    border, x = 2, images(channels)
    places = range(2 * border + 1)
    count = np.zeros((len(places), len(places)), dtype=int)
    for before, after in pairs(x.numpy(), changed(x, crop=border).numpy()):
        padded = np.zeros((channels, SIZE + 2 * border, SIZE + 2 * border), dtype=np.float32)
        padded[:, border:-border, border:-border] = before
        (found,) = (
            (top, left)
            for top in places
            for left in places
            if np.array_equal(padded[:, top : top + SIZE, left : left + SIZE], after)
        )
        count[found] += 1
    assert count.min() > 0
    assert stats.chisquare(count.ravel()).pvalue > 0.01


def test_factors_are_uniform_about_one():
    dim = images() / 4 + 0.1
    factors = (changed(dim, brightness=0.4) / dim).flatten(2)
    torch.testing.assert_close(factors, factors[..., :1].expand_as(factors))
    assert stats.kstest(factors[..., 0].flatten().numpy(), stats.uniform(0.6, 0.8).cdf).pvalue > 0.01


@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.4, 2.0])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_the_jitter_is_pillows(mode, name, enhance, factor):
    """Within the rounding of its 8 bits, which it makes twice."""
    shape = (SIZE, SIZE) if mode == "L" else (SIZE, SIZE, 3)
    pixels = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    expected = np.asarray(enhance(Image.fromarray(pixels)).enhance(factor)).reshape(SIZE, SIZE, -1)
    x = torch.from_numpy(pixels.reshape(SIZE, SIZE, -1)).movedim(-1, 0)[None] / 255
    found = getattr(augment, name)(x, torch.full((1, 1, 1, 1), factor))
    np.testing.assert_allclose(255 * found[0].movedim(0, -1).numpy(), expected, atol=1 + max(1.0, factor))


def test_grey_images_have_no_saturation_to_change():
    assert torch.equal(changed(images(1), saturation=1.0), images(1))


def test_the_changes_are_made_one_after_the_other_each_as_if_alone():
    def in_turn(names: list[str]) -> Tensor:
        return reduce(lambda x, name: changed(x, **{name: ONE[name]}), names, images())

    together = changed(images(), **ONE)
    torch.testing.assert_close(together, in_turn(list(ONE)))
    assert not torch.allclose(together, in_turn(list(reversed(ONE))), atol=0.1)
    assert together.min() >= 0
    assert together.max() <= 1
