"""The learned update rule starts as gradient descent, follows its formula, and remembers the mean over tasks."""

from __future__ import annotations

import copy

import pytest
import torch
from build import Setup, build, small
from references import LOSS, Plain, adapting, assert_same, each
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from metabench.algo.learned_rule import flat, readable

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def learned(data: str, *options: str) -> Setup:
    return build(*small("learnedupdate", data), *options, dtype=torch.float64)


def with_a_rule(setup: Setup) -> Setup:
    """With a rule and a memory that are not those of the start."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in setup.algo.rule[-1].parameters():
            p.normal_(std=0.3)
        setup.algo.mean.normal_(std=0.1)
        setup.algo.mean_square.uniform_(0.01, 0.1)
    return setup


def gradients(setup: Setup, net: Plain, theta: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of plain torch at weights `[P]`, and its gradient."""
    vector_to_parameters(theta, adapting(setup.algo, net))
    value = LOSS[setup.source.spec.objective](net(x), y)
    return value.detach(), parameters_to_vector(torch.autograd.grad(value, adapting(setup.algo, net)))


@DATA
def test_it_starts_as_gradient_descent_whatever_it_remembers(data):
    """Steps and outer gradient are MAML's, bit for bit and in float64."""
    setup = learned(data, "algo.inner_lr=0.25")
    sgd = build(*small("maml", data), "algo.adapt_norm=true", "algo.inner_lr=0.25", dtype=torch.float64)
    sgd.algo.load_state_dict(setup.algo.state_dict(), strict=False)
    setup.algo.mean_square.fill_(7)
    tasks = setup.tasks()
    with torch.no_grad():
        for a, b in zip(setup.algo.trajectory(tasks.support), sgd.algo.trajectory(tasks.support), strict=True):
            assert torch.equal(flat(a), flat(b))
    for one in (setup, sgd):
        one.algo(tasks)[0].backward()
    assert_same({name: setup.gradients()[name] for name in sgd.gradients()}, sgd.gradients())


def test_the_outer_gradient_is_that_of_the_formula_with_what_is_read_held_fixed():
    """By plain torch one task after another, with `torch.autograd` through ∇ but not through what the MLP reads."""
    setup = with_a_rule(learned("sinusoid", "algo.inner_lr=0.1"))
    algo, tasks, total = setup.algo, setup.tasks(), torch.zeros(())
    m, usual = algo.mean.clone(), algo.mean_square.sqrt()
    learnt = dict(algo.adapted())
    for x, y, query_x, query_y in each(tasks):
        fast = dict(learnt)
        for _ in range(2):
            loss = (torch.func.functional_call(algo.network, _one(fast), (x[None],)) - y).square().mean()
            parts = torch.autograd.grad(loss, list(fast.values()), create_graph=True)
            gradient = torch.cat([g.flatten() for g in parts])
            read = [readable(v.detach()) for v in (gradient, m, usual, loss.expand_as(m))]
            a, b = algo.rule(torch.cat(read, dim=-1)).unbind(-1)
            move = 0.1 * (a.exp() * gradient + b * usual)
            moves = move.split([w.numel() for w in fast.values()])
            fast = {name: w - d.view_as(w) for (name, w), d in zip(fast.items(), moves, strict=True)}
        total = (
            total + (torch.func.functional_call(algo.network, _one(fast), (query_x[None],)) - query_y).square().mean()
        )
    wanted = {**learnt, **dict(algo.rule.named_parameters(prefix="rule"))}
    expected = torch.autograd.grad(total / len(tasks), list(wanted.values()))
    algo(tasks)[0].backward()
    assert_same({name: p.grad for name, p in wanted.items()}, dict(zip(wanted, expected, strict=True)))


def _one(fast: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of one task with the axis of tasks."""
    return {name: w[None] for name, w in fast.items()}


@DATA
def test_a_step_is_the_formula(data):
    setup = with_a_rule(learned(data, "algo.inner_lr=0.25"))
    algo, tasks = setup.algo, setup.tasks()
    m, v = algo.mean.clone(), algo.mean_square.clone()
    with torch.no_grad():
        found = [flat(fast) for fast in algo.trajectory(tasks.support)]
    for task, (x, y) in enumerate(zip(*tasks.support, strict=True)):
        net, theta = Plain(algo.network), parameters_to_vector(algo.adapted().values()).detach()
        for step in range(2):
            loss, gradient = gradients(setup, net, theta, x, y)
            rows = [
                torch.cat([readable(n) for n in (g, a, b, loss)]) for g, a, b in zip(gradient, m, v.sqrt(), strict=True)
            ]
            a, b = algo.rule(torch.stack(rows)).detach().T
            theta = theta - 0.25 * (a.exp() * gradient + b * v.sqrt())
            torch.testing.assert_close(found[step + 1][task], theta, rtol=1e-9, atol=1e-9)


def test_the_memory_is_the_running_mean_of_past_gradients():
    """Of two meta-steps of three tasks and two inner steps each, by plain torch one task after another."""
    setup = learned("sinusoid", "algo.memory_rate=0.25")
    m = v = torch.zeros_like(setup.algo.mean)
    for number in range(2):
        tasks, met = setup.tasks(index=3 * number), []
        for x, y in zip(*tasks.support, strict=True):
            net, theta = Plain(setup.algo.network), parameters_to_vector(setup.algo.adapted().values()).detach()
            for _ in range(2):
                met.append(gradients(setup, net, theta, x, y)[1])
                theta = theta - setup.algo.inner_lr * met[-1]
        m = 0.75 * m + 0.25 * torch.stack(met).mean(0)
        v = 0.75 * v + 0.25 * torch.stack(met).square().mean(0)
        setup.algo(tasks)
        torch.testing.assert_close(setup.algo.mean, m, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(setup.algo.mean_square, v, rtol=1e-9, atol=1e-12)


def test_what_is_remembered_decides_how_a_new_task_is_learned():
    setup = with_a_rule(learned("sinusoid"))
    forgetful = copy.deepcopy(setup.algo)
    forgetful.mean.zero_()
    forgetful.mean_square.zero_()
    tasks = setup.tasks("test")
    a, b = (algo.eval().evaluate(tasks)["loss"] for algo in (setup.algo, forgetful))
    assert torch.equal(a[:, 0], b[:, 0])
    assert not torch.isclose(a[:, 1:], b[:, 1:]).any()


def addressed(*options: str) -> Setup:
    return with_a_rule(learned("sinusoid", "algo.memory=addressed", "algo.sharpness=30.0", *options))


def test_one_addressed_row_is_the_averages():
    plain, row = (with_a_rule(learned("sinusoid", *o)) for o in ((), ("algo.memory=addressed", "algo.memory_rows=1")))
    row.algo.load_state_dict({**{n: v.view_as(row.algo.state_dict()[n]) for n, v in plain.algo.state_dict().items()},
                              "keys": row.algo.keys})  # fmt: skip
    for number in range(3):
        tasks = plain.tasks(index=3 * number)
        torch.testing.assert_close(row.algo(tasks), plain.algo(tasks))
    torch.testing.assert_close(row.algo.mean[0], plain.algo.mean)
    torch.testing.assert_close(row.algo.mean_square[0], plain.algo.mean_square)


def test_what_a_task_wrote_changes_the_step_on_a_similar_task_and_not_on_a_dissimilar_one():
    """B's first gradient points almost as A's does, C's nowhere near; before A nothing has been written."""
    setup = addressed("algo.memory_rate=0.5")
    algo = setup.algo
    torch.manual_seed(2)
    size = algo.mean.shape[1]
    a, c = torch.randn(2, size).double()
    c = c - (c @ a) / (a @ a) * a
    with torch.no_grad():
        algo.keys[0], algo.keys[1] = a / a.norm(), c / c.norm()
        algo.mean.zero_()
        algo.mean_square.zero_()
    theta, loss = torch.zeros(1, size).double(), torch.ones(1).double()

    def step(gradient: Tensor) -> Tensor:
        return algo.move(theta, gradient[None], loss, algo.begin(theta))[0].detach()

    b = a + 0.05 * a.norm() / size**0.5 * torch.randn(size).double()
    before = step(b), step(c)
    algo.end(algo.move(theta, a[None], loss, algo.begin(theta))[1])
    after = step(b), step(c)
    changed_b, changed_c = ((new - old).norm() / old.norm() for new, old in zip(after, before, strict=True))
    assert changed_b > 0.05
    assert changed_c < 0.01 * changed_b


def test_rows_move_by_the_mean_of_what_each_task_alone_would_write():
    setup = addressed("algo.memory_rate=0.25")
    tasks, before = setup.tasks(), copy.deepcopy(setup.algo)
    setup.algo(tasks)
    for name in ("keys", "mean", "mean_square"):
        alone = []
        for t in range(3):
            one = copy.deepcopy(before)
            one(tasks.tasks(t, t + 1))
            alone.append(one.get_buffer(name))
        found = setup.algo.get_buffer(name)
        assert not torch.equal(found, before.get_buffer(name))
        torch.testing.assert_close(found, torch.stack(alone).mean(0))
