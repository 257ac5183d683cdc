"""The differentiable neural computer: allocation, free gates and temporal links against worked examples and loops."""

from __future__ import annotations

import pytest
import torch
from binding import learned
from copying import Copier, train

from metabench.algo.dnc import Computer, Linked, allocation, linked, used


def tensor(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance)  # 1e-6 is added to a usage


def computer(**changed: object) -> Computer:
    torch.manual_seed(0)
    sizes = {"units": 4, "slots": 5, "width": 3, "heads": 2, "usage_gradient": True, "start": None}
    return Computer(3, **{**sizes, **changed}).double()


def test_allocation_goes_to_the_least_used_row_then_to_the_next():
    close(allocation(tensor([0.5, 0.25, 1.0])), tensor([0.5 * 0.25, 0.75, 0.0]))
    close(allocation(tensor([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])), tensor([1.0, 0.0, 0.0], [0.0, 0.0, 0.0]))


def test_allocation_is_the_paper_s_formula_row_by_row():
    torch.manual_seed(0)
    usage = torch.rand(4, 6).double()
    for found, u in zip(allocation(usage), usage.tolist(), strict=True):
        product = 1.0
        for row in sorted(range(6), key=u.__getitem__):
            close(found[row], tensor((1 - u[row]) * product)[0])
            product *= u[row]
        assert found.sum() <= 1


def test_usage_grows_by_writing_and_is_freed_by_reading():
    usage, wrote = tensor([0.5, 0.0, 0.2]), tensor([0.4, 1.0, 0.0])
    at = tensor([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])
    kept = used(usage, wrote, tensor([[0.0], [0.0]]), at)
    close(kept, tensor([0.5 + 0.4 - 0.2, 1.0, 0.2]))  # no gate is open
    freed = used(usage, wrote, tensor([[1.0], [0.25]]), at)
    close(freed, tensor([0.7 * 0.5, 0.75, 0.2 * 0.5]))


def test_links_lead_forward_and_back_in_the_order_of_writing():
    link, precedence = torch.zeros(1, 4, 4).double(), torch.zeros(1, 4).double()
    order = [2, 0, 3]
    for row in order:
        wrote = torch.eye(4).double()[row : row + 1]
        link = linked(link, wrote, precedence)
        precedence = (1 - wrote.sum(-1, keepdim=True)) * precedence + wrote
    expected = torch.zeros(4, 4).double()
    expected[0, 2] = expected[3, 0] = 1
    torch.testing.assert_close(link[0], expected)
    at = torch.eye(4).double()[0]
    torch.testing.assert_close(at @ link[0].mT, torch.eye(4).double()[3])  # what was written after row 0
    torch.testing.assert_close(at @ link[0], torch.eye(4).double()[2])  # and before


def test_links_are_the_paper_s_formula_row_by_row():
    torch.manual_seed(0)
    link, precedence = torch.zeros(2, 4, 4).double(), torch.zeros(2, 4).double()
    for _ in range(5):
        wrote = torch.rand(2, 5).double().softmax(-1)[:, :4]
        found = linked(link, wrote, precedence)
        for t in range(2):
            w, p = wrote[t].tolist(), precedence[t].tolist()
            for i in range(4):
                for j in range(4):
                    value = (1 - w[i] - w[j]) * link[t, i, j].item() + w[i] * p[j]
                    close(found[t, i, j], tensor(0.0 if i == j else value)[0], 1e-12)
        link, precedence = found, (1 - wrote.sum(-1, keepdim=True)) * precedence + wrote
        assert link.sum(-1).max() <= 1
        assert link.sum(-2).max() <= 1


def set_interface(net: Computer, **values: float | list[float]) -> None:
    """Let the controller always wish the same; of read heads all the same."""
    net.interface.weight.zero_()
    reading, writing = net.interface.bias.split([net.heads * sum(net.reading), sum(net.writing)])
    parts = dict(
        zip(("key", "strength", "free", "mode"), reading.view(net.heads, -1).split(net.reading, -1), strict=True)
    )
    names = ("write_key", "write_strength", "erase", "value", "allocate", "write")
    parts |= dict(zip(names, writing.split(net.writing), strict=True))
    for name, value in values.items():
        parts[name].copy_(torch.as_tensor(value, dtype=torch.float64))


@torch.no_grad()
def test_allocating_writes_go_to_free_rows_and_forward_reads_follow_them():
    net = computer(heads=1)
    set_interface(
        net, value=[1, 2, 3], erase=50, allocate=50, write=50, free=-50, mode=[0, 50, 0], key=[1, 2, 3], strength=-50
    )
    memory, order, one = net.start(1), [], torch.eye(5).double()
    for _ in range(5):
        memory, _ = net.step(memory, torch.zeros(1, 16).double())
        order.append(int(memory.wrote[0].argmax()))
        close(memory.wrote[0], one[order[-1]], 1e-4)
    assert sorted(order) == [0, 1, 2, 3, 4]
    close(memory.rows[0], tensor([1.0, 2, 3]).expand(5, 3), 1e-3)
    memory = memory._replace(at=one[order[0]].view(1, 1, 5))
    for mode, rows in (([-50, -50, 50], order[1:]), ([50, -50, -50], order[-2::-1])):  # forward, then back
        set_interface(net, write=-50, free=-50, mode=mode)
        for row in rows:
            memory, _ = net.step(memory, torch.zeros(1, 16).double())
            close(memory.at[0, 0], one[row], 1e-3)


@torch.no_grad()
def test_a_row_that_was_read_and_freed_is_allocated_again():
    net = computer(heads=1)
    full = torch.ones(1, 5).double()
    at = torch.eye(5).double()[3].view(1, 1, 5)
    for free, row in ((50, 3), (-50, None)):
        set_interface(net, value=[1, 2, 3], erase=50, allocate=50, write=50, free=free)
        memory, _ = net.step(net.start(1)._replace(usage=full, at=at), torch.zeros(1, 16).double())
        expected = torch.zeros(5).double() if row is None else torch.eye(5).double()[row]
        close(memory.wrote[0], expected)


def written(net: Computer, steps: int = 9) -> tuple[Linked, torch.Tensor]:
    """The memory after random inputs of three tasks, and where each step wrote, `[3, steps, slots]`."""
    memory, wrote = net.start(3), []
    for given in net.given(torch.randn(3, steps, 3).double()).unbind(1):
        memory, _ = net.step(memory, given)
        wrote.append(memory.wrote)
    return memory, torch.stack(wrote, dim=1)


def read(net: Computer, row: int) -> torch.Tensor:
    """The share of the first head's read `[3]` that is of the `row` like its key, among rows that are orthogonal."""
    net.interface.weight[: net.width] = 0
    net.interface.bias[: net.width] = torch.eye(16).double()[row]
    memory = net.start(3)._replace(rows=10 * torch.eye(16).double().expand(3, -1, -1))
    return net.step(memory, net.given(torch.randn(3, 3).double()))[0].at[:, 0, row]


@torch.no_grad()
def test_before_training_it_writes_free_rows_keeps_them_and_reads_the_row_like_its_key():
    net = computer(units=32, slots=16, width=16, start="sharp")
    memory, wrote = written(net)
    assert wrote.amax(-1).min() > 0.8  # of σ(3)² = 0.91
    assert all(len({*rows}) == 9 for rows in wrote.argmax(-1).tolist())
    assert memory.usage.topk(8).values.min() > 0.7  # the last write is not in it yet
    assert read(net, 5).min() > 0.7  # content is 0.79 of the three modes


@torch.no_grad()
def test_a_sharp_start_asks_for_rows_like_what_it_writes():
    net = computer(start="sharp")
    reading, writing = net.interface(torch.randn(7, 4).double()).split([2 * sum(net.reading), sum(net.writing)], dim=-1)
    keys, value = reading.unflatten(-1, (2, -1))[..., :3], writing.split(net.writing, dim=-1)[3]
    torch.testing.assert_close(keys, value.unsqueeze(1).expand(-1, 2, -1))


@torch.no_grad()
def test_a_plain_start_writes_a_quarter_and_reads_nearly_the_mean():
    net = computer(units=32, slots=16, width=16)
    assert written(net)[1][:, 0].amax(-1).max() < 0.35
    assert read(net, 5).max() < 0.1


@pytest.mark.slow
def test_it_learns_to_bind():
    assert learned("dnc", 600) > 0.15


@pytest.mark.slow
def test_it_binds_where_a_plain_start_still_counts():
    assert learned("dnc", 200) > 0.08
    assert learned("dnc", 200, start=None) < 0.04


def test_its_gradient_agrees_with_finite_differences():
    net, z = computer(), torch.randn(2, 4, 3).double().requires_grad_()
    names, parameters = zip(*net.named_parameters(), strict=True)

    def features(z, *parameters):
        return torch.func.functional_call(net, dict(zip(names, parameters, strict=True)), (z,))[1]

    assert torch.autograd.gradcheck(features, (z, *parameters), fast_mode=True)


def test_usage_takes_writing_for_a_constant_unless_told_otherwise():
    for wanted in (True, False):
        net = computer(usage_gradient=wanted)
        wrote = torch.full((1, 5), 0.1).double().requires_grad_()
        memory, _ = net.step(net.start(1)._replace(wrote=wrote), torch.zeros(1, 16).double())
        assert memory.usage.requires_grad
        (found,) = torch.autograd.grad(memory.usage.sum(), wrote, allow_unused=True)
        assert (found is not None) == wanted


@pytest.mark.slow
def test_it_learns_to_copy():
    torch.manual_seed(0)
    copier = Copier(Computer(4, units=24, slots=6, width=6, heads=1, usage_gradient=False, start="sharp"), bits=3)
    train(copier, 480, 2, lr=2e-2, batch=8)
    assert copier.errors(200, 2) < 0.02
