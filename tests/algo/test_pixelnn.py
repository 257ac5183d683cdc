"""Nearest neighbours: in pixels, and in the features of a network trained on all classes."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, small
from references import each, on_points
from scipy.spatial.distance import cdist

from metabench.algo.pixelnn import PixelNN
from metabench.tasks import Examples

# At 0, 90, 45 and 60 degrees; classes 0, 1, 0, 1.
ANGLES = torch.tensor([0.0, 90, 45, 60]).deg2rad().double()
SUPPORT = Examples(torch.stack([ANGLES.cos(), 3 * ANGLES.sin()], -1).mul(torch.tensor([1, 1 / 3])).double()[None],
                torch.tensor([[0, 1, 0, 1]]))  # fmt: skip


def cosines(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees - other)) for other in (0, 90, 45, 60)]


@pytest.mark.parametrize("degrees", [10.0, 53, 80])
def test_votes_are_those_of_the_formulas(degrees):
    angle = torch.tensor(degrees).deg2rad().double()
    query = 5 * torch.stack([angle.cos(), angle.sin()])[None, None]
    a, b, c, d = cosines(degrees)
    nearest, attention = (on_points(PixelNN, 2, vote=vote).solve(SUPPORT, query) for vote in ("nearest", "attention"))
    torch.testing.assert_close(nearest, torch.tensor([[[max(a, c), max(b, d)]]]).double())
    sums = torch.tensor([[[math.exp(a) + math.exp(c), math.exp(b) + math.exp(d)]]]).double()
    torch.testing.assert_close(attention.softmax(-1), sums / sums.sum())


@pytest.mark.parametrize("shots", [1, 3])
def test_on_pixels_it_is_scipys_nearest_neighbour(shots):
    setup = build(*small("pixelnn", "glyphs"), f"data.shots={shots}")
    assert not list(setup.algo.parameters())
    assert setup.optimizer is None
    tasks = setup.tasks("test", count=20)
    found = setup.algo.eval().solve(tasks.support, tasks.query.x).argmax(-1)
    for (x, y, query_x, _), guess in zip(each(tasks), found, strict=True):
        nearest = cdist(query_x.flatten(1), x.flatten(1), "cosine").argmin(1)
        assert torch.equal(guess, y[nearest])


def test_of_one_example_a_class_both_votes_name_the_same():
    tasks = build(*small("pixelnn", "glyphs"), "data.shots=1").tasks("test", count=20)
    found = [build(*small("pixelnn", "glyphs"), f"algo.vote={v}").algo.eval() for v in ("nearest", "attention")]
    first, second = (algo.solve(tasks.support, tasks.query.x).argmax(-1) for algo in found)
    assert torch.equal(first, second)


def test_a_backbone_of_the_users_own_is_left_as_the_seed_made_it():
    setup = build("algo=pixelnn", "data=glyphs", "backbone=conv4")
    assert setup.optimizer is None
    assert list(setup.algo.parameters())


@pytest.mark.parametrize("vote", ["nearest", "attention"])
def test_in_features_it_is_the_same_on_what_joint_training_gives(vote):
    setup = build(*small("pretrainnn", "glyphs"), f"algo.vote={vote}", dtype=torch.float64)
    setup.train(2)
    algo = setup.algo.eval()
    tasks = setup.tasks("test")
    with torch.no_grad():
        z, query = algo.backbone(tasks.support.x), algo.backbone(tasks.query.x)
        expected = on_points(PixelNN, 4, z.shape[-1], vote=vote).solve(Examples(z, tasks.support.y), query)
        torch.testing.assert_close(algo.solve(tasks.support, tasks.query.x), expected)


def test_joint_training_is_that_of_pretrain():
    losses = [build(*small(algo, "glyphs"), dtype=torch.float64).train(3) for algo in ("pretrain", "pretrainnn")]
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))
