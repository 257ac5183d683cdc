"""Reptile (Nichol, Achiam, Schulman 2018, arXiv 1803.02999).

    W = θ after k mini-batch steps of the inner optimiser on the task;   θ ← θ + ε · mean over tasks of (W - θ)

The outer loss is ½ ‖θ - stopgrad(W)‖², with gradient θ - W; SGD with learning rate ε gives the update above.
The inner Adam has β₁ = 0, and its second moments are never reset: they persist across training tasks, and every
test task starts from them. Tasks of one meta-step run in parallel from the same moments, which then become the mean
of theirs (the authors run tasks sequentially). Mini-batches follow each other through the shuffled support set, which
begins again at its end; with `reshuffle`, as in the authors' code, in a new order each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Unpack

import torch
from torch import Tensor

from metabench.algo.fast_weights import FastWeights, InnerLoop, Weights
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive, Share
from metabench.rng import NOISE, content_keys, shuffle
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec


class Reptile(FastWeights, rowwise=True):
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
        reshuffle: Literal[True] | None = None,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, **loop)
        self.inner_lr, self.beta2, self.adam = inner_lr, beta2, inner_optimizer == "adam"
        self.inner_batch, self.eval_inner_batch, self.reshuffle = inner_batch, eval_inner_batch, bool(reshuffle)
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
        order = self._order(support, size, max(1, -(-self.steps * batch // size)))
        for step in range(self.steps):
            rows = order[:, step * batch : (step + 1) * batch]
            gradient = self.gradient(fast, _picked(support.x, rows), _picked(support.y, rows))
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

    def _order(self, support: Examples, size: int, passes: int) -> Tensor:
        """The examples in the order of their use, `[T, passes * N]`, or `[1, passes * N]` where tasks share it."""
        if not self.reshuffle:
            return torch.arange(passes * size, device=support.y.device).unsqueeze(0) % size
        keys = content_keys(support.x).sum(1)
        return torch.cat([shuffle(keys, NOISE + i, size) for i in range(passes)], dim=1)

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


def _picked(part: Tensor, rows: Tensor) -> Tensor:
    """The examples `rows [T, B]`, or `[1, B]` of every task, of `part [T, N, ...]`."""
    if len(rows) == 1:
        return part[:, rows[0]]
    return part[torch.arange(len(part), device=part.device).unsqueeze(1), rows]
