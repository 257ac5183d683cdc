"""Attentive neural processes (Kim et al., ICLR 2019, arXiv 1901.05761).

A neural process whose deterministic path uses attention, so that each query has its own representation:

    r(x*) = Σ_heads O softmax_i(q(x*) · k(x_i) / √d) v([x_i, y_i]),   q = Q e(x*),   k = K e(x_i),   v = V h([x_i, y_i])

In classification, y is one-hot.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metabench.algo.neural_process import INIT, Context, Path
from metabench.algo.np import NP
from metabench.backbone.base import Backbone
from metabench.backbone.perceptron import Perceptron
from metabench.config.types import Count, Whole, Widths
from metabench.errors import ConfigError
from metabench.tasks import TaskSpec

Kept = tuple[Tensor, Tensor, Tensor]


class Attention(Path):
    """Multi-head attention of the queries to the context; an empty context gives zeros."""

    def __init__(self, spec: TaskSpec, features: int, hidden: list[int], heads: int) -> None:
        super().__init__()
        if hidden[-1] % heads:
            raise ConfigError("algo.heads", heads, f"should divide the last width of algo.encoder, {hidden[-1]}")
        self.size, self.heads = hidden[-1], heads
        self.encoder = Perceptron([features + spec.eval.outputs, *hidden], INIT)
        self.embed = Perceptron([features, self.size, self.size], INIT)
        self.query, self.key, self.value, self.out = (nn.Linear(self.size, self.size, bias=False) for _ in range(4))

    def forward(self, context: Context) -> Kept:
        """Keys and values `[T, heads, N, d]`, and the mask of the context `[T, 1, 1, N]`."""
        z, y, member = context
        keys, values = self.key(self.embed(z)), self.value(self.encoder(torch.cat([z, y], dim=-1)))
        return self._split(keys), self._split(values), member.mT.unsqueeze(1)

    def read(self, kept: Kept, z: Tensor) -> Tensor:
        """The representation r `[T, M, size]` for queries `[T, M, F]`."""
        keys, values, member = kept
        query = self._split(self.query(self.embed(z)))
        scores = (query @ keys.mT / math.sqrt(keys.shape[-1])).masked_fill(member == 0, torch.finfo(z.dtype).min)
        read = (scores.softmax(-1) * member) @ values
        return self.out(read.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class ANP(NP):
    """A neural process with attention; the state is a `Belief` with keys and values."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        encoder: Widths,
        decoder: Widths,
        min_context: Whole | None,
        latent: Count,
        samples: Whole,
        heads: Count,
    ) -> None:
        path = Attention(spec, backbone.feature_size, encoder, heads)
        super().__init__(
            spec, backbone, path, encoder=encoder, decoder=decoder, min_context=min_context, latent=latent,
            samples=samples,
        )  # fmt: skip
