"""Task encoder: a second backbone embeds each support example, a set encoder aggregates them into one vector.

Points of a curve may also be read as they are, `[x, y]`.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from metabench.algo.sets import Aggregator, SetEncoder
from metabench.backbone.base import Backbone
from metabench.objective import one_hot
from metabench.tasks import TaskSpec


class TaskEncoder(nn.Module):
    """Vectors `[T, outputs]` from inputs and regression targets; labels only with `labels`, which fixes the ways."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        size: int,
        outputs: int,
        aggregator: Aggregator,
        *,
        labels: bool,
        plain_points: bool = False,
    ) -> None:
        super().__init__()
        self.targets, self.ways = spec.objective != "cross_entropy", spec.train.outputs
        self.labels = labels
        plain = plain_points and self.targets
        self.reader = nn.Flatten(2) if plain else copy.deepcopy(backbone)
        features = math.prod(spec.input_shape) if plain else backbone.feature_size
        beside = self.ways if labels or self.targets else 0
        self.encoder = SetEncoder(features + beside, size, outputs, aggregator)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Encode inputs `[T, N, ...]` with targets `[T, N, D]` or labels `[T, N]`."""
        z = self.reader(x)
        if self.targets:
            z = torch.cat([z, y], dim=-1)
        elif self.labels:
            z = torch.cat([z, one_hot(y, self.ways, z.dtype)], dim=-1)
        return self.encoder.whole(z)
