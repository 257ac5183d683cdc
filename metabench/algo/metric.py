"""Metric-based methods: meta-learn an embedding in which queries are compared with the support set."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from metabench.algo.embedder import Embedder
from metabench.objective import one_hot


class Embedded(NamedTuple):
    """An embedded support set: embeddings `[T, N, F]` and one-hot labels `[T, N, ways]`."""

    z: Tensor
    onehot: Tensor


class MetricLearner(Embedder):
    """The state is the embedded support set; ways may differ between training and test."""

    classifies = True

    @abstractmethod
    def compare(self, support: Embedded, z: Tensor) -> Tensor:
        """Logits `[T, M, ways]` of query embeddings `[T, M, F]`."""

    def fit(self, z: Tensor, y: Tensor) -> Embedded:
        """Support embeddings and one-hot labels."""
        return Embedded(z, one_hot(y, self.episode.outputs, z.dtype))

    def read(self, state: Embedded, z: Tensor) -> Tensor:
        """Logits from comparing the queries with the support set."""
        return self.compare(state, z)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine similarity of every row of a `[T, M, F]` with every row of b `[T, N, F]`: `[T, M, N]`."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a - b‖² for every row of a `[T, M, F]` and b `[T, N, F]`: `[T, M, N]`, without the `[T, M, N, F]` difference."""
    return a.square().sum(-1, keepdim=True) - 2 * a @ b.mT + b.square().sum(-1).unsqueeze(-2)


def nearest(similarity: Tensor, onehot: Tensor) -> Tensor:
    """The greatest similarity `[T, M, N]` to the examples of each class: `[T, M, ways]`."""
    return _of_each_class(similarity, onehot).amax(2)


def attention(similarity: Tensor, onehot: Tensor) -> Tensor:
    """log Σ exp(similarity) over the examples of each class, the logits of softmax attention: `[T, M, ways]`."""
    return _of_each_class(similarity, onehot).logsumexp(2)


def _of_each_class(similarity: Tensor, onehot: Tensor) -> Tensor:
    """Similarities per class, `[T, M, N, ways]`: minus infinity for examples of other classes."""
    return similarity.unsqueeze(-1) + onehot.log().unsqueeze(1)
