"""Memory-augmented neural network with least-recently-used access (Santoro, Bartunov, Botvinick, Wierstra, Lillicrap,
ICML 2016, arXiv 1605.06065). Each of n heads, at every step:

    w^w_t = σ(α) w^r_{t-1} + (1 - σ(α)) w^lu_{t-1}    write where it last read, or to a least used row
    M_t = M_{t-1} + Σ w^w_t a_tᵀ                      the least used row having been set to zero
    w^r_t = softmax s cos(k_t, M_t),   r_t = w^r_t M_t
    w^u_t = γ w^u_{t-1} + Σ w^r_t + Σ w^w_t           usage; w^lu_t marks the n least used rows, one a head

k_t, a_t (through tanh) and α are linear in the state of an LSTM controller, which is given r_{t-1}. The paper writes
the key itself; public code that reproduces it writes a vector of its own, a_t, and so does this: it learns sooner. A
raw cosine (s = 1) reads nearly the mean of all rows; hence `scale`.
"""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.addressing import EMPTY, OPEN, Start, content
from metabench.algo.recurrent import Controller, Recurrent, Sizes
from metabench.backbone.base import Backbone
from metabench.config.types import Positive, Share
from metabench.errors import ConfigError
from metabench.objective import one_hot
from metabench.tasks import TaskSpec


class Rows(NamedTuple):
    """The state: the controller's state, what was read and where, the memory and its usage."""

    h: Tensor  # [T, units]
    c: Tensor  # [T, units]
    read: Tensor  # [T, heads * width]
    rows: Tensor  # [T, slots, width]
    at: Tensor  # [T, heads, slots]
    usage: Tensor  # [T, slots]


class LeastRecentlyUsed(Controller):
    """`heads` heads that read and write, over `slots` rows of `width` numbers."""

    def __init__(
        self, inputs: int, *, units: int, slots: int, width: int, heads: int, decay: float, scale: float, start: Start
    ) -> None:
        super().__init__(inputs, units, heads * width)
        if heads > slots:
            raise ConfigError("algo.heads", heads, f"at most {slots}, the slots: each head has a least used one")
        self.slots, self.width, self.heads, self.decay, self.scale = slots, width, heads, decay, scale
        self.interface = nn.Linear(units, heads * (2 * width + 1))  # k, a, α of each head
        if start == "sharp":
            self._bind()

    @torch.no_grad()
    def _bind(self) -> None:
        """Begin as a memory: least used rows are written, and rows like what would be written are read."""
        for part in self.interface.parameters():
            key, add, _ = part.unflatten(0, (self.heads, -1)).split([self.width, self.width, 1], dim=1)
            key.copy_(add)
        self.interface.bias.view(self.heads, -1)[:, -1] = -OPEN

    def start(self, tasks: int) -> Rows:
        """Every head at row 0, and nothing used."""
        h, c, read = (self.full(0, tasks, size) for size in (self.units, self.units, self.heads * self.width))
        first = F.pad(self.full(1, tasks, self.heads, 1), (0, self.slots - 1))
        return Rows(h, c, read, self.full(EMPTY, tasks, self.slots, self.width), first, self.full(0, tasks, self.slots))

    def step(self, memory: Rows, given: Tensor) -> tuple[Rows, Tensor]:
        """Write, then read."""
        h, c = self.control(given, memory.h, memory.c, memory.read)
        wishes = self.interface(h).unflatten(-1, (self.heads, -1))
        key, add, gate = wishes.split([self.width, self.width, 1], dim=-1)
        rows, wrote = write(memory, add.tanh(), gate.sigmoid())
        at = content(key.tanh(), rows, self.scale)
        read = (at @ rows).flatten(1)
        usage = self.decay * memory.usage + at.sum(1) + wrote.sum(1)
        return Rows(h, c, read, rows, at, usage), torch.cat([h, read], dim=-1)


def write(memory: Rows, add: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """The rows after `add [T, H, W]` was written by heads with σ(α) `gate [T, H, 1]`, and w^w `[T, H, slots]`."""
    heads, slots = memory.at.shape[1:]
    least = one_hot(memory.usage.argsort(dim=1, stable=True)[:, :heads], slots, add.dtype)
    wrote = gate * memory.at + (1 - gate) * least
    return memory.rows * (1 - least[:, :1].mT) + wrote.mT @ add, wrote


class MANN(Recurrent):
    """A recurrent network with a memory that is written to where it is needed least."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        decay: Share,
        scale: Positive,
        start: Start,
        **sizes: Unpack[Sizes],
    ) -> None:
        super().__init__(spec, backbone, LeastRecentlyUsed, decay=decay, scale=scale, start=start, **sizes)
