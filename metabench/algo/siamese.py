"""Siamese network (Koch, Zemel, Salakhutdinov, ICML Deep Learning Workshop 2015).

    h(x) = σ(A f(x) + a),   p(same | x, x') = σ(b + Σ_j α_j |h_j(x) - h_j(x')|)
    loss = -½ mean over pairs of one class of log p - ½ mean over other pairs of log(1 - p)
    prediction = the class of the support example with the highest p(same)

Pairs are all (query, support example) of an episode. The paper samples as many same-class pairs as others, which is the
loss above in expectation. All α start at one negative value, so that an untrained network compares distances.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.metric import Embedded, MetricLearner, nearest
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.config.types import Count
from metabench.tasks import Metrics, Tasks, TaskSpec


class Siamese(MetricLearner):
    """Verification used for classification: a weighted L1 distance between `units` sigmoids."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, units: Count) -> None:
        super().__init__(spec, backbone)
        self.embedding = Linear(backbone.feature_size, units)
        self.alpha = nn.Parameter(torch.full((units,), -(units**-0.5)))
        self.bias = nn.Parameter(torch.zeros(()))

    def same(self, a: Tensor, b: Tensor) -> Tensor:
        """Logits `[T, M, N]` of p(same) of embeddings a `[T, M, F]` and b `[T, N, F]`."""
        a, b = (self.embedding(z).sigmoid() for z in (a, b))
        return (a.unsqueeze(2) - b.unsqueeze(1)).abs() @ self.alpha + self.bias

    def compare(self, support: Embedded, z: Tensor) -> Tensor:
        """The highest logit per class."""
        return nearest(self.same(z, support.z), support.onehot)

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The verification loss; the accuracy of classification."""
        support, query = tasks.support, tasks.query
        z, query_z = self.together(support, query.x)
        logits, state = self.same(query_z, z), self.fit(z, support.y)
        match = (query.y.unsqueeze(2) == support.y.unsqueeze(1)).to(logits.dtype)
        loss = 0.5 * (_mean(F.softplus(-logits), match) + _mean(F.softplus(logits), 1 - match))
        return loss.mean(), self.metrics(loss, nearest(logits, state.onehot), query.y)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """The mean `[T]` of the values `[T, M, N]` where `chosen` is 1."""
    return (values * chosen).sum((1, 2)) / chosen.sum((1, 2)).clamp_min(1)
