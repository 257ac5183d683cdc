"""Prototypical networks: distances to class means."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, small
from references import on_points

from metabench.algo.protonet import ProtoNet
from metabench.tasks import Examples

# Class 0 has its mean at (1, 0), class 1 at (0, 4).
SUPPORT = Examples(torch.tensor([[[0, 0], [0, 3], [2, 0], [0, 5]]]).double(), torch.tensor([[0, 1, 0, 1]]))
QUERIES = torch.tensor([[[1, 1], [0, 4], [3, 0]]]).double()


def test_logits_are_negative_squared_distances_to_class_means():
    algo = on_points(ProtoNet, 2, distance="euclidean", scale=1.0)
    expected = torch.tensor([[[-1, -10], [-17, 0], [-4, -25]]]).double()
    torch.testing.assert_close(algo.solve(SUPPORT, QUERIES), expected)


def test_cosine_logits_are_scaled_angles_to_class_means():
    algo = on_points(ProtoNet, 2, distance="cosine", scale=10.0)
    expected = torch.tensor([[[math.sqrt(50), math.sqrt(50)], [0, 10], [10, 0]]]).double()
    torch.testing.assert_close(algo.solve(SUPPORT, QUERIES), expected)


def test_it_is_a_linear_classifier():
    """-|z - c|² + |z|² = 2 c·z - |c|² (Snell et al. 2017, section 2.4), here on learned embeddings."""
    setup = build(*small("protonet", "glyphs"), dtype=torch.float64)
    (x, y), query = setup.tasks()[:2]
    z = setup.algo.backbone(torch.cat([x, query.x], dim=1))  # together, as batch statistics cover them
    support, z = z[:, : x.shape[1]], z[:, x.shape[1] :]
    c = torch.stack([torch.stack([s[y == way].mean(0) for way in range(4)]) for s, y in zip(support, y, strict=True)])
    expected = 2 * z @ c.mT - c.square().sum(-1).unsqueeze(1)
    found = setup.algo.solve(Examples(x, y), query.x) + z.square().sum(-1, keepdim=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_the_order_of_the_support_set_does_not_matter(distance):
    setup = build(*small("protonet", "glyphs"), f"algo.distance={distance}", dtype=torch.float64)
    (x, y), query = setup.tasks()[:2]
    found = setup.algo.solve(Examples(x.flip(1), y.flip(1)), query.x)
    torch.testing.assert_close(found, setup.algo.solve(Examples(x, y), query.x), rtol=1e-10, atol=1e-10)


def test_training_and_test_may_have_different_ways():
    setup = build(*small("protonet", "glyphs"), "data.train.ways=10")
    assert setup.train(1)[0].isfinite().all()
    algo = setup.algo.eval()
    tasks = setup.tasks("test")
    assert algo.solve(tasks.support, tasks.query.x).shape[-1] == 4
