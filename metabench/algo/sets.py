"""Set encoders: K examples to one vector, with one of three aggregators.

    mean        ρ(mean_i e_i)                                          Deep Sets (Zaheer et al. 2017, arXiv 1703.06114)
    attention   ρ([Σ_i softmax_i(q_h · k(e_i) / √d) v(e_i)]_h)         pooling by learned seeds q_h (Lee et al. 2019,
                                                                       Set Transformer, arXiv 1810.00825)
    gru         ρ(last state of a GRU over e_1 … e_K)                  Cho et al. 2014, arXiv 1406.1078

with e_i = φ(example i), and φ and ρ two-layer perceptrons. The first two are permutation-invariant.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

Aggregator = Literal["mean", "attention", "gru"]
SEEDS = 4


class SetEncoder(nn.Module):
    """Sets `[S, K, inputs]` to vectors `[S, outputs]`, through elements of `size` channels."""

    def __init__(self, inputs: int, size: int, outputs: int, aggregator: Aggregator) -> None:
        super().__init__()
        self.element = _perceptron(inputs, size, size)
        kinds = {"mean": lambda _: Mean(), "attention": AttentionPooling, "gru": LastState}
        self.aggregate = kinds[aggregator](size)
        self.vector = _perceptron(size, size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """One vector per set, `[S, outputs]`."""
        return self.vector(self.aggregate(self.element(x)))


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


class Mean(nn.Module):
    """The mean of the elements."""

    def forward(self, e: Tensor) -> Tensor:
        """Aggregate `[S, K, C]` to `[S, C]`."""
        return e.mean(1)


class AttentionPooling(nn.Module):
    """Learned seeds attend to the elements, each to its own channels of the values."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(SEEDS, size))
        self.keys, self.values = nn.Linear(size, size), nn.Linear(size, SEEDS * size)
        self.out = nn.Linear(SEEDS * size, size)

    def forward(self, e: Tensor) -> Tensor:
        """Aggregate `[S, K, C]` to `[S, C]`."""
        weights = (self.keys(e) @ self.seeds.mT / math.sqrt(e.shape[-1])).softmax(1)  # [S, K, seeds]
        read = (weights.unsqueeze(-1) * self.values(e).unflatten(-1, (SEEDS, -1))).sum(1)
        return self.out(read.flatten(1))


class LastState(nn.Module):
    """The last state of a GRU over the elements in their given order."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.gru = nn.GRU(size, size, batch_first=True)

    def forward(self, e: Tensor) -> Tensor:
        """Aggregate `[S, K, C]` to `[S, C]`."""
        return self.gru(e)[0][:, -1]
