"""iMAML's gradient is that of the inner problem's solution, which for a quadratic is a formula."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from references import LinearRegression

from metabench.algo.imaml import IMAML, conjugate_gradients
from metabench.engine.cost import saved_bytes

STRENGTH = 0.7
VALUES = {"inner_lr": 0.3, "inner_steps": 500, "proximal": STRENGTH, "cg_steps": 5, "damping": 1.0}


def problem(**values: object) -> LinearRegression:
    return LinearRegression(IMAML, **{"variant": "textbook", **VALUES, **values})


def test_the_gradient_on_a_quadratic_is_that_of_the_closed_form():
    """φ* = (Yᵀ X / N + λ Θ) (Xᵀ X / N + λ I)⁻¹, differentiated by torch."""
    linear = problem()
    support, query = linear.tasks[:2]
    x, theta = linear.inputs(support), linear.theta.requires_grad_()
    system = x.mT @ x / x.shape[1] + STRENGTH * torch.eye(5).double()
    solution = (support.y.mT @ x / x.shape[1] + STRENGTH * theta) @ torch.linalg.inv(system)
    loss = (solution @ linear.inputs(query).mT - query.y.mT).square().mean((1, 2)).mean()
    (expected,) = torch.autograd.grad(loss, theta)
    torch.testing.assert_close(linear.meta_gradient(), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(linear.algo(linear.tasks)[0], loss, rtol=1e-9, atol=1e-9)


def test_the_textbook_operator_at_any_point_that_the_inner_loop_ends_in():
    """∇L_Q(φ) (I + Xᵀ X / (N λ))⁻¹, here after three steps of gradient descent on the regularised loss."""
    linear = problem(inner_steps=3)
    support, query = linear.tasks[:2]
    x, theta = linear.inputs(support), linear.theta
    phi = theta
    for _ in range(3):
        phi = phi - 0.3 * (linear.gradient(phi, support) + STRENGTH * (phi - theta))
    operator = torch.eye(5).double() + x.mT @ x / x.shape[1] / STRENGTH
    expected = (linear.gradient(phi, query) @ torch.linalg.inv(operator)).mean(0)
    torch.testing.assert_close(linear.meta_gradient(), expected, rtol=1e-9, atol=1e-9)


def test_the_released_variant_is_that_of_the_authors_code():
    """16 plain steps, one on the proximal term; ((1 + c) I + H / (λ + 10))⁻¹."""
    linear = problem(variant="released", inner_lr=0.1, inner_steps=16, proximal=2.0)
    support, query = linear.tasks[:2]
    x, theta = linear.inputs(support), linear.theta
    phi = theta
    for _ in range(16):
        phi = phi - 0.1 * linear.gradient(phi, support)
    phi = phi - 0.1 * 2.0 * (phi - theta)
    operator = 2 * torch.eye(5).double() + x.mT @ x / x.shape[1] / 12
    expected = (linear.gradient(phi, query) @ torch.linalg.inv(operator)).mean(0)
    torch.testing.assert_close(linear.meta_gradient(), expected, rtol=1e-9, atol=1e-9)


def test_conjugate_gradients_solve_each_system_by_itself_and_stay_where_they_arrived():
    torch.manual_seed(0)
    factor, b = torch.randn(3, 6, 6).double(), torch.randn(3, 6).double()
    matrix = factor @ factor.mT + torch.eye(6)
    b[1] = 0  # solved from the start
    for steps in (6, 20):
        found = conjugate_gradients(lambda v: (matrix @ v.unsqueeze(-1)).squeeze(-1), b, steps)
        torch.testing.assert_close(found, torch.linalg.solve(matrix, b), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_one_step_of_conjugate_gradients_is_the_step_along_the_gradient(data):
    """x_1 = b <b, b> / <b, A b>, of a network, whose Hessian here is torch's own."""
    setup = build(*small("imaml", data), "algo.cg_steps=1", "algo.inner_steps=1", dtype=torch.float64)
    algo, tasks = setup.algo, setup.tasks(count=1)
    with torch.no_grad():
        *_, phi = algo.trajectory(tasks.support)
    phi = {name: w[0].clone() for name, w in phi.items()}

    def loss(part, weights):
        output = torch.func.functional_call(algo.network, weights, (part.x,))
        return algo.objective.loss(output, part.y).sum()

    leaves = {name: w.requires_grad_() for name, w in phi.items()}
    b = torch.autograd.grad(loss(tasks.query, leaves), list(leaves.values()))
    first = torch.autograd.grad(loss(tasks.support, leaves), list(leaves.values()), create_graph=True)
    image = torch.autograd.grad(first, list(leaves.values()), b)
    dot = sum((p * (p + q / algo.proximal)).sum() for p, q in zip(b, image, strict=True))
    length = sum((p * p).sum() for p in b) / dot
    algo(tasks)[0].backward()
    for (name, found), p in zip(setup.gradients().items(), b, strict=True):
        torch.testing.assert_close(found, length * p, rtol=1e-8, atol=1e-10, msg=name)


def test_what_is_kept_does_not_grow_with_the_inner_steps():
    few, many = (build(*small("imaml", "sinusoid"), f"algo.inner_steps={n}") for n in (1, 20))
    assert saved_bytes(few.algo.train(), few.tasks(count=1)) == saved_bytes(many.algo.train(), many.tasks(count=1))


def test_the_released_start_is_that_of_the_authors_code():
    network = build(*small("imaml", "glyphs"), "algo.init=released").algo.network
    for layer in (*network.backbone.convs, network.head):
        fan = torch.nn.init._calculate_fan_in_and_fan_out(layer.weight)
        bound = 1.73 * (6 / sum(fan)) ** 0.5
        assert 0.8 * bound < layer.weight.abs().max() <= bound
    assert ((network.head.bias >= 0) & (network.head.bias <= 0.05)).all()
