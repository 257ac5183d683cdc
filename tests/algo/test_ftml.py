"""Follow the meta leader: its meta-step is the gradient of Σ f_k(U_k(w)) over tasks that have come."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from references import LOSS, Plain, each
from torch.func import functional_call, grad

NORM = {"sinusoid_online": (), "glyphs_online": ("backbone.norm=none",)}


@pytest.mark.parametrize("data", NORM)
def test_the_meta_gradient_is_that_of_the_losses_after_the_update_procedure(data):
    """By torch.func on torch's own modules, one task after another."""
    setup = build(*small("ftml", data), "algo.inner_lr=0.05", *NORM[data], dtype=torch.float64)
    tasks, loss = setup.tasks(), LOSS[setup.source.spec.objective]
    net = Plain(setup.algo.network)
    weights = dict(net.named_parameters())

    def after(w, x, y, query_x, query_y):
        for _ in range(setup.algo.inner_steps):
            slope = grad(lambda w: loss(functional_call(net, w, (x,)), y))(w)
            w = {name: value - 0.05 * slope[name] for name, value in w.items()}
        return loss(functional_call(net, w, (query_x,)), query_y)

    found = [grad(after)(weights, *task) for task in each(tasks)]
    value, _ = setup.algo(tasks)
    value.backward()
    mine = [p.grad for p in setup.algo.network.parameters()]
    theirs = [sum(one[name] for one in found) / len(found) for name in weights]
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b.reshape(a.shape), rtol=1e-9, atol=1e-12)
