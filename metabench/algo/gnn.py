"""Few-shot learning with graph networks (Garcia, Bruna, ICLR 2018, arXiv 1711.04043).

A query and the support set are the nodes of one graph; x_i = [f(image_i), label_i], the label one-hot, and uniform for
the query. Each layer makes edges of how nodes differ, and new features of the nodes and of their neighbours' mean:

    A_ij = softmax_{j ≠ i} MLP(|x_i - x_j|),   x_i ← [x_i, lrelu(norm(W [x_i, Σ_j A_ij x_j]))]

The last layer's W gives logits, of which the query's count. There is one graph a query, so queries do not inform each
other. The authors normalise over the batch of graphs, this one over the features of an edge or a node, so that a
prediction depends on nothing else.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Widths
from metabench.objective import one_hot
from metabench.tasks import TaskSpec


class Labelled(NamedTuple):
    """The support set: features `[T, N, F]` and one-hot labels `[T, N, ways]`."""

    z: Tensor
    onehot: Tensor


class GNN(Embedder):
    """`layers` layers that add `features` numbers to a node, then one that gives logits; `edge` is the MLP's widths."""

    classifies = True

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, layers: Count, features: Count, edge: Widths) -> None:
        super().__init__(spec, backbone)
        self.require_one_size("labels are features of a node, of one size in training and test")
        ways = spec.eval.outputs
        sizes = [backbone.feature_size + ways + i * features for i in range(layers + 1)]
        self.edges = nn.ModuleList(Edges([size, *edge]) for size in sizes)
        self.maps = nn.ModuleList(nn.Linear(2 * size, features) for size in sizes[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(features) for _ in range(layers))
        self.last = nn.Linear(2 * sizes[-1], ways)

    def fit(self, z: Tensor, y: Tensor) -> Labelled:
        """The support set with its labels."""
        return Labelled(z, one_hot(y, self.spec.eval.outputs, z.dtype))

    def read(self, state: Labelled, z: Tensor) -> Tensor:
        """Logits of each query, from a graph of its own."""
        ways = self.spec.eval.outputs
        query = torch.cat([z, z.new_full((*z.shape[:2], ways), 1 / ways)], dim=-1).unsqueeze(2)
        support = torch.cat(state, dim=-1).unsqueeze(1).expand(-1, z.shape[1], -1, -1)
        nodes = torch.cat([query, support], dim=2)  # [T, M, 1 + N, F + ways]
        for edges, map_, norm in zip(self.edges, self.maps, self.norms, strict=False):
            nodes = torch.cat([nodes, F.leaky_relu(norm(map_(_with_neighbours(nodes, edges(nodes)))))], dim=-1)
        return self.last(_with_neighbours(nodes, self.edges[-1](nodes))[:, :, 0])


class Edges(nn.Module):
    """A of nodes `[..., N, sizes[0]]`: `[..., N, N]`, each row a distribution over the other nodes."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(b) for b in sizes[1:])
        self.score = nn.Linear(sizes[-1], 1)

    def forward(self, nodes: Tensor) -> Tensor:
        """Compare every two nodes."""
        pairs = (nodes.unsqueeze(-2) - nodes.unsqueeze(-3)).abs()
        for map_, norm in zip(self.maps, self.norms, strict=True):
            pairs = F.leaky_relu(norm(map_(pairs)))
        own = torch.eye(nodes.shape[-2], dtype=torch.bool, device=nodes.device)
        return self.score(pairs).squeeze(-1).masked_fill(own, -math.inf).softmax(-1)


def _with_neighbours(nodes: Tensor, edges: Tensor) -> Tensor:
    """[x_i, Σ_j A_ij x_j]."""
    return torch.cat([nodes, edges @ nodes], dim=-1)
