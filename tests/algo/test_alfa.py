"""ALFA's learning rates and weight decays are made from the means of weights and gradients, for each task and step."""

from __future__ import annotations

import pytest
import torch
from build import Setup, build, small
from references import Named, assert_is_maml, assert_same, unrolled
from torch import Tensor

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def generating(data: str, *options: str) -> Setup:
    """With factors that differ by step and tensor, and a generator that reads."""
    setup = build(*small("alfa", data), "algo.start=released", "algo.inner_lr=0.2", *options, dtype=torch.float64)
    torch.manual_seed(1)
    with torch.no_grad():
        for p in (setup.algo.rates, setup.algo.decays):
            p.add_(0.3 * torch.randn_like(p))
    return setup


@DATA
def test_with_constant_hyperparameters_it_is_maml(data):
    setup = build(*small("alfa", data), "algo.inner_lr=0.2", dtype=torch.float64)
    assert_is_maml(setup.algo, setup.tasks(), 0.2)


def test_with_a_constant_decay_a_step_is_that_of_the_penalised_loss():
    """θ - α ∇(L_S + ½ λ ‖θ‖²), by torch's own SGD."""
    setup = build(
        *small("alfa", "sinusoid"), "algo.inner_lr=0.1", "algo.weight_decay=0.5", "algo.eval_inner_steps=1",
        dtype=torch.float64,
    )  # fmt: skip
    algo, tasks = setup.algo.eval(), setup.tasks("test", count=1)
    tensors = len(algo.adapted())
    with torch.no_grad():
        algo.generator[-1].bias[tensors:] = 1
        found = algo.adapt(tasks.support)
    sgd = torch.optim.SGD(algo.network.parameters(), lr=0.1, weight_decay=0.5)
    algo.objective.loss(algo.network(tasks.support.x), tasks.support.y).sum().backward()
    sgd.step()
    for name, p in algo.network.named_parameters():
        torch.testing.assert_close(found[name][0], p)


@DATA
def test_the_meta_gradient_is_that_of_a_loop_with_what_is_read_of_gradients_held_fixed(data):
    setup = generating(data, "algo.weight_decay=0.5")
    algo = setup.algo

    def step(fast: Named, gradient: Named, number: int, *_: object) -> Named:
        means = [w.mean() for w in fast.values()] + [g.detach().mean() for g in gradient.values()]
        made: Tensor = algo.generator(torch.stack(means))
        a, b = made[: len(fast)], made[len(fast) :]
        alpha, beta = 0.2 * algo.rates[number], 0.2 * 0.5 * algo.decays[number]
        return {
            name: (1 - b[i] * beta[i]) * w - a[i] * alpha[i] * gradient[name]
            for i, (name, w) in enumerate(fast.items())
        }

    expected = unrolled(algo, setup.tasks(), step)
    algo(setup.tasks())[0].backward()
    assert_same(setup.gradients(), expected)


def test_tasks_and_steps_have_hyperparameters_of_their_own():
    algo = generating("sinusoid").algo.eval()
    tasks = generating("sinusoid").tasks("test")
    with torch.no_grad():
        fast = algo.initial(tasks.support.x, tasks.support.y)
        gradient = algo.gradient(fast, *tasks.support)
        (first, _), (second, _), (beyond, _) = (algo.hyperparameters(fast, gradient, step) for step in (0, 1, 2))
    assert first.shape == (3, len(algo.adapted()))
    assert not torch.isclose(first[0], first[1]).any()
    assert not torch.isclose(first, second).any()
    assert torch.equal(second, beyond)  # there are two steps in training
