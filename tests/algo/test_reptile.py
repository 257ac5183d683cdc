"""Reptile's scalar has the gradient θ - W, where W is what the inner optimiser of the authors ends with."""

from __future__ import annotations

import copy

import pytest
import torch
from build import Setup, build, small
from references import LOSS, Plain, adapting
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
ADAM = ("algo.inner_optimizer=adam", "algo.inner_lr=0.01", "algo.inner_steps=5")


def reptile(data: str, *options: str) -> Setup:
    return build(*small("reptile", data), *options, dtype=torch.float64)


def vectors(weights: dict[str, Tensor]) -> Tensor:
    """`[T, P]` of weights `[T, *shape]`."""
    return torch.cat([w.flatten(1) for w in weights.values()], dim=1).detach()


def batches(setup: Setup, x: Tensor, y: Tensor, steps: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """Mini-batches that walk through the support set and start again at its end."""
    rows = list(range(len(y))) * steps
    return [(x[rows[i * size :][:size]], y[rows[i * size :][:size]]) for i in range(steps)]


def plain_adam(parameters: list[nn.Parameter], lr: float) -> torch.optim.Adam:
    return torch.optim.Adam(parameters, lr=lr, betas=(0.0, 0.999))


def adam_step(adam: torch.optim.Adam, step: int) -> None:
    """The authors' Adam adds ε to the moment before it is corrected; torch adds it after."""
    adam.param_groups[0]["eps"] = 1e-8 / (1 - 0.999**step) ** 0.5
    adam.step()


@DATA
def test_the_gradient_is_theta_minus_the_mean_of_the_adapted_weights(data):
    setup = reptile(data, *ADAM)
    tasks = setup.tasks()
    with torch.no_grad():
        adapted = vectors(copy.deepcopy(setup.algo).adapt(tasks.support)).mean(0)
    setup.algo(tasks)[0].backward()
    theta = parameters_to_vector(setup.algo.adapted().values()).detach()
    found = torch.cat([p.grad.flatten() for p in setup.algo.adapted().values()])
    torch.testing.assert_close(found, theta - adapted, rtol=1e-12, atol=1e-14)


@DATA
def test_an_outer_step_of_one_lands_on_the_adapted_weights(data):
    setup = reptile(data, "optim.lr=1.0", "train.schedule=constant")
    task = setup.tasks(count=1)
    with torch.no_grad():
        adapted = vectors(copy.deepcopy(setup.algo).adapt(task.support))[0]
    setup.step(0, task)
    torch.testing.assert_close(parameters_to_vector(setup.algo.adapted().values()).detach(), adapted)


@DATA
def test_inner_adam_is_torchs_and_its_second_moments_last_from_task_to_task(data):
    """Two training tasks and a test task, one after another, against one Adam that is never reset."""
    setup = reptile(data, *ADAM)
    net, loss = Plain(setup.algo.network), LOSS[setup.source.spec.objective]
    start = copy.deepcopy(net.state_dict())
    adam, steps = plain_adam(adapting(setup.algo, net), lr=0.01), 0
    for number, training in enumerate((True, True, False)):
        task = setup.tasks(index=number, count=1)
        setup.algo.train(training)
        batch = setup.algo.inner_batch if training else setup.algo.eval_inner_batch
        net.load_state_dict(start)
        with torch.no_grad():
            found = list(setup.algo.trajectory(task.support))
        given = batches(setup, task.support.x[0], task.support.y[0], setup.algo.steps, batch)
        for fast, (x, y) in zip(found[1:], given, strict=True):
            net.zero_grad()
            loss(net(x), y).backward()
            adam_step(adam, steps := steps + 1)
            expected = parameters_to_vector(adapting(setup.algo, net)).detach()
            torch.testing.assert_close(vectors(fast)[0], expected, rtol=1e-9, atol=1e-9)
    assert setup.algo.moment_steps == 10


@DATA
def test_inner_sgd_is_torchs(data):
    setup = reptile(data, "algo.inner_optimizer=sgd", "algo.inner_lr=0.1", "algo.inner_steps=5")
    tasks, loss = setup.tasks(), LOSS[setup.source.spec.objective]
    with torch.no_grad():
        found = vectors(setup.algo.adapt(tasks.support))
    for task, (x, y) in enumerate(zip(*tasks.support, strict=True)):
        net = Plain(setup.algo.network)
        sgd = torch.optim.SGD(adapting(setup.algo, net), lr=0.1)
        for batch_x, batch_y in batches(setup, x, y, 5, setup.algo.inner_batch):
            net.zero_grad()
            loss(net(batch_x), batch_y).backward()
            sgd.step()
        expected = parameters_to_vector(adapting(setup.algo, net)).detach()
        torch.testing.assert_close(found[task], expected, rtol=1e-10, atol=1e-10)
    assert not setup.algo.second_moment.any()


def test_moments_become_the_mean_over_tasks():
    together = reptile("glyphs", *ADAM)
    tasks, alone = together.tasks(), []
    for i in range(3):
        one = copy.deepcopy(together.algo)
        one(tasks.tasks(i, i + 1))
        alone.append(one.second_moment)
    together.algo(tasks)
    torch.testing.assert_close(together.algo.second_moment, torch.stack(alone).mean(0), rtol=1e-12, atol=0)
    assert together.algo.moment_steps == 5


def test_mini_batches_cover_the_support_set():
    """Eight examples in batches of four: two steps see each once."""
    setup, seen = reptile("glyphs"), []
    support = setup.tasks().support
    gradient = setup.algo.gradient
    setup.algo.gradient = lambda fast, z, y: seen.append(z) or gradient(fast, z, y)
    with torch.no_grad():
        setup.algo.adapt(support)
    assert torch.equal(torch.cat(seen, dim=1), support.x)


def test_each_pass_has_an_order_of_its_own_where_it_is_asked_for():
    """Every example is used once in a pass; orders differ between passes and tasks, and are a function of the task."""
    setup = reptile("glyphs", "algo.reshuffle=true", "algo.inner_steps=6")
    support = setup.tasks().support
    size = support.y.shape[1]
    order = setup.algo._order(support, size, 3).unflatten(1, (3, size))
    assert torch.equal(order.sort(-1).values, torch.arange(size).expand(3, 3, size))
    assert not torch.equal(order[:, 0], order[:, 1])
    assert not torch.equal(order[0], order[1])
    again = setup.algo._order(setup.tasks(count=1).support, size, 3)
    assert torch.equal(again[0], order[0].flatten())
    assert setup.train(1)[0].isfinite().all()
