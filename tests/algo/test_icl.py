"""The in-context learner: causal, the same whether read at once or step by step, and it learns to bind."""

from __future__ import annotations

import pytest
import torch

from metabench.algo.icl import CausalTransformer, positions

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
