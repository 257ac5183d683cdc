"""Training from scratch is torch's gradient descent on the support set alone."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from references import LOSS, Plain, adapting, each


@pytest.mark.parametrize("adapt_norm", ["true", "false"])
@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_every_step_is_that_of_plain_sgd(data, adapt_norm):
    setup = build(*small("scratch", data), f"algo.adapt_norm={adapt_norm}", "algo.inner_lr=0.1", dtype=torch.float64)
    setup.algo.eval()
    tasks, loss = setup.tasks("test"), LOSS[setup.source.spec.objective]
    with torch.no_grad():
        found = torch.stack(setup.algo.outputs(tasks.support, tasks.query.x))
    for task, (x, y, query_x, _) in enumerate(each(tasks)):
        net = Plain(setup.algo.network).requires_grad_()
        sgd = torch.optim.SGD(adapting(setup.algo, net), lr=0.1)
        for predictions in found[:, task]:
            torch.testing.assert_close(net(query_x).detach(), predictions, rtol=1e-9, atol=1e-9)
            net.zero_grad()
            loss(net(x), y).backward()
            sgd.step()


def test_nothing_is_meta_trained():
    setup = build(*small("scratch", "glyphs"), "data.train.ways=3")
    assert setup.optimizer is None
    assert not any(p.requires_grad for p in setup.algo.parameters())


def test_gradients_may_be_enabled():
    setup = build(*small("scratch", "sinusoid"))
    setup.algo.eval()
    tasks = setup.tasks("test")
    with torch.no_grad():
        expected = setup.algo.adapt(tasks.support)
    for name, fast in setup.algo.adapt(tasks.support).items():
        assert torch.equal(fast, expected[name])


def test_the_seed_decides_the_start():
    a, b, c = (build(*small("scratch", "glyphs"), f"seed={seed}") for seed in (0, 0, 1))
    tasks = a.tasks("test")
    x, y, z = (setup.algo.eval().evaluate(tasks)["loss"] for setup in (a, b, c))
    assert torch.equal(x, y)
    assert not torch.isclose(x, z).any()
