"""ALFA (Baik, Choi, Choi, Kim, Lee, NeurIPS 2020, arXiv 2011.00209): generated hyperparameters per task and inner step.

    τ_j = [mean of each tensor of θ'_j, mean of each tensor of ∇ L_S(θ'_j)]           2 L numbers for L tensors
    (a, b) = g_φ(τ_j)                            an MLP 2L-2L-2L, shared by all inner steps
    θ'_{l,j+1} = (1 - b_l β_{l,j}) θ'_{l,j} - a_l α_{l,j} ∇_l L_S(θ'_j)

Every task has its own learning rate and weight decay per tensor l and step j. The factors α_{l,j}, initially
`inner_lr`, and β_{l,j}, initially `inner_lr` times `weight_decay`, are meta-learned with φ and θ. As in the authors'
code, gradients are constants in τ but not in the update. Further steps at test have the factors of the last training
step.

Two differences from the authors' code. The last layer of g is initialised so that a = 1 and b = 0, which is MAML
(`start=released`: torch's default, with learning rates of random sign). The factors are learned as multiples of their
initial value: the authors' start at 0.01, and Adam's steps of 0.001 can double them in ten meta-steps. On sinusoids,
where no normalisation bounds an update, training diverged with either of the authors' choices.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import FastWeights, Weights
from metabench.backbone.base import Backbone
from metabench.config.types import Count, NonNegative, Positive, Whole
from metabench.tasks import TaskSpec


class ALFA(FastWeights, rowwise=True):
    """Gradient descent with generated learning rates and weight decays."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        weight_decay: NonNegative,
        start: Literal["maml", "released"],
        inner_steps: Count,
        eval_inner_steps: Whole,
        adapt_norm: bool,
    ) -> None:
        super().__init__(
            spec, backbone, inner_steps=inner_steps, eval_inner_steps=eval_inner_steps, adapt_norm=adapt_norm
        )
        tensors = len(self.adapted())
        self.inner_lr, self.weight_decay = inner_lr, weight_decay
        self.rates = nn.Parameter(torch.ones(inner_steps, tensors))  # α, as a multiple of its first value
        self.decays = nn.Parameter(torch.ones(inner_steps, tensors))  # β, likewise
        first, last = nn.Linear(2 * tensors, 2 * tensors), nn.Linear(2 * tensors, 2 * tensors)
        self.generator = nn.Sequential(first, nn.ReLU(), last)
        if start == "maml":
            nn.init.zeros_(last.weight)
            with torch.no_grad():
                last.bias.copy_(torch.cat([torch.ones(tensors), torch.zeros(tensors)]))

    def hyperparameters(self, fast: Weights, gradient: Weights, step: int) -> tuple[Tensor, Tensor]:
        """Learning rates and weight decays of an inner step (from 0), `[T, L]` each."""
        read = [*fast.values(), *(g.detach() for g in gradient.values())]
        made = self.generator(torch.stack([part.flatten(1).mean(1) for part in read], dim=1))
        step = min(step, self.inner_steps - 1)
        rates, decays = made.chunk(2, dim=1)
        return rates * self.rates[step] * self.inner_lr, decays * self.decays[step] * self.inner_lr * self.weight_decay

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """θ' - (decay θ' + rate ∇ L_S(θ'))."""
        gradient = self.gradient(fast, z, y)
        rates, decays = self.hyperparameters(fast, gradient, step)
        shrunk = {name: w - of_tasks(decays[:, i], w) * w for i, (name, w) in enumerate(fast.items())}
        return self.descend(
            shrunk, {name: of_tasks(rates[:, i], g) * g for i, (name, g) in enumerate(gradient.items())}
        )

    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """Step along gradients already scaled by their learning rates."""
        return {name: w - gradient[name] for name, w in fast.items()}


def of_tasks(numbers: Tensor, like: Tensor) -> Tensor:
    """One number per task, `[T]`, shaped to multiply `like` `[T, ...]`."""
    return numbers.view(-1, *[1] * (like.dim() - 1))
