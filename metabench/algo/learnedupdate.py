"""A learned update rule with a memory of past tasks: θ' = θ - g(support, M), repeated.

    M   = (m, v): for every coordinate of θ the mean and the mean square of the gradients that past tasks met there
    a, b = MLP(readable(∇ L_S), readable(m), readable(√v), readable(L_S))        one MLP for all coordinates
    g   = α (e^a ∘ ∇ L_S + b ∘ √v)

So the rule scales a gradient by what it is beside those of other tasks, or moves a coordinate by as much as is usual
for it. The last layer of the MLP starts at zero: training starts at gradient descent with step α, exactly, and its
first outer gradient of θ is MAML's, second derivatives included. θ and the MLP are learned by the query loss. M moves
by a share `memory_rate` of the way to the mean over the tasks and inner steps of each meta-step, and does not move in
evaluation.

`memory=averages` keeps these statistics over all past tasks, `memory=addressed` over similar past tasks: it has rows
(k_r, m_r, v_r), a task is encoded as the direction e = ∇/‖∇‖ of its first gradient, and

    w_r = softmax_r(β cos(e, k_r)),   m = Σ_r w_r m_r,   v = Σ_r w_r v_r
    row r moves by w_r · memory_rate towards (e, mean of the task's ∇ L_S, mean of their squares)

One row equals `averages`. Keys start as random directions. A row moves by the mean over tasks of these moves.

The coordinate-wise rule is in the manner of Andrychowicz et al. 2016 (arXiv 1606.04474), the statistics that outlive a
task in that of Reptile's inner Adam (Nichol et al. 2018), their addressing in that of memory networks; together they
are no paper's.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.addressing import content
from metabench.algo.fast_weights import InnerLoop
from metabench.algo.learned_rule import LearnedRule, readable
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive, Share
from metabench.tasks import TaskSpec


class Kept(NamedTuple):
    """Gradients `[T, P]` of the steps so far, and the addressing weights `[T, rows]` from the first of them."""

    gradients: tuple[Tensor, ...] = ()
    weights: Tensor | None = None


class LearnedUpdate(LearnedRule, rowwise=True):
    """A learned start, a learned rule and a memory."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        hidden: Count,
        memory: Literal["averages", "addressed"],
        memory_rows: Count,
        sharpness: Positive,
        memory_rate: Share,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        self.inner_lr, self.memory_rate, self.sharpness = inner_lr, memory_rate, sharpness
        self.rule = nn.Sequential(
            nn.Linear(8, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2)
        )
        for p in self.rule[-1].parameters():
            nn.init.zeros_(p)
        size = sum(p.numel() for p in self.adapted().values())
        shape = (size,) if memory == "averages" else (memory_rows, size)
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("mean_square", torch.zeros(shape))
        self.register_buffer("keys", F.normalize(torch.randn(shape), dim=-1) if memory == "addressed" else None)
        self.mean: Tensor
        self.mean_square: Tensor
        self.keys: Tensor | None

    def begin(self, theta: Tensor) -> Kept:
        """Nothing yet."""
        return Kept()

    def move(self, theta: Tensor, gradient: Tensor, loss: Tensor, kept: Kept) -> tuple[Tensor, Kept]:
        """g."""
        met = gradient.detach()
        weights = self.address(met) if kept.weights is None else kept.weights
        m, v = (self.mean, self.mean_square) if weights is None else (weights @ self.mean, weights @ self.mean_square)
        usual = v.sqrt()
        seen = (readable(gradient), readable(m), readable(usual), readable(loss).unsqueeze(1))
        a, b = self.rule(torch.cat([x.expand(*theta.shape, 2) for x in seen], dim=-1)).unbind(-1)
        return self.inner_lr * (a.exp() * gradient + b * usual), Kept((*kept.gradients, met), weights)

    def address(self, gradient: Tensor) -> Tensor | None:
        """Addressing weights w `[T, rows]` from first gradients `[T, P]`; None without an addressed memory."""
        if self.keys is None:
            return None
        return content(F.normalize(gradient, dim=-1).unsqueeze(0), self.keys.unsqueeze(0), self.sharpness).squeeze(0)

    def end(self, kept: Kept) -> None:
        """Remember the gradients of this meta-step."""
        gradients = torch.stack(kept.gradients)
        if kept.weights is None:
            self.mean.lerp_(gradients.mean((0, 1)), self.memory_rate)
            self.mean_square.lerp_(gradients.square().mean((0, 1)), self.memory_rate)
            return
        assert self.keys is not None
        rates = self.memory_rate * kept.weights / len(kept.weights)  # a mean over tasks
        met = (F.normalize(gradients[0], dim=-1), gradients.mean(0), gradients.square().mean(0))
        for rows, value in zip((self.keys, self.mean, self.mean_square), met, strict=True):
            rows.add_(rates.mT @ value - rates.sum(0).unsqueeze(1) * rows)
