"""ANIL adapts the head and nothing else, and learns through the head's steps to second order."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from references import LOSS, LinearRegression, Plain, assert_same, each
from torch.nn.functional import linear

from metabench.algo.anil import ANIL
from metabench.algo.maml import MAML


def test_without_a_body_it_is_maml():
    ours, maml = (LinearRegression(algo, inner_lr=0.1, inner_steps=3) for algo in (ANIL, MAML))
    torch.testing.assert_close(ours.meta_gradient(), maml.meta_gradient(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_only_the_head_adapts(data):
    setup = build(*small("anil", data), dtype=torch.float64)
    setup.algo.eval()
    tasks = setup.tasks()
    before = {name: p.clone() for name, p in setup.algo.named_parameters()}
    with torch.no_grad():
        state = setup.algo.adapt(tasks.support)
        expected = setup.algo.backbone(tasks.query.x) @ state["weight"].mT + state["bias"].unsqueeze(1)
        torch.testing.assert_close(setup.algo.predict(state, tasks.query.x), expected)
    assert state.keys() == {"weight", "bias"}
    assert all((state[name] != p).flatten(1).any(1).all() for name, p in setup.algo.network.head.named_parameters())
    assert all(torch.equal(p, before[name]) for name, p in setup.algo.named_parameters())


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_meta_gradient_is_that_of_a_loop(data):
    setup = build(*small("anil", data), "algo.inner_lr=0.3", dtype=torch.float64)
    tasks, loss = setup.tasks(), LOSS[setup.source.spec.objective]
    net = Plain(setup.algo.network)
    for x, y, query_x, query_y in each(tasks):
        z, head = net.backbone(x), list(net.head.parameters())
        for _ in range(setup.algo.inner_steps):
            gradient = torch.autograd.grad(loss(linear(z, *head), y), head, create_graph=True)
            head = [w - 0.3 * g for w, g in zip(head, gradient, strict=True)]
        (loss(linear(net.backbone(query_x), *head), query_y) / len(tasks)).backward()
    setup.algo(tasks)[0].backward()
    assert_same(setup.gradients(), net.gradients())


def test_the_body_learns_from_the_support_set_too():
    """The second-order path: with a query set that the body cannot see, its gradient comes through the head's steps."""
    setup = build(*small("anil", "sinusoid"), dtype=torch.float64)
    support, query = setup.tasks()[:2]
    state = setup.algo.adapt(support)
    with torch.no_grad():
        z = setup.algo.embed(query.x)
    setup.algo.objective.loss(setup.algo.read(state, z), query.y).sum().backward()
    assert all(p.grad.any() for p in setup.algo.backbone.parameters())
