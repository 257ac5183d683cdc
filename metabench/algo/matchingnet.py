"""Matching networks (Vinyals, Blundell, Lillicrap, Kavukcuoglu, Wierstra, NeurIPS 2016, arXiv 1606.04080).

    a(x, x_i) = softmax_i s · cos(f(x), g(x_i)),   p(y | x) = Σ_i a(x, x_i) y_i,   loss = -log p

Full context embeddings (appendix A): g(x_i) = g'(x_i) + the two hidden states of a bidirectional LSTM over the support;
f reads the support K times,

    (ĥ_k, c_k) = LSTM(f'(x), [h_{k-1}, r_{k-1}], c_{k-1}),   h_k = ĥ_k + f'(x),
    r_k = Σ_i softmax_i(h_k · g(x_i)) g(x_i).

A raw cosine (s = 1) leaves the softmax nearly flat and trains poorly, as re-implementations found; hence `scale`.
Chen et al. (2019) count negative cosines as 0 (`rectify`) and read as often as there are support examples
(`read_steps: all`).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.metric import Embedded, MetricLearner, cosine
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive
from metabench.tasks import TaskSpec


class MatchingNet(MetricLearner):
    """Attention over the support set, with or without full context embeddings (`fce`)."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        scale: Positive,
        fce: bool,
        read_steps: Count | Literal["all"],
        rectify: Literal[True] | None = None,
    ) -> None:
        super().__init__(spec, backbone)
        self.scale, self.rectify = scale, bool(rectify)
        self.context = FullContext(backbone.feature_size, read_steps) if fce else None

    def compare(self, support: Embedded, z: Tensor) -> Tensor:
        """Log-probabilities log p(y | x), `[T, M, ways]`."""
        support_z = support.z
        if self.context is not None:
            support_z, z = self.context(support_z, z)
        similarity = cosine(z, support_z)
        attention = F.log_softmax(self.scale * (similarity.relu() if self.rectify else similarity), dim=-1)
        # log Σ_i a_i y_i: the one-hot mask selects, in log space, which examples count for a class.
        return torch.logsumexp(attention.unsqueeze(-1) + support.onehot.log().unsqueeze(1), dim=2)


class FullContext(nn.Module):
    """Full context embeddings: each depends on the whole support set."""

    def __init__(self, size: int, read_steps: int | Literal["all"]) -> None:
        super().__init__()
        self.read_steps = read_steps
        self.support_lstm = nn.LSTM(size, size, batch_first=True, bidirectional=True)
        self.query_cell = nn.LSTMCell(size, 2 * size)
        self.size = size

    def forward(self, support: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        """g(x_i) `[T, N, F]` and f(x) `[T, M, F]` of plain embeddings of those shapes."""
        both, _ = self.support_lstm(support)
        g = support + both[..., : self.size] + both[..., self.size :]
        cell = self.query_cell  # written out, since vmap has no rule for it (torch 2.15)
        given = F.linear(query, cell.weight_ih, cell.bias_ih)
        h, r, c = query, torch.zeros_like(query), query.new_zeros(*query.shape[:2], 2 * self.size)
        for _ in range(support.shape[1] if self.read_steps == "all" else self.read_steps):
            gates = given + F.linear(torch.cat([h, r], dim=-1), cell.weight_hh, cell.bias_hh)
            enter, forget, value, leave = gates.chunk(4, dim=-1)
            c = forget.sigmoid() * c + enter.sigmoid() * value.tanh()
            h = (leave.sigmoid() * c.tanh())[..., : self.size] + query
            r = (h @ g.mT).softmax(-1) @ g
        return g, h
