"""The plain LSTM is torch's own."""

from __future__ import annotations

import pytest
import torch
from binding import learned
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from metabench.algo.lstm import PlainCore
from metabench.algo.recurrent import Controller


@pytest.mark.parametrize("read", [PlainCore.__call__, Controller.forward], ids=["fused", "step by step"])
def test_the_controller_is_torchs_lstm(read):
    torch.manual_seed(0)
    core, torchs = PlainCore(3, units=5).double(), nn.LSTM(3, 5, batch_first=True).double()
    z = torch.randn(4, 7, 3).double()
    forget = torch.zeros(20).double()
    forget[5:10] = 1
    with torch.no_grad():
        torchs.weight_ih_l0.copy_(core.given.weight)
        torchs.weight_hh_l0.copy_(core.kept.weight)
        torchs.bias_ih_l0.copy_(core.given.bias + forget)
        torchs.bias_hh_l0.zero_()
    (h, c), found = read(core, z)
    expected, (last_h, last_c) = torchs(z)
    for a, b in ((found, expected), (h, last_h[0]), (c, last_c[0])):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    found.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(core.kept.weight.grad, torchs.weight_hh_l0.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(core.given.bias.grad, torchs.bias_ih_l0.grad, rtol=1e-10, atol=1e-10)


def test_a_sequence_is_one_call_and_the_count_of_work_sees_its_steps(monkeypatch):
    core, z = PlainCore(3, units=5), torch.randn(2, 6, 3)
    steps = []
    monkeypatch.setattr(core, "step", lambda *given: steps.append(1) or PlainCore.step(core, *given))
    core(z)
    assert not steps
    with FlopCounterMode(display=False):
        core(z)
    assert len(steps) == 6


def test_reading_in_two_parts_is_reading_at_once():
    core, z = PlainCore(3, units=5), torch.randn(2, 6, 3)
    whole = core(z)[1]
    memory, first = core(z[:, :4])
    torch.testing.assert_close(torch.cat([first, core(z[:, 4:], memory)[1]], dim=1), whole)


@pytest.mark.slow
def test_it_learns_to_bind():
    assert learned("lstm", 600) > 0.15
