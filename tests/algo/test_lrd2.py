"""Logistic regression within the network, by Newton's method, is the library's minimum of the same loss."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build import build, small
from references import on_points
from scipy.optimize import minimize

from metabench.algo.lrd2 import LRD2, logistic
from metabench.tasks import Examples

SIZES = pytest.mark.parametrize("examples", [4, 9], ids=["fewer than features", "more"])


def problem(examples: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, examples, 6).double(), torch.randn(2, examples, 1).double().sign()


@SIZES
@pytest.mark.parametrize("penalty", [0.1, 3.0])
def test_newtons_method_finds_scipys_minimum(examples, penalty):
    x, t = problem(examples)
    found = logistic(x, t, torch.tensor(penalty).double(), steps=12).squeeze(-1)
    for a, b, w in zip(x.numpy(), t.squeeze(-1).numpy(), found.numpy(), strict=True):

        def loss(w, a=a, b=b):
            return np.logaddexp(0, -b * (a @ w)).sum() + 0.5 * penalty * w @ w

        expected = minimize(loss, np.zeros(6), tol=1e-14)
        assert loss(w) <= expected.fun + 1e-12
        assert w == pytest.approx(expected.x, abs=1e-6)


@SIZES
def test_one_step_is_a_formula(examples):
    x, t = problem(examples)
    expected = torch.linalg.solve(x.mT @ x / 4 + 0.5 * torch.eye(6).double(), x.mT @ t / 2)
    torch.testing.assert_close(logistic(x, t, torch.tensor(0.5).double(), steps=1), expected)


@SIZES
def test_gradients_are_those_of_finite_differences(examples):
    x, t = problem(examples)
    given = (x[:1].requires_grad_(), torch.tensor(0.5).double().requires_grad_())
    assert torch.autograd.gradcheck(lambda x, penalty: logistic(x, t[:1], penalty, 3), given)


def test_each_class_is_told_from_the_rest_with_a_regulariser_of_the_mean():
    """Column by column, by `minimize`, on points in the plane with their constant."""
    algo = on_points(LRD2, 3, regulariser=0.05, scale=2.0, newton_steps=12)
    torch.manual_seed(0)
    support = Examples(torch.randn(1, 9, 2).double(), torch.arange(9).view(1, 9) % 3)
    query = torch.randn(1, 4, 2).double()
    rows, asked = (np.hstack([p[0].numpy(), np.ones((p.shape[1], 1))]) for p in (support.x, query))
    expected = []
    for way in range(3):
        sign = np.where(support.y[0].numpy() == way, 1.0, -1.0)
        loss = lambda w, s=sign: np.logaddexp(0, -s * (rows @ w)).mean() + 0.5 * 0.05 * w @ w  # noqa: E731
        expected.append(2 * asked @ minimize(loss, np.zeros(3), tol=1e-14).x)
    found = algo.solve(support, query).detach()[0].numpy()
    assert found == pytest.approx(np.stack(expected, axis=1), abs=1e-5)


def test_of_two_classes_one_is_the_negative_of_the_other():
    algo = on_points(LRD2, 2, regulariser=0.1, scale=1.0, newton_steps=3)
    support = Examples(torch.randn(1, 6, 2).double(), torch.tensor([[0, 1, 0, 1, 1, 1]]))
    logits = algo.solve(support, torch.randn(1, 5, 2).double())
    torch.testing.assert_close(logits[..., 0], -logits[..., 1])


def test_training_and_test_may_have_different_ways():
    setup = build(*small("lrd2", "glyphs"), "data.train.ways=10")
    assert setup.train(1)[0].isfinite().all()
    tasks = setup.tasks("test")
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape[-1] == 4
