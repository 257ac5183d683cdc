"""The meta-learner LSTM is the published update, and starts as gradient descent."""

from __future__ import annotations

import math

import pytest
import torch
from build import Setup, build, small
from references import LOSS, Plain, adapting, each
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from metabench.algo.learned_rule import flat, readable

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def metalstm(data: str, *options: str) -> Setup:
    return build(*small("metalstm", data), *options, dtype=torch.float64)


@DATA
@pytest.mark.parametrize("alpha", [0.01, 0.3])
@pytest.mark.parametrize(("first_order", "descent"), [("true", "fomaml"), ("false", "maml")])
def test_it_starts_as_gradient_descent(data, alpha, first_order, descent):
    """The weights of every step, the outer gradient too: it is MAML, of first or second order."""
    setup = metalstm(data, f"algo.inner_lr={alpha}", f"algo.first_order={first_order}")
    sgd = build(*small(descent, data), "algo.adapt_norm=true", *_backbone(setup), dtype=torch.float64)
    sgd.algo.inner_lr = torch.sigmoid(setup.algo.enter.bias).item()
    assert math.isclose(sgd.algo.inner_lr, alpha, rel_tol=1e-6)  # its bias was drawn in float32
    sgd.algo.load_state_dict(setup.algo.state_dict(), strict=False)
    tasks = setup.tasks()
    with torch.no_grad():
        for a, b in zip(setup.algo.trajectory(tasks.support), sgd.algo.trajectory(tasks.support), strict=True):
            torch.testing.assert_close(flat(a), flat(b), rtol=0, atol=1e-15)
    for one in (setup, sgd):
        one.algo(tasks)[0].backward()
    for name, g in sgd.gradients().items():
        torch.testing.assert_close(setup.gradients()[name], g, rtol=1e-12, atol=1e-14)


def _backbone(setup: Setup) -> list[str]:
    """The backbone's options of a setup, as overrides."""
    return [f"backbone.{k}={'null' if v is None else v}" for k, v in setup.config.backbone.items() if k != "_target_"]


@DATA
def test_the_update_is_the_published_one(data):
    """One task after another, the equations written out, with `torch.autograd` through everything but ∇."""
    setup = metalstm(data, "algo.start=published", "algo.inner_steps=3", "algo.first_order=true")
    algo, tasks, loss = setup.algo, setup.tasks(), LOSS[setup.source.spec.objective]
    with torch.no_grad():  # larger than at the start, so that every term counts
        for p in (*algo.lstm.parameters(), algo.forget.weight, algo.enter.weight):
            p.mul_(30)
    total = torch.zeros(())
    rule = [*algo.lstm.parameters(), *algo.forget.parameters(), *algo.enter.parameters()]
    theta_0 = parameters_to_vector(algo.adapted().values()).detach().requires_grad_()
    for x, y, query_x, query_y in each(tasks):
        net = Plain(algo.network)
        theta, h, c, f, i = theta_0, 0, 0, 0, 0
        for _ in range(3):
            value, gradient = _loss_and_gradient(net, adapting(algo, net), theta, x, y, loss)
            given = torch.stack([*_preprocessed(gradient), *_preprocessed(value.expand_as(gradient))], dim=1)
            h, c = _lstm(algo.lstm, given, h, c)
            f, i = (
                h @ gate.weight[0, :-2] + gate.weight[0, -2] * theta + gate.weight[0, -1] * before + gate.bias
                for gate, before in ((algo.forget, f), (algo.enter, i))
            )
            theta = torch.sigmoid(f) * theta - torch.sigmoid(i) * gradient
        total = total + loss(_under(net, adapting(algo, net), theta, query_x), query_y) / len(tasks)
    found = algo(tasks)[0]
    torch.testing.assert_close(found, total, rtol=1e-10, atol=1e-10)
    expected = torch.autograd.grad(total, [theta_0, *rule])
    found.backward()
    ours = [parameters_to_vector([p.grad for p in algo.adapted().values()]), *(p.grad for p in rule)]
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def _loss_and_gradient(net, parameters, theta, x, y, loss) -> tuple[Tensor, Tensor]:
    vector_to_parameters(theta.detach(), parameters)
    value = loss(net(x), y)
    return value.detach(), parameters_to_vector(torch.autograd.grad(value, parameters))


def _under(net, parameters, theta, x) -> Tensor:
    names = {id(p): name for name, p in net.named_parameters()}
    parts = theta.split([p.numel() for p in parameters])
    weights = {names[id(p)]: part.view_as(p) for p, part in zip(parameters, parts, strict=True)}
    return torch.func.functional_call(net, weights, (x,))


def _preprocessed(x: Tensor) -> tuple[Tensor, Tensor]:
    both = [
        (math.log(abs(v)) / 10, math.copysign(1, v)) if abs(v) >= math.exp(-10) else (-1, math.exp(10) * v) for v in x
    ]
    first, second = torch.tensor(both, dtype=torch.float64).T
    return first, second


def _lstm(cell: nn.LSTMCell, given: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    gates = given @ cell.weight_ih.T + cell.bias_ih + cell.bias_hh
    if isinstance(h, Tensor):
        gates = gates + h @ cell.weight_hh.T
    enter, forget, value, leave = gates.chunk(4, dim=1)
    c = torch.sigmoid(forget) * c + torch.sigmoid(enter) * torch.tanh(value)
    return torch.sigmoid(leave) * torch.tanh(c), c


def test_gradients_are_read_by_size_and_sign():
    given = torch.tensor([1.0, -1.0, math.exp(-5), -math.exp(-20), 0.0], dtype=torch.float64)
    expected = [[0, 1], [0, -1], [-0.5, 1], [-1, -math.exp(-10)], [-1, 0]]
    torch.testing.assert_close(readable(given), torch.tensor(expected, dtype=torch.float64))


def test_the_published_start_draws_from_the_published_intervals():
    algo = build(*small("metalstm", "sinusoid"), "algo.start=published").algo
    assert 4 <= algo.forget.bias <= 5
    assert -5 <= algo.enter.bias <= -4
    weights = (*algo.lstm.parameters(), algo.forget.weight, algo.enter.weight)
    assert all(p.abs().max() <= 0.01 for p in weights)
    assert torch.cat([p.flatten() for p in weights]).std() > 0.005
