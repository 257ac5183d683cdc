"""Meta-SGD learns its step sizes by the gradient that the paper states."""

from __future__ import annotations

import copy

import pytest
import torch
from build import build, small
from references import LOSS, LinearRegression, Plain, adapting, assert_same, each

from metabench.algo.metasgd import MetaSGD
from metabench.errors import ConfigError


def test_linear_regression_has_its_closed_form():
    """dL/dα = -∇L_S ∘ ∇L_Q(Θ'), dL/dΘ = ∇L_Q(Θ') - (α ∘ ∇L_Q(Θ')) Xᵀ X / N."""
    problem = LinearRegression(MetaSGD, inner_lr=[0.01, 0.2], inner_steps=1)
    support, query = problem.tasks[:2]
    alpha = torch.cat([problem.algo.alpha[0], problem.algo.alpha[1].unsqueeze(-1)], dim=-1).detach()
    inner = problem.gradient(problem.theta, support)
    outer = problem.gradient(problem.theta - alpha * inner, query)
    x = problem.inputs(support)
    expected = (outer - (alpha * outer) @ x.mT @ x / x.shape[1]).mean(0)
    torch.testing.assert_close(problem.meta_gradient(), expected, rtol=1e-12, atol=1e-12)
    found = torch.cat([problem.algo.alpha[0].grad, problem.algo.alpha[1].grad.unsqueeze(-1)], dim=-1)
    torch.testing.assert_close(found, -(inner * outer).mean(0), rtol=1e-12, atol=1e-12)


def test_step_sizes_learn_from_both_gradients_of_a_network():
    setup = build(*small("metasgd", "glyphs"), "algo.inner_steps=1", dtype=torch.float64)
    tasks, loss, expected = setup.tasks(), LOSS["cross_entropy"], []
    for x, y, query_x, query_y in each(tasks):
        net = Plain(setup.algo.network)
        weights = adapting(setup.algo, net)
        inner = torch.autograd.grad(loss(net(x), y), weights)
        for w, alpha, g in zip(weights, setup.algo.alpha, inner, strict=True):
            w.data -= alpha.detach() * g
        outer = torch.autograd.grad(loss(net(query_x), query_y), weights)
        expected.append([-a * b for a, b in zip(inner, outer, strict=True)])
    setup.algo(tasks)[0].backward()
    assert_same(
        {str(i): alpha.grad for i, alpha in enumerate(setup.algo.alpha)},
        {str(i): sum(parts) / len(tasks) for i, parts in enumerate(zip(*expected, strict=True))},
    )


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_with_one_step_size_it_is_maml(data):
    ours = build(*small("metasgd", data), "algo.inner_lr=[0.25,0.25]", dtype=torch.float64)
    maml = build(*small("maml", data), "algo.inner_lr=0.25", dtype=torch.float64)
    maml.algo.load_state_dict(copy.deepcopy({k: v for k, v in ours.algo.state_dict().items() if "alpha" not in k}))
    for setup in (ours, maml):
        setup.algo(setup.tasks())[0].backward()
    found = {name: g for name, g in ours.gradients().items() if "alpha" not in name}
    assert_same(found, maml.gradients())


def test_there_is_one_step_size_a_weight_drawn_from_the_interval():
    algo = build(*small("metasgd", "sinusoid"), "algo.inner_lr=[-0.1,0.3]").algo
    assert [alpha.shape for alpha in algo.alpha] == [p.shape for p in algo.adapted().values()]
    drawn = torch.cat([alpha.detach().flatten() for alpha in algo.alpha])
    assert -0.1 <= drawn.min() < 0 < 0.25 < drawn.max() <= 0.3


@pytest.mark.parametrize("interval", ["[0.1]", "[0.2,0.1]"])
def test_the_interval_has_two_ends_in_order(interval):
    with pytest.raises(ConfigError, match=r"algo\.inner_lr"):
        build(*small("metasgd", "sinusoid"), f"algo.inner_lr={interval}")
