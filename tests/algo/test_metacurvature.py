"""Meta-Curvature follows gradients under one matrix a layer, which is a Kronecker product of small ones."""

from __future__ import annotations

import pytest
import torch
from build import Setup, build, small
from references import LinearRegression, Named, assert_is_maml, assert_same, unrolled
from torch import Tensor

from metabench.algo.metacurvature import Curvature, MetaCurvature

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def curved(data: str, *options: str) -> Setup:
    """With matrices that are not those of the start."""
    setup = build(*small("metacurvature", data), "algo.inner_lr=0.2", *options, dtype=torch.float64)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in setup.algo.curvature.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return setup


@DATA
def test_at_the_start_it_is_maml(data):
    setup = build(*small("metacurvature", data), "algo.inner_lr=0.2", dtype=torch.float64)
    assert_is_maml(setup.algo, setup.tasks(), 0.2)


def test_linear_regression_has_its_closed_form():
    """One step on the weights is W - α M_o G M_iᵀ, and dL/dM_o = -α Σ_tasks ∇L_Q M_i Gᵀ."""
    problem = LinearRegression(MetaCurvature, inner_lr=0.1, inner_steps=1)
    weight, bias = problem.algo.curvature
    torch.manual_seed(1)
    with torch.no_grad():
        for p in problem.algo.curvature.parameters():
            p.add_(0.3 * torch.randn_like(p))
    support, query = problem.tasks[:2]
    g = problem.gradient(problem.theta, support)
    (m_o, m_i), m = weight.factors, bias.factors[0]
    moved = torch.cat([m_o @ g[..., :-1] @ m_i.mT, (m * g[..., -1]).unsqueeze(-1)], dim=-1)
    outer = problem.gradient(problem.theta - 0.1 * moved, query)
    problem.meta_gradient()
    expected = -0.1 * (outer[..., :-1] @ m_i @ g[..., :-1].mT).mean(0)
    torch.testing.assert_close(m_o.grad, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(m.grad, -0.1 * (outer * g)[..., -1].mean(0), rtol=1e-12, atol=1e-12)


def test_of_a_convolution_it_is_a_kronecker_product():
    torch.manual_seed(0)
    curvature, gradient = Curvature((4, 2, 3, 3)).double(), torch.randn(5, 4, 2, 3, 3).double()
    with torch.no_grad():
        for p in curvature.parameters():
            p.normal_()
    m_o, m_i, m_f = curvature.factors
    assert [len(m) for m in (m_o, m_i, m_f)] == [4, 2, 9]
    matrix = torch.kron(torch.kron(m_o, m_i), m_f)
    torch.testing.assert_close(curvature(gradient).flatten(1), gradient.flatten(1) @ matrix.mT)


def transformed(gradient: Tensor, factors: list[Tensor]) -> Tensor:
    """MC(G) of one task, by its indices."""
    if gradient.dim() == 1:
        return factors[0] * gradient
    if gradient.dim() == 2:
        return torch.einsum("ip,jq,pq->ij", *factors, gradient)
    return torch.einsum("ip,jq,kr,pqr->ijk", *factors, gradient.flatten(2)).view_as(gradient)


@DATA
def test_the_meta_gradient_is_that_of_a_loop(data):
    setup = curved(data)

    def step(fast: Named, gradient: Named, *_: object) -> Named:
        factors = [list(curvature.factors) for curvature in setup.algo.curvature]
        moves = zip(fast.items(), gradient.values(), factors, strict=True)
        return {name: w - 0.2 * transformed(g, own) for (name, w), g, own in moves}

    expected = unrolled(setup.algo, setup.tasks(), step)
    setup.algo(setup.tasks())[0].backward()
    assert_same(setup.gradients(), expected)


def test_a_known_curvature_solves_a_quadratic_in_one_step():
    """With M_i the inverse of the inputs' second moments and α = 1, one step is Newton's: the least-squares fit."""
    problem = LinearRegression(MetaCurvature, inner_lr=1.0, inner_steps=1, eval_inner_steps=1)
    torch.manual_seed(2)
    x = torch.linalg.qr(torch.randn(3, 6, 4).double()).Q  # the same second moments in every task
    x = torch.cat([x, -x], dim=1)  # of mean zero, so that weight and bias do not inform each other
    support = problem.tasks.support._replace(x=x, y=torch.randn(3, 12, 2).double())
    with torch.no_grad():
        problem.algo.curvature[0].factors[1].copy_(torch.linalg.inv(x[0].mT @ x[0] / 12))
        state = problem.algo.eval().adapt(support)
    assert (
        problem.gradient(torch.cat([state["head.weight"], state["head.bias"].unsqueeze(-1)], -1), support).norm()
        < 1e-12
    )
