"""A learned update rule with a memory of past tasks: θ' = θ - g(support, M), repeated.

    M   = (m, v): for every coordinate of θ the mean and the mean square of the gradients that past tasks met there
    a, b = MLP(readable(∇ L_S), readable(m), readable(√v), readable(L_S))        one MLP for all coordinates
    g   = α (e^a ∘ ∇ L_S + b ∘ √v)

So the rule scales a gradient by what it is beside those of other tasks, or moves a coordinate by as much as is usual
for it. The last layer of the MLP starts at zero: training starts at gradient descent with step α, exactly, and its
first outer gradient of θ is MAML's, second derivatives included. θ and the MLP are learned by the query loss. M moves
by a share `memory_rate` of the way to the mean over the tasks and inner steps of each meta-step, and does not move in
evaluation. The coordinate-wise rule is in the manner of Andrychowicz et al. 2016 (arXiv 1606.04474), the statistics
that outlive a task in that of Reptile's inner Adam (Nichol et al. 2018); together they are no paper's.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import InnerLoop
from metabench.algo.learned_rule import LearnedRule, readable
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive, Share
from metabench.tasks import TaskSpec

Kept = list[Tensor]  # the gradients `[T, P]` of the steps so far


class LearnedUpdate(LearnedRule):
    """A learned start, a learned rule and a memory."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        hidden: Count,
        memory_rate: Share,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        self.inner_lr, self.memory_rate = inner_lr, memory_rate
        self.rule = nn.Sequential(
            nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )
        for p in self.rule[-1].parameters():
            nn.init.zeros_(p)
        size = sum(p.numel() for p in self.adapted().values())
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("mean_square", torch.zeros(size))
        self.mean: Tensor
        self.mean_square: Tensor

    def begin(self, theta: Tensor) -> Kept:
        """Nothing yet."""
        return []

    def move(self, theta: Tensor, gradient: Tensor, loss: Tensor, kept: Kept) -> tuple[Tensor, Kept]:
        """g."""
        usual = self.mean_square.sqrt()
        seen = (readable(gradient), readable(self.mean), readable(usual), readable(loss).unsqueeze(1))
        a, b = self.rule(torch.cat([x.expand(*theta.shape, 2) for x in seen], dim=-1)).unbind(-1)
        return self.inner_lr * (a.exp() * gradient + b * usual), [*kept, gradient.detach()]

    def end(self, kept: Kept) -> None:
        """Remember the gradients of this meta-step."""
        gradients = torch.stack(kept)
        self.mean.lerp_(gradients.mean((0, 1)), self.memory_rate)
        self.mean_square.lerp_(gradients.square().mean((0, 1)), self.memory_rate)
