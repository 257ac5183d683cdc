"""The neural Turing machine: its addressing against worked examples, and the copy task solved by it."""

from __future__ import annotations

import math

import pytest
import torch
from binding import learned
from copying import Copier, train

from metabench.algo.addressing import content
from metabench.algo.ntm import Tape, TuringMachine, moved, sharpened

SHIFTS = range(-1, 2)


def weights(*rows: list[float]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float64)


def test_content_addressing_is_a_softmax_of_cosines():
    rows = weights([3, 0], [0, 2], [-5, 0])  # cosines with (1, 0): 1, 0, -1
    found = content(weights([2, 0]), rows, 2.0)
    total = math.exp(2) + 1 + math.exp(-2)
    torch.testing.assert_close(
        found, weights([math.exp(2) / total, 1 / total, math.exp(-2) / total]), rtol=0, atol=1e-6
    )
    each = content(weights([2, 0], [0, 1]), rows, torch.tensor([[[0.0], [50.0]]]).double())
    torch.testing.assert_close(each, weights([1 / 3, 1 / 3, 1 / 3], [0, 1, 0]), rtol=0, atol=1e-9)


def test_an_empty_row_resembles_nothing_and_has_a_gradient():
    rows = weights([0, 0], [1e-9, 0]).requires_grad_()
    found = content(weights([1, 0]), rows, 5.0)
    torch.testing.assert_close(found, weights([0.5, 0.5]), rtol=0, atol=1e-2)
    found[..., 0].sum().backward()
    assert rows.grad.isfinite().all()


def test_shifts_go_round_the_memory():
    w = weights([1, 0, 0, 0], [0, 0, 0, 1])
    forward, back, both = weights([0, 0, 1]), weights([1, 0, 0]), weights([0.25, 0.5, 0.25])
    torch.testing.assert_close(moved(w, forward, SHIFTS), weights([0, 1, 0, 0], [1, 0, 0, 0]))
    torch.testing.assert_close(moved(w, back, SHIFTS), weights([0, 0, 0, 1], [0, 0, 1, 0]))
    torch.testing.assert_close(moved(w, both, SHIFTS), weights([0.5, 0.25, 0, 0.25], [0.25, 0, 0.25, 0.5]))


def test_shifting_is_the_paper_s_circular_convolution():
    """Σ_j w(j) s(i - j), indices modulo N (equation 8), for shifts of up to two."""
    torch.manual_seed(0)
    w, s, shifts = torch.rand(2, 3, 6).double(), torch.rand(2, 3, 5).double(), range(-2, 3)
    share = [torch.zeros(2, 3).double() for _ in range(6)]
    for place, by in enumerate(shifts):
        share[by % 6] = share[by % 6] + s[..., place]
    expected = torch.stack([sum(w[..., j] * share[(i - j) % 6] for j in range(6)) for i in range(6)], dim=-1)
    torch.testing.assert_close(moved(w, s, shifts), expected)


def test_sharpening_is_a_normalised_power():
    found = sharpened(weights([0.5, 0.25, 0.25, 0]), torch.tensor(2.0).double())
    torch.testing.assert_close(found, weights([4 / 6, 1 / 6, 1 / 6, 0]))
    torch.testing.assert_close(sharpened(weights([0.1, 0.9]), torch.tensor(1.0).double()), weights([0.1, 0.9]))


def test_no_power_is_too_large_for_a_flat_weighting():
    w = torch.full((1, 1, 128), 1 / 128).requires_grad_()
    found = sharpened(w, torch.tensor(80.0))
    torch.testing.assert_close(found, torch.full((1, 1, 128), 1 / 128))
    found[..., 0].sum().backward()
    assert w.grad.isfinite().all()


def machine(**changed: int) -> TuringMachine:
    torch.manual_seed(0)
    return TuringMachine(
        3, **{"units": 4, "slots": 5, "width": 3, "heads": 2, "shift": 1, "start": None, **changed}
    ).double()


def wish(core: TuringMachine, head: int, **values: float | list[float]) -> None:
    """Let a head always wish the same: k, β, g, s and γ, before softplus, σ, softmax and 1 + softplus."""
    rows = core.address.bias.view(core.heads + 1, -1)[head].split(core.sizes)
    for row, (name, value) in zip(rows, values.items(), strict=True):
        assert name in "kβgsγ"
        row.copy_(torch.as_tensor(value, dtype=row.dtype))


@torch.no_grad()
def test_a_head_that_only_moves_writes_row_after_row_and_one_that_stays_reads_the_first():
    core = machine(heads=1)
    core.address.weight.zero_()
    ones = {"k": [1, 1, 1], "β": 0, "g": -50}
    wish(core, 0, **ones, s=[0, 50, 0], γ=0)  # the reader stays at row 0
    wish(core, 1, **ones, s=[0, 0, 50], γ=0)  # the writer goes on
    core.change.weight.zero_()
    core.change.bias.copy_(torch.tensor([50, 50, 50, 1, 2, 3]))  # erase all, add (1, 2, 3)
    memory, features = core(torch.randn(2, 4, 3).double())
    written = torch.tensor([1.0, 2, 3]).double()
    torch.testing.assert_close(memory.rows[:, 1:], written.expand(2, 4, 3), rtol=0, atol=1e-9)  # rows 1, 2, 3, 4
    assert memory.rows[:, 0].abs().max() < 1e-5
    assert features[..., 4:].abs().max() < 1e-5
    again, features = core(torch.randn(2, 1, 3).double(), memory)
    torch.testing.assert_close(again.rows[:, 0], written.expand(2, 3), rtol=0, atol=1e-9)  # round to row 0, then read
    torch.testing.assert_close(features[:, 0, 4:], written.expand(2, 3), rtol=0, atol=1e-9)


@torch.no_grad()
def test_erasing_and_adding_are_weighted():
    core = machine(heads=1)
    for layer in (core.address, core.change):
        layer.weight.zero_()
    wish(core, 0, k=[1, 1, 1], β=0, g=-50, s=[0, 50, 0], γ=0)
    wish(core, 1, k=[1, 1, 1], β=0, g=-50, s=[0, math.log(3), 0], γ=-50)  # w = (1/5 · 3, 1/5, 0, 0, 1/5)
    core.change.bias.copy_(torch.tensor([0, 0, 0, 1, 2, 3]))  # e = 1/2
    start = core.start(1)._replace(rows=torch.ones(1, 5, 3).double())
    memory, _ = core.step(start, torch.zeros(1, 16).double())
    w = weights([0.6, 0.2, 0, 0, 0.2])[0].mT
    expected = 1 - 0.5 * w + w * torch.tensor([1.0, 2, 3]).double()
    torch.testing.assert_close(memory.rows[0], expected, rtol=0, atol=1e-9)
    assert isinstance(memory, Tape)


def written_and_read(core: TuringMachine, steps: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """The share of step t's write that is on row t, and that of reads on the row like their key, `[3, steps]` each.

    Inputs are random; rows are orthogonal, and each head reads from row 0 where it is asked for row 5.
    """
    memory, wrote, read = core.start(3), [], []
    rows, at = torch.eye(16).double().expand(3, -1, -1), memory.at[:, :-1]
    for given in core.given(torch.randn(3, steps, 3).double()).unbind(1):
        memory, _ = core.step(memory, given)
        wrote.append(memory.at[:, -1])
        wishes = core.address(memory.h).unflatten(-1, (core.heads + 1, -1))[:, :-1]
        wishes[..., :16] = rows[0, 5]
        read.append(core.find(rows, wishes, at)[..., 5].amin(-1))
    return torch.stack(wrote, dim=1)[..., 1 : steps + 1].diagonal(dim1=1, dim2=2), torch.stack(read, dim=1)


@torch.no_grad()
def test_before_training_it_writes_row_after_row_and_reads_the_row_like_its_key():
    wrote, read = written_and_read(machine(units=32, slots=16, width=16, start="sharp"))
    assert wrote.min() > 0.9
    assert read.min() > 0.9


@torch.no_grad()
def test_a_sharp_start_asks_for_rows_like_what_it_writes():
    core = machine(start="sharp")
    h = torch.randn(7, 4).double()
    keys = core.address(h).unflatten(-1, (3, -1))[..., :3]
    add = core.change(h)[:, 3:].unsqueeze(1)
    torch.testing.assert_close(keys[:, :2], add.expand(-1, 2, -1))  # of the readers
    assert not torch.allclose(keys[:, 2:], add)


@torch.no_grad()
def test_a_plain_start_spreads_writes_and_reads():
    wrote, read = written_and_read(machine(units=32, slots=16, width=16))
    assert wrote[:, -1].max() < 0.3
    assert read.max() < 0.3


@pytest.mark.parametrize(("shift", "stay", "on"), [(0, 0, 0), (1, 1, 2), (2, 2, 3)])
def test_a_sharp_start_moves_the_writer_by_one_row_or_as_far_as_heads_go(shift, stay, on):
    core = machine(shift=shift, start="sharp")
    heads = core.address.bias.view(3, -1)
    shifts = heads[..., core.sizes[0] + 2 : -1]
    assert shifts.argmax(-1).tolist() == [stay, stay, on]


@pytest.mark.slow
def test_it_learns_to_bind():
    assert learned("ntm", 600) > 0.15


def test_its_gradient_agrees_with_finite_differences():
    core, z = machine(), torch.randn(2, 4, 3).double().requires_grad_()

    def features(z, *parameters):
        return torch.func.functional_call(core, dict(zip(names, parameters, strict=True)), (z,))[1]

    names, parameters = zip(*core.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(features, (z, *parameters), fast_mode=True)


@pytest.mark.slow
def test_it_solves_the_copy_task():
    torch.manual_seed(0)
    copier = Copier(TuringMachine(4, units=24, slots=6, width=6, heads=1, shift=1, start="sharp"), bits=3)
    train(copier, 480, 2, lr=2e-2, batch=8)
    assert copier.errors(200, 2) < 0.02
