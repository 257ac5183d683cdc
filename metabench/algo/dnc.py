"""Differentiable neural computer (Graves et al., Nature 2016). At every step, with R read heads and one write head:

    ψ = Π_r (1 - f^r w^r_{t-1}),   u_t = (u_{t-1} + w^w_{t-1} - u_{t-1} ∘ w^w_{t-1}) ∘ ψ      usage; free gates f
    a[φ_j] = (1 - u[φ_j]) Π_{i<j} u[φ_i],   φ the rows by ascending usage                   allocation
    w^w_t = g^w (g^a a + (1 - g^a) c^w),   c^w = softmax_i β cos(k, M_i)
    M_t = M_{t-1} ∘ (1 - w^w eᵀ) + w^w vᵀ
    L_t[i, j] = (1 - w^w_i - w^w_j) L_{t-1}[i, j] + w^w_i p_{t-1}[j],   L[i, i] = 0           i was written after j
    p_t = (1 - Σ w^w) p_{t-1} + w^w                                                        precedence
    w^r_t = π_1 Lᵀ w^r_{t-1} + π_2 c^r + π_3 L w^r_{t-1},   r = w^r M_t             backward, content, forward

The interface is linear in the state of an LSTM controller, which is given r_{t-1}. As in the authors' code, the usage
takes w^w for a constant (unless `usage_gradient`), strengths are softplus, and ε = 1e-6 keeps a usage from 0.

Before training the interface is that of a memory (`start=sharp`; `algo.addressing.Start` has the reason): it writes to
allocated rows, frees none and reads by content. The authors' code starts as any linear layer does: `start=null`.
"""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.addressing import OPEN, STRONG, Start, content
from metabench.algo.recurrent import Controller, Recurrent, Sizes
from metabench.backbone.base import Backbone
from metabench.tasks import TaskSpec

EPSILON = 1e-6
BY_CONTENT = 2.0  # before the softmax over the three modes of reading: 0.79 by content


class Linked(NamedTuple):
    """The state: the controller's state, what was read and where, the memory, its usage and its order in time."""

    h: Tensor  # [T, units]
    c: Tensor  # [T, units]
    read: Tensor  # [T, heads * width]
    rows: Tensor  # [T, slots, width]
    at: Tensor  # [T, heads, slots]
    usage: Tensor  # [T, slots]
    wrote: Tensor  # [T, slots]
    precedence: Tensor  # [T, slots]
    link: Tensor  # [T, slots, slots]


class Computer(Controller):
    """`heads` read heads and one write head, over `slots` rows of `width` numbers."""

    def __init__(
        self, inputs: int, *, units: int, slots: int, width: int, heads: int, usage_gradient: bool, start: Start
    ) -> None:
        super().__init__(inputs, units, heads * width)
        self.slots, self.width, self.heads, self.usage_gradient = slots, width, heads, usage_gradient
        self.reading = [width, 1, 1, 3]  # k, β, f, π of a read head
        self.writing = [width, 1, width, width, 1, 1]  # k, β, e, v, g^a, g^w
        self.interface = nn.Linear(units, heads * sum(self.reading) + sum(self.writing))
        if start == "sharp":
            self._bind()

    @torch.no_grad()
    def _bind(self) -> None:
        """Begin as a memory: writes are allocated and kept, and rows like what would be written are read."""
        sizes = [self.heads * sum(self.reading), sum(self.writing)]
        for part in self.interface.parameters():
            reading, writing = part.split(sizes)
            value = writing.split(self.writing)[3]
            reading.unflatten(0, (self.heads, -1))[:, : self.width].copy_(value)
        reading, writing = self.interface.bias.split(sizes)
        _, strength, free, mode = reading.view(self.heads, -1).split(self.reading, dim=-1)
        _, write_strength, _, _, allocate, write = writing.split(self.writing)
        gates = (free, -OPEN), (allocate, OPEN), (write, OPEN)
        for part, value in ((strength, STRONG), (write_strength, STRONG), *gates):
            part.fill_(value)
        mode.copy_(torch.tensor([0.0, BY_CONTENT, 0.0]))

    def start(self, tasks: int) -> Linked:
        """Nothing read, written or used."""
        h, c, read, usage, wrote, precedence = (
            self.full(0, tasks, size)
            for size in (self.units, self.units, self.heads * self.width, self.slots, self.slots, self.slots)
        )
        rows, at = self.full(0, tasks, self.slots, self.width), self.full(0, tasks, self.heads, self.slots)
        return Linked(h, c, read, rows, at, usage, wrote, precedence, self.full(0, tasks, self.slots, self.slots))

    def step(self, memory: Linked, given: Tensor) -> tuple[Linked, Tensor]:
        """Free, write, link, read."""
        h, c = self.control(given, memory.h, memory.c, memory.read)
        reading, writing = self.interface(h).split([self.heads * sum(self.reading), sum(self.writing)], dim=-1)
        key, strength, free, mode = reading.unflatten(-1, (self.heads, -1)).split(self.reading, dim=-1)
        write_key, write_strength, erase, value, allocate, write = writing.split(self.writing, dim=-1)

        wrote = memory.wrote if self.usage_gradient else memory.wrote.detach()
        usage = used(memory.usage, wrote, free.sigmoid(), memory.at)
        found = content(write_key.unsqueeze(1), memory.rows, F.softplus(write_strength).unsqueeze(1)).squeeze(1)
        allocate = allocate.sigmoid()
        wrote = write.sigmoid() * (allocate * allocation(usage) + (1 - allocate) * found)
        rows = memory.rows * (1 - outer(wrote, erase.sigmoid())) + outer(wrote, value)
        link = linked(memory.link, wrote, memory.precedence)
        precedence = (1 - wrote.sum(-1, keepdim=True)) * memory.precedence + wrote

        backward, by_content, forward = mode.softmax(-1).split(1, dim=-1)
        at = backward * (memory.at @ link) + forward * (memory.at @ link.mT)
        at = at + by_content * content(key, rows, F.softplus(strength))
        read = (at @ rows).flatten(1)
        return Linked(h, c, read, rows, at, usage, wrote, precedence, link), torch.cat([h, read], dim=-1)


def outer(a: Tensor, b: Tensor) -> Tensor:
    """a bᵀ: `[T, N, W]`."""
    return a.unsqueeze(-1) * b.unsqueeze(-2)


def used(usage: Tensor, wrote: Tensor, free: Tensor, at: Tensor) -> Tensor:
    """u_t `[T, N]`, from u_{t-1}, w^w_{t-1}, the free gates `[T, R, 1]` and w^r_{t-1} `[T, R, N]`."""
    kept = reduce(torch.mul, (1 - free * at).unbind(1))  # the gradient of torch.prod looks for zeros first
    return (usage + wrote - usage * wrote) * kept


def allocation(usage: Tensor) -> Tensor:
    """The allocation weighting a `[T, N]`: nearly all on the least used row, if that is free."""
    usage, order = (EPSILON + (1 - EPSILON) * usage).sort(dim=-1, stable=True)
    logs = usage.log()
    weights = (1 - usage) * (logs.cumsum(-1) - logs).exp()  # the product of all before
    return weights.gather(-1, order.argsort(-1))


def linked(link: Tensor, wrote: Tensor, precedence: Tensor) -> Tensor:
    """L_t `[T, N, N]`."""
    link = (1 - wrote.unsqueeze(-1) - wrote.unsqueeze(-2)) * link + outer(wrote, precedence)
    return link * (1 - torch.eye(link.shape[-1], dtype=link.dtype, device=link.device))


class DNC(Recurrent):
    """A recurrent network with a memory whose rows it allocates, frees and follows in the order of writing."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        usage_gradient: bool,
        start: Start,
        **sizes: Unpack[Sizes],
    ) -> None:
        super().__init__(spec, backbone, Computer, usage_gradient=usage_gradient, start=start, **sizes)
