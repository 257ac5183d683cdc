"""Nearest neighbour in pixel space: the baseline without learning (Vinyals et al. 2016, table 1, "Pixels").

    vote = nearest     p(y = n | x) is highest for the class of argmax_i cos(x, x_i)
    vote = attention   p(y = n | x) = Σ_{i of class n} softmax_i cos(x, x_i)

With one example per class both predict the same class. With more, the paper's values are those of `attention`, its
matching function: Omniglot 5-way 5-shot 63.2, where the nearest neighbour has 67. Nothing is trained; a backbone other
than the recipe's `mlp_pixels` keeps its random initialisation.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from metabench.algo.metric import Embedded, MetricLearner, attention, cosine, nearest
from metabench.backbone.base import Backbone
from metabench.tasks import TaskSpec

Vote = Literal["nearest", "attention"]
VOTES = {"nearest": nearest, "attention": attention}


class PixelNN(MetricLearner):
    """Cosine similarity to the support set, untrained."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, vote: Vote) -> None:
        super().__init__(spec, backbone)
        self.vote = VOTES[vote]
        self.requires_grad_(False)

    def compare(self, support: Embedded, z: Tensor) -> Tensor:
        """Cosine similarities, by class."""
        return self.vote(cosine(z, support.z), support.onehot)
