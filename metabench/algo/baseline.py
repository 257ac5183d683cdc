"""Baseline (Chen, Liu, Kira, Wang, Huang, ICLR 2019, arXiv 1904.04232): no meta-learning at all.

Training: a softmax over all training classes. At test the network is fixed and a new linear head, from zero, is fitted
to the support set by stochastic gradient descent with momentum μ, dampening τ and weight decay δ:

    g = ∇ L_batch(w) + δ w,   v ← μ v + (1 - τ) g  (at first v = g),   w ← w - α v

over `epochs` passes in mini-batches of `batch`. The support set comes in random order, which every pass keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from metabench.algo.fast_weights import Weights
from metabench.algo.pretrain import Pretrain
from metabench.backbone.base import Backbone
from metabench.config import Count, NonNegative, Positive, Share
from metabench.tasks import Split, TaskSpec


class Baseline(Pretrain):
    """Joint training, then a linear head on fixed features."""

    classifies = True
    protocols = ("few_shot",)  # its passes are over a support set of one size

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        momentum: Share,
        dampening: Share,
        weight_decay: NonNegative,
        batch: Count,
        epochs: Count,
    ) -> None:
        self.batches = math.ceil(spec.eval.outputs * spec.eval.shots / batch)  # a pass
        super().__init__(
            spec,
            backbone,
            inner_lr=inner_lr,
            eval_inner_steps=epochs * self.batches,
            adapt_norm=False,
            finetune="head",
        )
        self.momentum, self.dampening, self.weight_decay, self.batch = momentum, dampening, weight_decay, batch

    def trajectory(self, support: Split) -> Iterator[Weights]:
        """The head after each mini-batch."""
        z, y = self.embed(support.x), support.y
        fast = self.initial(z, support.y)
        velocity: Weights = {}
        yield fast
        for step in range(self.steps):
            start = step % self.batches * self.batch
            gradient = self.gradient(fast, z[:, start : start + self.batch], y[:, start : start + self.batch])
            gradient = {name: g.add(fast[name], alpha=self.weight_decay) for name, g in gradient.items()}
            velocity = {
                name: torch.add(self.momentum * velocity[name], g, alpha=1 - self.dampening) if velocity else g
                for name, g in gradient.items()
            }
            fast = self.descend(fast, velocity)
            yield fast
