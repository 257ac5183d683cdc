"""Set encoders: the members of a set to one vector, with one of three aggregators.

    mean        ρ(mean_i e_i)                                          Deep Sets (Zaheer et al. 2017, arXiv 1703.06114)
    attention   ρ([Σ_i softmax_i(q_h · k(e_i) / √d) v(e_i)]_h)         pooling by learned seeds q_h (Lee et al. 2019,
                                                                       Set Transformer, arXiv 1810.00825)
    gru         ρ(last state of a GRU over the e_i)                    Cho et al. 2014, arXiv 1406.1078

with e_i = φ(example i), and φ and ρ two-layer perceptrons. The first two are permutation-invariant. Sets are given as
masks over the examples of a task, so that they may differ in size; one without members is ρ(0), or ρ of a GRU's start.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Aggregator = Literal["mean", "attention", "gru"]
SEEDS = 4


class SetEncoder(nn.Module):
    """Sets of examples of `inputs` numbers to vectors of `outputs`, through elements of `size` channels."""

    def __init__(self, inputs: int, size: int, outputs: int, aggregator: Aggregator) -> None:
        super().__init__()
        self.element = _perceptron(inputs, size, size)
        kinds = {"mean": lambda _: Mean(), "attention": AttentionPooling, "gru": LastState}
        self.aggregate = kinds[aggregator](size)
        self.vector = _perceptron(size, size, outputs)

    def forward(self, x: Tensor, member: Tensor) -> Tensor:
        """The vectors `[T, G, outputs]` of G sets among examples `[T, N, inputs]`; `member [T, N, G]` is 1 or 0."""
        return self.vector(self.aggregate(self.element(x), member))

    def whole(self, x: Tensor) -> Tensor:
        """The vectors `[T, outputs]` of all examples `[T, N, inputs]`."""
        return self(x, torch.ones_like(x[..., :1])).squeeze(1)


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class Mean(nn.Module):
    """The mean of the members."""

    def forward(self, e: Tensor, member: Tensor) -> Tensor:
        """Aggregate `[T, N, C]` to `[T, G, C]`."""
        return member.mT @ e / member.sum(1).clamp_min(1).unsqueeze(-1)


class AttentionPooling(nn.Module):
    """Learned seeds attend to the members, each to its own channels of the values."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(SEEDS, size))
        self.keys, self.values = nn.Linear(size, size), nn.Linear(size, SEEDS * size)
        self.out = nn.Linear(SEEDS * size, size)

    def forward(self, e: Tensor, member: Tensor) -> Tensor:
        """Aggregate `[T, N, C]` to `[T, G, C]`."""
        scores = (self.keys(e) @ self.seeds.mT / math.sqrt(e.shape[-1])).mT.unsqueeze(2)  # [T, seeds, 1, N]
        inside = member.mT.unsqueeze(1)
        shares = scores.masked_fill(inside == 0, torch.finfo(e.dtype).min).softmax(-1) * inside  # [T, seeds, G, N]
        read = shares @ self.values(e).unflatten(-1, (SEEDS, -1)).transpose(1, 2)
        return self.out(read.transpose(1, 2).flatten(2))


class LastState(nn.Module):
    """The last state of a GRU over the members in their given order."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(size, size, batch_first=True)

    def forward(self, e: Tensor, member: Tensor) -> Tensor:
        """Aggregate `[T, N, C]` to `[T, G, C]`."""
        (tasks, length, size), sets = e.shape, member.shape[2]
        first = (1 - member.mT).argsort(dim=-1, stable=True)  # [T, G, N]: members before the others
        order = first.unsqueeze(-1).expand(-1, -1, -1, size)
        states = self.gru(e.unsqueeze(1).expand(-1, sets, -1, -1).gather(2, order).flatten(0, 1))[0]
        states = F.pad(states, (0, 0, 1, 0)).view(tasks, sets, length + 1, size)
        last = member.sum(1).long()[..., None, None].expand(-1, -1, 1, size)
        return states.gather(2, last).squeeze(2)
