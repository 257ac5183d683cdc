"""The metric family: embed support and query with one network, compare, and learn the embedding."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.backbone.base import Backbone
from metabench.errors import ConfigError
from metabench.objective import one_hot
from metabench.tasks import Split, TaskSpec


class Embedded(NamedTuple):
    """A support set as a metric method keeps it: embeddings `[T, N, F]` and one-hot labels `[T, N, ways]`."""

    z: Tensor
    onehot: Tensor


class MetricLearner(Algorithm):
    """The state is the embedded support set; any number of ways at test, whatever the number in training."""

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__(spec, backbone)
        if spec.objective != "cross_entropy":
            name = type(self).__name__
            raise ConfigError("algo", name, "compares classes and needs classification data; this is a regression")

    @abstractmethod
    def compare(self, support: Embedded, z: Tensor) -> Tensor:
        """Logits `[T, M, ways]` of query embeddings `[T, M, F]`."""

    def adapt(self, support: Split) -> Embedded:
        """Embed the support set."""
        return self._keep(self.backbone(support.x), support.y)

    def predict(self, state: Embedded, x: Tensor) -> Tensor:
        """Embed the queries and compare."""
        return self.compare(state, self.backbone(x))

    def solve(self, support: Split, x: Tensor) -> Tensor:
        """Embed support and query in one pass, which batch statistics then cover together, as in the papers' code."""
        size = support.x.shape[1]
        z = self.backbone(torch.cat([support.x, x], dim=1))
        return self.compare(self._keep(z[:, :size], support.y), z[:, size:])

    def _keep(self, z: Tensor, y: Tensor) -> Embedded:
        return Embedded(z, one_hot(y, self.episode.outputs, z.dtype))


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of every row of a `[T, M, F]` with every row of b `[T, N, F]`: `[T, M, N]`."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """‖a - b‖² for every row of a `[T, M, F]` and b `[T, N, F]`: `[T, M, N]`, without the `[T, M, N, F]` difference."""
    return a.square().sum(-1, keepdim=True) - 2 * a @ b.mT + b.square().sum(-1).unsqueeze(-2)
