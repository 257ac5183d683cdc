"""A simple neural attentive meta-learner (Mishra, Rohaninejad, Chen, Abbeel, ICLR 2018, arXiv 1707.03141).

The support set and one query form a sequence of N + 1 elements [embedding, label], with label zero for the query.
Causal blocks each append channels to their input:

    dense(R, D):      s_t, tanh(a_t) · σ(b_t)           (a_t, b_t) = W [s_t, s_{t-R}] + c, D filters each
    tc(T, D):         dense(2^i, D) for i = 1..⌈log₂ T⌉
    attention(k, v):  s_t, Σ_{j ≤ t} softmax_j(q_t · k_j / √k) v_j

The prediction is a linear map of the last element. As all blocks are causal, the support set is read once, and each
query is element N + 1 of its own sequence. A dense block with R beyond the length of training sequences has no weights
for s_{t-R}, which would always be zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.backbone.base import Backbone
from metabench.config.types import Count
from metabench.errors import ConfigError
from metabench.objective import one_hot
from metabench.tasks import TaskSpec


class SNAIL(Embedder):
    """Attention, temporal convolutions, attention, …; `keys` and `values` give one size per attention."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        embedding: Count,
        keys: list[Count],
        values: list[Count],
        filters: Count,
    ) -> None:
        super().__init__(spec, backbone)
        self.require_one_size("labels are inputs, of one size in training and test")
        if len(keys) != len(values) or not keys:
            raise ConfigError("algo.values", values, f"should have one size per attention, as algo.keys, {keys}")
        labels = spec.train.outputs
        length = spec.train.shots * (labels if spec.objective == "cross_entropy" else 1) + 1
        self.embedding = nn.Linear(backbone.feature_size, embedding)
        blocks: list[Block] = []
        channels = embedding + labels
        for number, (k, v) in enumerate(zip(keys, values, strict=True)):
            if number:
                for i in range(1, math.ceil(math.log2(length)) + 1):
                    blocks.append(Dense(channels, filters, 2**i, length))
                    channels += filters
            blocks.append(Attention(channels, k, v))
            channels += v
        self.blocks = nn.ModuleList(blocks)
        self.head = nn.Linear(channels, labels)

    def _blocks(self) -> list[Block]:
        return cast(list[Block], list(self.blocks))

    def embed(self, x: Tensor) -> Tensor:
        """A linear map of the backbone's features."""
        return self.embedding(self.backbone(x))

    def fit(self, z: Tensor, y: Tensor) -> list[Tensor]:
        """Inputs of each block for the support set, `[T, N, C]`."""
        labels = y if y.is_floating_point() else one_hot(y, self.spec.train.outputs, z.dtype)
        seen = [torch.cat([z, labels], dim=-1)]
        for block in self._blocks()[:-1]:
            seen.append(torch.cat([seen[-1], block.read(seen[-1])], dim=-1))
        return seen

    def read(self, state: list[Tensor], z: Tensor) -> Tensor:
        """Predict each query as the last element of its own sequence."""
        query = F.pad(z, (0, self.spec.train.outputs))
        for block, support in zip(self._blocks(), state, strict=True):
            query = torch.cat([query, block.answer(support, query)], dim=-1)
        return self.head(query)


class Block(nn.Module, ABC):
    """A causal map of a sequence of channels."""

    @abstractmethod
    def read(self, support: Tensor) -> Tensor:
        """The new channels of each element of the support set `[T, N, C]`."""

    @abstractmethod
    def answer(self, support: Tensor, query: Tensor) -> Tensor:
        """The new channels of each query `[T, M, C]`, as the element after the support set."""


class Dense(Block):
    """A gated causal convolution of kernel size 2 and `dilation`, over sequences of `length`."""

    def __init__(self, channels: int, filters: int, dilation: int, length: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.present = nn.Linear(channels, 2 * filters)
        self.past = nn.Linear(channels, 2 * filters, bias=False) if dilation < length else None

    def read(self, support: Tensor) -> Tensor:
        """New channels, with zeros before the first element."""
        gates = self.present(support)
        if self.past is not None:
            gates = gates + F.pad(self.past(support), (0, 0, self.dilation, 0))[:, : support.shape[1]]
        return _gated(gates)

    def answer(self, support: Tensor, query: Tensor) -> Tensor:
        """New channels; the element `dilation` back is the same for all queries."""
        gates = self.present(query)
        if self.past is not None and self.dilation <= support.shape[1]:
            gates = gates + self.past(support[:, -self.dilation]).unsqueeze(1)
        return _gated(gates)


def _gated(gates: Tensor) -> Tensor:
    a, b = gates.chunk(2, dim=-1)
    return a.tanh() * b.sigmoid()


class Attention(Block):
    """Single-head causal attention; each element also attends to itself."""

    def __init__(self, channels: int, keys: int, values: int) -> None:
        super().__init__()
        self.sizes = [keys, keys, values]
        self.maps = nn.Linear(channels, sum(self.sizes))  # query, key and value

    def read(self, support: Tensor) -> Tensor:
        """Attend to the elements up to each."""
        q, k, v = self.maps(support).split(self.sizes, dim=-1)
        size = support.shape[1]
        ahead = torch.ones(size, size, dtype=torch.bool, device=support.device).triu(1)
        scores = (q @ k.mT / math.sqrt(self.sizes[0])).masked_fill(ahead, -math.inf)
        return scores.softmax(-1) @ v

    def answer(self, support: Tensor, query: Tensor) -> Tensor:
        """Attend to the support set and the query itself, never to another query."""
        _, k, v = self.maps(support).split(self.sizes, dim=-1)
        q, own_k, own_v = self.maps(query).split(self.sizes, dim=-1)
        scores = torch.cat([q @ k.mT, (q * own_k).sum(-1, keepdim=True)], dim=-1) / math.sqrt(self.sizes[0])
        weights = scores.softmax(-1)
        return weights[..., :-1] @ v + weights[..., -1:] * own_v
