"""MAML's meta-gradient is the exact second-order one."""

from __future__ import annotations

import higher
import pytest
import torch
from build import build, small
from references import LOSS, LinearRegression, Plain, adapting, assert_same, each
from torch.linalg import matrix_power

from metabench.algo.maml import MAML

CONV = ("maml", "glyphs", "algo.inner_lr=0.3")


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_linear_regression_has_its_closed_form(steps):
    """One inner step is Θ' = Θ A + …, A = I - α Xᵀ X / N, so the meta-gradient is ∇L_Q(Θ'_J) A^J."""
    problem = LinearRegression(MAML, inner_lr=0.1, inner_steps=steps)
    support, query = problem.tasks[:2]
    theta, x = problem.theta, problem.inputs(support)
    for _ in range(steps):
        theta = theta - 0.1 * problem.gradient(theta, support)
    contraction = torch.eye(5).double() - 0.1 * x.mT @ x / x.shape[1]
    expected = (problem.gradient(theta, query) @ matrix_power(contraction, steps)).mean(0)
    torch.testing.assert_close(problem.meta_gradient(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "case",
    [
        ("maml", "sinusoid", "algo.inner_lr=0.1"),
        CONV,  # as the paper: strided, the mean of the last map, no scale
        (*CONV, "backbone.readout=flatten", "backbone.norm_scale=true", "algo.adapt_norm=true"),
        (*CONV, "backbone.pool=max", "backbone.norm_scale=true"),
        (*CONV, "backbone.pool=max", "backbone.norm_scale=true", "algo.adapt_norm=true", "algo.inner_steps=3"),
        (*CONV, "backbone.pool=max", "backbone.norm=none"),
    ],
    ids="-".join,
)
def test_the_meta_gradient_is_that_of_higher(case):
    """`higher` (Grefenstette et al. 2019) unrolls torch's own modules, one task after another."""
    setup = build(*small(*case), dtype=torch.float64)
    tasks, loss = setup.tasks(), LOSS[setup.source.spec.objective]
    net = Plain(setup.algo.network)
    inner = torch.optim.SGD(adapting(setup.algo, net), lr=setup.algo.inner_lr)
    for x, y, query_x, query_y in each(tasks):
        with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as (fast, unrolled):
            for _ in range(setup.algo.inner_steps):
                unrolled.step(loss(fast(x), y))
            (loss(fast(query_x), query_y) / len(tasks)).backward()
    setup.algo(tasks)[0].backward()
    assert_same(setup.gradients(), net.gradients())


def test_the_head_starts_as_the_backbone_says():
    """Finn et al. 2017, their code: N(0, 1) on convolutions, a truncated normal of 0.01 elsewhere, biases 0."""
    wide = ("data.size=28", "data.ways=60", "data.train.ways=60", "algo=maml", "data=glyphs")
    normal, narrow = (build(*wide, f"backbone.head_init={init}").algo.network.head for init in ("normal", "0.01"))
    assert normal.weight.std().item() == pytest.approx(1, rel=0.05)
    assert normal.weight.abs().max() > 2.5
    assert narrow.weight.abs().max() <= 0.02
    assert not normal.bias.any()
    assert not narrow.bias.any()
