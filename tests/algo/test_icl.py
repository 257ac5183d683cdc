"""The in-context learner: causal, the same whether read at once or step by step, and it learns to bind."""

from __future__ import annotations

import pytest
import torch
from build import build, small

from metabench.algo.icl import CausalTransformer, positions
from metabench.tasks import Examples

SIZES = {"size": 8, "layers": 2, "heads": 2, "hidden": 12}


def core() -> CausalTransformer:
    torch.manual_seed(0)
    return CausalTransformer(3, **SIZES).double()


def test_a_step_depends_on_the_steps_before_it_alone():
    z = torch.randn(2, 6, 3).double().requires_grad_()
    _, features = core()(z)
    (features[:, 3] * torch.randn(8).double()).sum().backward()
    assert z.grad is not None
    assert z.grad[:, :4].abs().amin(0).amax(-1).gt(0).all()
    assert not z.grad[:, 4:].any()


@pytest.mark.parametrize("first", [1, 3, 5])
def test_a_sequence_may_be_read_in_parts(first):
    network, z = core(), torch.randn(2, 6, 3).double()
    seen, whole = network(z)
    memory, early = network(z[:, :first])
    then, late = network(z[:, first:], memory)
    torch.testing.assert_close(torch.cat([early, late], dim=1), whole, rtol=1e-12, atol=1e-12)
    for found, expected in zip(then, seen, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_positions_turn_by_a_fixed_angle_a_step():
    found = positions(torch.arange(50), 6).double()
    assert found.shape == (50, 6)
    products = (found[1:] * found[:-1]).sum(-1)
    torch.testing.assert_close(products, products[:1].expand(49), rtol=1e-5, atol=1e-5)


def test_a_query_is_the_step_after_the_support_set():
    setup = build(*small("icl", "glyphs"), dtype=torch.float64)
    algo = setup.algo.eval()
    (x, y), query = setup.tasks("test")[:2]
    with torch.no_grad():
        found = algo.solve(Examples(x, y), query.x)
        z = algo.backbone(torch.cat([x, query.x], dim=1))
        labels = algo._labels(y, z)
        for m in range(query.x.shape[1]):
            sequence = torch.cat([z[:, : x.shape[1]], z[:, x.shape[1] + m, None]], dim=1)
            before = torch.cat([torch.zeros_like(labels[:, :1]), labels], dim=1)
            _, features = algo.core(torch.cat([sequence, before], dim=-1))
            torch.testing.assert_close(found[:, m], algo.readout(features[:, -1]), rtol=1e-9, atol=1e-9)
