"""Batch normalisation of each query in a batch with the support set alone (Nichol et al. 2018, "non-transductive").

Row by row a network with batch norm treats S support examples and Q queries alike until the first normalisation. From
there on the support set looks different beside each query, and has Q copies:

    S + Q rows   support, queries                                   up to the first normalisation
    (S + 1) Q    s = 0 .. S-1 for every query, then the queries     after it; row s Q + q is that of query q

The last Q rows are the queries in both. A layer in between may make more rows of each, with the query as the last
index. The first batch of each query is never written out: its moments are those of the support set and of the query,
joined (Chan, Golub, LeVeque 1983), and its maxima those from before normalisation, which commutes with a maximum where
the scale is not negative.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from metabench.backbone.batch_norm import batch_norm

Pool = Callable[[Tensor], Tensor]


class Alone(NamedTuple):
    """The numbers of support examples and of queries, each of which is normalised with the support set alone."""

    support: int
    queries: int


def normalise_alone(x: Tensor, weight: Tensor, bias: Tensor, eps: float, sizes: Alone, pool: Pool | None) -> Tensor:
    """Normalise x `[S + Q or (S + 1) Q, T, C, ...]` to `[(S + 1) Q, T, C, ...]`, then pool it; weight, bias `[T C]`."""
    if len(x) == sum(sizes):
        return _first(x, weight, bias, eps, sizes.support, pool)
    copies = x.unflatten(0, (-1, sizes.queries))
    y, *_ = batch_norm(copies.flatten(1, 3), weight.repeat(sizes.queries), bias.repeat(sizes.queries), eps)
    y = y.view(x.shape)
    return y if pool is None else pool(y)


def _first(x: Tensor, weight: Tensor, bias: Tensor, eps: float, size: int, pool: Pool | None) -> Tensor:
    """The first normalisation, which gives every query its copy of the support set."""
    if x.dim() == 3:  # vectors: maps of one number
        return _first(x.unsqueeze(-1), weight, bias, eps, size, pool).squeeze(-1)
    space = tuple(range(3, x.dim()))
    weight, bias = (p.view(x.shape[1], -1, *[1] * len(space)) for p in (weight, bias))
    of_support = torch.var_mean(x[:size], dim=(0, *space), keepdim=True, correction=0)
    of_query = torch.var_mean(x[size:], dim=space, keepdim=True, correction=0)
    share = 1 / (size + 1)  # of the query in its batch
    apart = of_query[1] - of_support[1]
    mean = of_support[1] + share * apart
    var = (1 - share) * of_support[0] + share * of_query[0] + share * (1 - share) * apart.square()
    scale = weight * torch.rsqrt(var + eps)  # [Q, T, C, ...]
    shift = bias - mean * scale
    if pool is not None:
        sign = torch.where(weight < 0, -1.0, 1.0).to(x.dtype)
        x = pool(x * sign) * sign
    support = torch.addcmul(shift, x[:size].unsqueeze(1), scale)  # [S, Q, T, C, ...]
    queries = torch.addcmul(shift, x[size:], scale)
    return torch.cat([support.flatten(0, 1), queries])
