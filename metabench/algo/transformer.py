"""A transformer layer that reads one sequence and answers another (Vaswani et al. 2017; normalised before, Xiong 2020).

    x ← x + O softmax_j(q(x) · k_j / √d) v_j,   x ← x + W₂ relu(W₁ x),   each of layer-normalised inputs

Keys and values are kept apart from the tokens that attend to them, so that a support set is read once for all queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.errors import ConfigError

KeysValues = Sequence[Tensor]  # keys and values, [T, heads, N, d] each


class Layer(nn.Module):
    """Attention by `heads`, then a perceptron of `hidden` units, on tokens of `size` numbers."""

    def __init__(self, size: int, heads: int, hidden: int) -> None:
        super().__init__()
        if size % heads:
            raise ConfigError("algo.heads", heads, f"should divide algo.size, {size}")
        self.heads = heads
        self.before, self.after = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query, self.out = nn.Linear(size, size), nn.Linear(size, size)
        self.pair = nn.Linear(size, 2 * size)  # key and value
        self.up, self.down = nn.Linear(size, hidden), nn.Linear(hidden, size)

    def read(self, tokens: Tensor) -> KeysValues:
        """Keys and values of tokens `[T, N, size]`."""
        keys, values = self.pair(self.before(tokens)).chunk(2, dim=-1)
        return self._split(keys), self._split(values)

    def forward(self, tokens: Tensor, read: KeysValues, seen: Tensor) -> Tensor:
        """New tokens `[T, M, size]`; `seen`, 1 or 0, broadcasts to `[T, heads, M, N]`. Who sees nothing reads 0."""
        keys, values = read
        scores = self._split(self.query(self.before(tokens))) @ keys.mT / math.sqrt(keys.shape[-1])
        weights = scores.masked_fill(seen == 0, torch.finfo(scores.dtype).min).softmax(-1) * seen
        tokens = tokens + self.out((weights @ values).transpose(1, 2).flatten(2))
        return tokens + self.down(F.relu(self.up(self.after(tokens))))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


def weigh_labels(weight: Tensor, labels: int) -> None:
    """Let a label, the last `labels` inputs of `weight [size, F + labels]`, weigh at first as much as the F before it.

    Drawn like the others, a one-hot label begins at 1/√F of the weight of F features: what the network has to bind to
    the image is all but invisible. Chan et al. 2022 give labels an embedding of their own.
    """
    with torch.no_grad():
        weight[:, -labels:] *= math.sqrt(weight.shape[1] - labels)
