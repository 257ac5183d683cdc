"""The exact Gaussian process: scikit-learn's posterior where it has it, and no method below it."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, small

from metabench.errors import UnreadTasksError
from metabench.tasks import Examples


def posterior(*overrides: str, count: int = 3):
    setup = build("algo=gp", "data=gp_curves", *overrides, dtype=torch.float64)
    tasks = setup.algo.view(setup.tasks("test", count=count))
    return setup, tasks


@pytest.mark.parametrize("data", ["gp_curves", "gp_curves_anp"])
def test_it_is_the_conditional_of_the_joint_normal_distribution(data):
    setup, tasks = posterior(f"data={data}")
    (x, y), query = tasks[:2]
    found = setup.algo.solve(Examples(x, y), query.x)
    for t in range(3):
        points, (length, scale) = torch.cat([x[t, :, 0], query.x[t, :, 0]]), x[t, 0, 1:]
        joint = scale**2 * torch.exp(-((points[:, None] - points) ** 2) / (2 * length**2))
        joint = joint + (1e-6 * scale**2 + setup.config.data["noise"] ** 2) * torch.eye(len(points)).double()
        size = x.shape[1]
        a, b, c = joint[:size, :size], joint[size:, :size], joint[size:, size:]
        inverse = torch.linalg.inv(a)
        torch.testing.assert_close(found[t, :, 0], b @ inverse @ y[t, :, 0], rtol=1e-6, atol=1e-6)
        expected = (c - b @ inverse @ b.mT).diagonal().clamp_min(0).sqrt()
        torch.testing.assert_close(found[t, :, 1], expected, rtol=1e-4, atol=1e-5)


def test_its_intervals_hold_what_they_say():
    setup, tasks = posterior(count=400)
    mean, std = setup.algo.solve(tasks.support, tasks.query.x).chunk(2, dim=-1)
    z = (tasks.query.y - mean) / std
    assert float(z.square().mean()) == pytest.approx(1, abs=0.05)
    assert float((z.abs() < 1.959964).double().mean()) == pytest.approx(0.95, abs=0.01)


def test_its_loss_is_the_least_that_a_normal_prediction_can_have():
    setup, tasks = posterior(count=200)
    found = setup.algo.solve(tasks.support, tasks.query.x)
    loss = setup.algo.objective.loss
    least = loss(found, tasks.query.y).mean()
    for change in (torch.tensor([0.05, 0.0]), torch.tensor([0.0, 0.05])):
        assert loss(found + change, tasks.query.y).mean() > least
    assert math.isfinite(least)


def test_other_tasks_are_refused():
    with pytest.raises(UnreadTasksError, match="curves of a Gaussian process"):
        build(*small("gp", "sinusoid"))
