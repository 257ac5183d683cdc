"""FOMAML's meta-gradient is the gradient of the query loss at the adapted weights."""

from __future__ import annotations

import copy

import pytest
import torch
from build import build, small
from references import LOSS, LinearRegression, Plain, adapting, assert_same, each

from metabench.algo.fomaml import FOMAML


@pytest.mark.parametrize("steps", [1, 3])
def test_linear_regression_has_its_closed_form(steps):
    problem = LinearRegression(FOMAML, inner_lr=0.1, inner_steps=steps)
    support, query = problem.tasks[:2]
    theta = problem.theta
    for _ in range(steps):
        theta = theta - 0.1 * problem.gradient(theta, support)
    expected = problem.gradient(theta, query).mean(0)
    torch.testing.assert_close(problem.meta_gradient(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("adapt_norm", ["true", "false"])
@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_meta_gradient_is_that_at_the_adapted_weights(data, adapt_norm):
    setup = build(*small("fomaml", data), "algo.inner_lr=0.3", f"algo.adapt_norm={adapt_norm}", dtype=torch.float64)
    tasks, loss = setup.tasks(), LOSS[setup.source.spec.objective]
    net, found = Plain(setup.algo.network), []
    for x, y, query_x, query_y in each(tasks):
        fast = copy.deepcopy(net)
        inner = torch.optim.SGD(adapting(setup.algo, fast), lr=0.3)
        for _ in range(setup.algo.inner_steps):
            fast.zero_grad()
            loss(fast(x), y).backward()
            inner.step()
        fast.zero_grad()
        loss(fast(query_x), query_y).backward()
        found.append(fast.gradients())
    setup.algo(tasks)[0].backward()
    assert_same(setup.gradients(), {name: sum(g[name] for g in found) / len(tasks) for name in found[0]})


def test_it_predicts_as_maml_and_learns_otherwise():
    first, second = (build(*small(name, "glyphs"), dtype=torch.float64) for name in ("fomaml", "maml"))
    losses = [setup.algo(setup.tasks())[0] for setup in (first, second)]
    assert torch.equal(*losses)
    for loss in losses:
        loss.backward()
    with pytest.raises(AssertionError, match="relative error"):
        assert_same(first.gradients(), second.gradients(), tolerance=1e-3)
