"""Meta-SGD (Li, Zhou, Chen, Li 2017, arXiv 1707.09835).

    θ' = θ - α ∘ ∇ L_S(θ),   min over (θ, α) of E[L_Q(θ')]

α has the shape of θ, is free in sign, and is meta-learned with θ: ∂L/∂α = -∇L_S(θ) ∘ ∇L_Q(θ').
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import FastWeights, InnerLoop, Weights
from metabench.backbone.base import Backbone
from metabench.config.types import Number
from metabench.errors import ConfigError
from metabench.tasks import TaskSpec


class MetaSGD(FastWeights, rowwise=True):
    """Gradient descent with a learned step size per weight, initialised uniformly in the interval `inner_lr`."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: list[Number],
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        if len(inner_lr) != 2 or inner_lr[0] > inner_lr[1]:
            raise ConfigError(
                "algo.inner_lr", inner_lr, "should be [low, high] with low <= high: the initial step sizes"
            )
        self.alpha = nn.ParameterList(torch.empty_like(p).uniform_(*inner_lr) for p in self.adapted().values())

    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """θ' - α ∘ ∇ L_S(θ')."""
        alphas: list[Tensor] = list(self.alpha)
        return {name: w - alpha * gradient[name] for (name, w), alpha in zip(fast.items(), alphas, strict=True)}
