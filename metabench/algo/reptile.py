"""Reptile (Nichol, Achiam, Schulman 2018, arXiv 1803.02999).

    W = θ after k mini-batch steps of the inner optimiser on the task;   θ ← θ + ε · mean over tasks of (W - θ)

The outer loss is ½ ‖θ - stopgrad(W)‖², with gradient θ - W; SGD with learning rate ε gives the update above.
The inner Adam has β₁ = 0, and its second moments are never reset: they persist across training tasks, and every
test task starts from them. Tasks of one meta-step run in parallel from the same moments, which then become the mean
of theirs (the authors run tasks sequentially).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Unpack

import torch
from torch import Tensor

from metabench.algo.fast_weights import FastWeights, InnerLoop, Weights
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive, Share
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec


class Reptile(FastWeights):
    """Inner SGD or Adam on consecutive mini-batches of `inner_batch` examples of the shuffled support set."""

    first_order = True

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_optimizer: Literal["adam", "sgd"],
        inner_lr: Positive,
        inner_batch: Count,
        eval_inner_batch: Count,
        beta2: Share,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        self.inner_lr, self.beta2, self.adam = inner_lr, beta2, inner_optimizer == "adam"
        self.inner_batch, self.eval_inner_batch = inner_batch, eval_inner_batch
        sizes = [p.numel() for p in self.adapted().values()]
        self.register_buffer("second_moment", torch.zeros(sum(sizes)))
        self.register_buffer("moment_steps", torch.zeros(()))
        self.second_moment: Tensor
        self.moment_steps: Tensor

    def trajectory(self, support: Examples) -> Iterator[Weights]:
        """Fast weights after each mini-batch step 0..S; in training, updates the second moments."""
        size = support.y.shape[1]
        batch = min(self.inner_batch if self.training else self.eval_inner_batch, size)
        fast = self.initial(support.x, support.y)
        moments = self._unpacked(fast)
        count = self.moment_steps.clone()
        yield fast
        for step in range(self.steps):
            rows = torch.arange(step * batch, (step + 1) * batch, device=support.y.device) % size
            gradient = self.gradient(fast, support.x[:, rows], support.y[:, rows])
            if self.adam:
                count = count + 1
                moments = {k: v.lerp(gradient[k].square(), 1 - self.beta2) for k, v in moments.items()}
                correction = (1 - self.beta2**count).sqrt()
                gradient = {k: correction * g / (moments[k].sqrt() + 1e-8) for k, g in gradient.items()}
            fast = self.descend(fast, gradient)
            yield fast
        if self.training and self.adam:
            self.second_moment.copy_(torch.cat([v.mean(0).flatten() for v in moments.values()]))
            self.moment_steps.copy_(count)

    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """One step with the inner learning rate along the (preconditioned) gradient."""
        return {name: w.sub(gradient[name], alpha=self.inner_lr) for name, w in fast.items()}

    def _unpacked(self, fast: Weights) -> Weights:
        parts = self.second_moment.split([w[0].numel() for w in fast.values()])
        return {
            name: part.view(w.shape[1:]).expand(w.shape) for part, (name, w) in zip(parts, fast.items(), strict=True)
        }

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The mean over tasks of ½ ‖θ - W‖²; the metrics are those of W on the queries."""
        with torch.no_grad():
            final = self.adapt(tasks.support)
            prediction = self.predict(final, tasks.query.x)
            loss = self.objective.loss(prediction, tasks.query.y)
        distances = [(p - final[name]).square().flatten(1).sum(1) for name, p in self.adapted().items()]
        return 0.5 * torch.stack(distances).sum(0).mean(), self.metrics(loss, prediction, tasks.query.y)
