"""Neural Turing machine (Graves, Wayne, Danihelka 2014, arXiv 1410.5401).

Every head has a weighting w_t over the N rows of a memory M, made of the one before (equations 5 to 9):

    w^c = softmax_i β cos(k, M_i)          by content
    w^g = g w^c + (1 - g) w_{t-1}          or from where the head was
    w̃(i) = Σ_j w^g(j) s(i - j)             moved by a distribution s over shifts, in a circle
    w_t = w̃^γ / Σ w̃^γ                      sharpened, γ ≥ 1

    M_i ← M_i (1 - w_i e) + w_i a          write: erase e, add a
    r = Σ_i w_i M_i                        read, after the write

Keys, strengths, gates, shifts, e and a are linear in the state of an LSTM controller, which is given r_{t-1}. Heads
begin at row 0 of a memory that is nearly empty: from equal weightings no shift could ever move them apart.

Before training the interface is that of a memory (`start=sharp`; `algo.addressing.Start` has the reason): the writer
goes on by one row per step and readers go by content. The paper does not say how it starts its own; `start=null` leaves
it as drawn.
"""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.addressing import EMPTY, OPEN, STRONG, Start, content
from metabench.algo.recurrent import Controller, Recurrent, Sizes
from metabench.backbone.base import Backbone
from metabench.config.types import Whole
from metabench.tasks import TaskSpec

MOVING = 4.0  # before the softmax over three shifts: 0.96 of one of them


class Tape(NamedTuple):
    """The state: the controller's state, what was read, the memory and the heads' weightings (the writer's last)."""

    h: Tensor  # [T, units]
    c: Tensor  # [T, units]
    read: Tensor  # [T, heads * width]
    rows: Tensor  # [T, slots, width]
    at: Tensor  # [T, heads + 1, slots]


class TuringMachine(Controller):
    """`heads` read heads and one write head, over `slots` rows of `width` numbers; shifts of -`shift` to `shift`."""

    def __init__(
        self, inputs: int, *, units: int, slots: int, width: int, heads: int, shift: int, start: Start
    ) -> None:
        super().__init__(inputs, units, heads * width)
        self.slots, self.width, self.heads = slots, width, heads
        self.shifts = range(-shift, shift + 1)
        self.sizes = [width, 1, 1, len(self.shifts), 1]  # k, β, g, s, γ of a head
        self.address = nn.Linear(units, (heads + 1) * sum(self.sizes))
        self.change = nn.Linear(units, 2 * width)  # e, a
        if start == "sharp":
            self._bind()

    @torch.no_grad()
    def _bind(self) -> None:
        """Begin as a memory: row after row is written, and rows like what would be written are read."""
        for ours, written in zip(self.address.parameters(), self.change.parameters(), strict=True):
            keys = ours.unflatten(0, (self.heads + 1, -1))[:-1, : self.width]  # of the readers
            keys.copy_(written[self.width :])
        heads = self.address.bias.view(self.heads + 1, -1)
        _, strength, gate, shift, _ = heads[:-1].split(self.sizes, dim=-1)  # of the readers
        for part, value in ((strength, STRONG), (gate, OPEN), (shift, self._towards(0))):
            part.copy_(torch.as_tensor(value))
        _, _, gate, shift, power = heads[-1].split(self.sizes)  # of the writer
        for part, value in ((gate, -OPEN), (shift, self._towards(1)), (power, OPEN)):
            part.copy_(torch.as_tensor(value))

    def _towards(self, rows: int) -> Tensor:
        """A shift before its softmax that is nearly all by `rows`, or as far as heads move."""
        return torch.tensor([MOVING if by == min(rows, self.shifts[-1]) else 0.0 for by in self.shifts])

    def start(self, tasks: int) -> Tape:
        """Every head at row 0."""
        h, c, read = (self.full(0, tasks, size) for size in (self.units, self.units, self.heads * self.width))
        first = F.pad(self.full(1, tasks, self.heads + 1, 1), (0, self.slots - 1))
        return Tape(h, c, read, self.full(EMPTY, tasks, self.slots, self.width), first)

    def step(self, memory: Tape, given: Tensor) -> tuple[Tape, Tensor]:
        """Write, then read."""
        h, c = self.control(given, memory.h, memory.c, memory.read)
        wishes = self.address(h).unflatten(-1, (self.heads + 1, -1))
        erase, add = self.change(h).unsqueeze(1).chunk(2, dim=-1)
        writer = self.find(memory.rows, wishes[:, -1:], memory.at[:, -1:])
        rows = memory.rows * (1 - writer.mT * erase.sigmoid()) + writer.mT * add
        readers = self.find(rows, wishes[:, :-1], memory.at[:, :-1])
        read = (readers @ rows).flatten(1)
        return Tape(h, c, read, rows, torch.cat([readers, writer], dim=1)), torch.cat([h, read], dim=-1)

    def find(self, rows: Tensor, wish: Tensor, before: Tensor) -> Tensor:
        """Weightings `[T, H, slots]` of heads that were at `before`, from what the controller wishes of each."""
        key, strength, gate, shift, power = wish.split(self.sizes, dim=-1)
        gate = gate.sigmoid()
        w = gate * content(key, rows, F.softplus(strength)) + (1 - gate) * before
        return sharpened(moved(w, shift.softmax(-1), self.shifts), 1 + F.softplus(power))


def moved(w: Tensor, share: Tensor, shifts: range) -> Tensor:
    """Σ_j w(j) s(i - j) of weightings `[..., N]`, s the `share [..., S]` of each shift; row N - 1 is before row 0."""
    return torch.stack([w.roll(by, dims=-1) for by in shifts], dim=-1).mul(share.unsqueeze(-2)).sum(-1)


def sharpened(w: Tensor, power: Tensor) -> Tensor:
    """w^γ / Σ w^γ, over the last dimension; no γ is so large that nothing is left."""
    w = (w / w.amax(-1, keepdim=True).detach()).pow(power)
    return w / w.sum(-1, keepdim=True)


class NTM(Recurrent):
    """A recurrent network with a memory that is addressed by content and by location."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        shift: Whole,
        start: Start,
        **sizes: Unpack[Sizes],
    ) -> None:
        super().__init__(spec, backbone, TuringMachine, shift=shift, start=start, **sizes)
