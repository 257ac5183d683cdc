"""Prototypical networks (Snell, Swersky, Zemel, NeurIPS 2017, arXiv 1703.05175).

c_n = mean of f(x) over the support of class n
p(y = n | x) ∝ exp(-‖f(x) - c_n‖²)        squared Euclidean, no temperature
p(y = n | x) ∝ exp(s · cos(f(x), c_n))    the cosine variant, scale s
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from metabench.algo.metric import Embedded, MetricLearner, cosine, squared_distance
from metabench.backbone.base import Backbone
from metabench.config.types import Positive
from metabench.tasks import TaskSpec


class ProtoNet(MetricLearner, gives_support=True):
    """Nearest class mean in a learned embedding."""

    def __init__(
        self, spec: TaskSpec, backbone: Backbone, *, distance: Literal["euclidean", "cosine"], scale: Positive
    ) -> None:
        super().__init__(spec, backbone)
        self.distance, self.scale = distance, scale

    def compare(self, support: Embedded, z: Tensor) -> Tensor:
        """Logits `[T, M, ways]`: scaled similarity to the class means."""
        prototypes = (support.onehot.mT @ support.z) / support.onehot.sum(1).unsqueeze(-1)
        if self.distance == "cosine":
            return self.scale * cosine(z, prototypes)
        return -self.scale * squared_distance(z, prototypes)
