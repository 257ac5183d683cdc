"""Model-agnostic meta-learning (Finn, Abbeel, Levine, ICML 2017, arXiv 1703.03400).

    θ'_0 = θ,   θ'_{j+1} = θ'_j - α ∇ L_S(θ'_j),   j = 0..J-1
    outer loss   (1/B) Σ_tasks L_Q(θ'_J),   differentiated through every inner step

Only the loss after the last training step is optimised. Losses are means over examples: the authors' code sums the
cross-entropy and divides by K, so its α = 0.4 (5-way) and α = 0.1 (20-way) are both α = 2.0 here.
"""

from __future__ import annotations

from typing import Unpack

from metabench.algo.fast_weights import FastWeights, InnerLoop, Weights
from metabench.backbone.base import Backbone
from metabench.config.types import Positive
from metabench.tasks import TaskSpec


class Descent(InnerLoop):
    """The inner loop and its step size α."""

    inner_lr: Positive


class MAML(FastWeights, rowwise=True, gives_support=True):
    """Plain gradient descent with one step size α, `inner_lr`."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        self.inner_lr = inner_lr

    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """θ' - α ∇ L_S(θ')."""
        return {name: w.sub(gradient[name], alpha=self.inner_lr) for name, w in fast.items()}
