"""MANN: least recently used access against worked examples."""

from __future__ import annotations

import pytest
import torch
from binding import learned

from metabench.algo.mann import LeastRecentlyUsed, Rows, write
from metabench.errors import ConfigError


def core(**changed: float) -> LeastRecentlyUsed:
    torch.manual_seed(0)
    sizes = {"units": 4, "slots": 5, "width": 3, "heads": 2, "decay": 0.9, "scale": 2.0, "start": None}
    return LeastRecentlyUsed(3, **{**sizes, **changed}).double()


def memory(usage: list[float], at: list[list[float]], rows: list[list[float]]) -> Rows:
    usage, at, rows = (torch.tensor([part], dtype=torch.float64) for part in (usage, at, rows))
    return Rows(*(torch.zeros(1, 1).double() for _ in range(3)), rows, at, usage)


def test_one_head_writes_to_where_it_read_and_to_the_least_used_row():
    before = memory([3, 1, 2], [[0, 0, 1]], [[1, 1], [7, 7], [2, 2]])
    add, gate = torch.tensor([[[10.0, 20.0]]]).double(), torch.tensor([[[0.25]]]).double()
    rows, wrote = write(before, add, gate)
    torch.testing.assert_close(wrote, torch.tensor([[[0, 0.75, 0.25]]]).double())
    expected = torch.tensor([[[1, 1], [7.5, 15], [4.5, 7]]]).double()  # the least used row was emptied first
    torch.testing.assert_close(rows, expected)


def test_two_heads_write_to_two_least_used_rows_of_which_the_first_is_emptied():
    before = memory([3, 1, 2], [[1, 0, 0], [0.5, 0.5, 0]], [[1], [7], [2]])
    add, gate = torch.tensor([[[10.0], [100.0]]]).double(), torch.tensor([[[0.0], [0.5]]]).double()
    rows, wrote = write(before, add, gate)
    torch.testing.assert_close(wrote, torch.tensor([[[0, 1, 0], [0.25, 0.25, 0.5]]]).double())
    torch.testing.assert_close(rows, torch.tensor([[[1 + 25], [10 + 25], [2 + 50]]]).double())


def test_usage_decays_and_grows_by_what_is_read_and_written():
    net = core()
    start = net.start(2)._replace(usage=torch.rand(2, 5).double())
    with torch.no_grad():
        after, _ = net.step(start, torch.randn(2, 16).double())
    added = after.usage - 0.9 * start.usage
    torch.testing.assert_close(added.sum(1), torch.full((2,), 4.0).double())  # two heads that read and write
    wrote = added - after.at.sum(1)
    assert (wrote > -1e-12).all()
    assert (wrote > 0.01).sum(1).max() <= 3  # row 0, where both were, and two least used ones


def test_what_is_read_is_kept_and_what_is_not_is_written_over():
    state = memory([0, 0, 0], [[1, 0, 0]], [[0], [0], [0]])
    gate, order = torch.zeros(1, 1, 1).double(), []  # never where it last read
    at = torch.eye(3).double()[0].view(1, 1, 3)  # row 0 is read at every step
    for _ in range(6):
        rows, wrote = write(state, torch.ones(1, 1, 1).double(), gate)
        order.append(wrote[0, 0].argmax().item())
        state = state._replace(rows=rows, at=at, usage=0.9 * state.usage + at.sum(1) + wrote.sum(1))
    assert order == [0, 1, 2, 1, 2, 1]


@torch.no_grad()
def test_reading_is_by_content_alone():
    """A key that is one of the rows reads that row, wherever it lies."""
    net = core(scale=2000.0, heads=1)
    net.interface.weight.zero_()
    wanted = torch.tensor([0.5, -0.2, 0.1]).double()
    net.interface.bias[:3] = wanted.atanh()
    net.interface.bias[3:6] = 0  # adds nothing
    net.interface.bias[6] = -50
    torch.manual_seed(1)
    rows = torch.randn(5, 5, 3).double()
    for place in range(1, 5):
        rows[place, place] = 2 * wanted
    state = net.start(5)._replace(rows=rows)  # whose row 0 is emptied, being least used
    _, features = net.step(state, torch.zeros(5, 16).double())
    torch.testing.assert_close(features[1:, 4:], 2 * wanted.expand(4, 3), rtol=0, atol=1e-3)


def test_its_gradient_agrees_with_finite_differences():
    net, z = core(), torch.randn(2, 4, 3).double().requires_grad_()
    names, parameters = zip(*net.named_parameters(), strict=True)

    def features(z, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (z,))[1]

    assert torch.autograd.gradcheck(features, (z, *parameters), fast_mode=True)


def test_there_are_no_more_heads_than_rows():
    with pytest.raises(ConfigError, match=r"algo.heads=6: at most 5"):
        core(heads=6)


@torch.no_grad()
def test_before_training_it_writes_least_used_rows_and_reads_what_is_like_its_key():
    """Of each step's write to random inputs 0.95 is on a row that nothing was written to; from a plain start a half."""
    for start, sharp in (("sharp", True), (None, False)):
        net, shares = core(units=32, slots=16, width=12, heads=1, scale=10.0, start=start), []
        memory = net.start(3)
        for given in net.given(torch.randn(3, 9, 3).double()).unbind(1):
            before, (memory, _) = memory, net.step(memory, given)
            wrote = memory.usage - 0.9 * before.usage - memory.at.sum(1)
            shares.append((wrote * (before.rows.abs().amax(-1) < 1e-3)).sum(-1))
        assert (torch.stack(shares).min() > 0.9) == sharp
        keys, adds = net.interface(torch.randn(5, 32).double()).split([12, 12, 1], dim=-1)[:2]
        assert torch.equal(keys, adds) == sharp


@pytest.mark.slow
def test_it_learns_to_bind():
    assert learned("mann", 600) > 0.15
