"""Inner loops whose step is itself learned: θ' = θ - move, the same small network for every coordinate of θ.

The network sees a gradient through its size and its sign, on a scale that it can read (Andrychowicz et al. 2016,
appendix A; Ravi, Larochelle 2017, p = 10):

    x ↦ (log|x| / p, sign x)  if |x| ≥ e^-p,  else (-1, e^p x)

What the network reads is a constant to the outer loop, as in both papers: the derivative of the logarithm has no bound.
Whether the gradient that a move is made of is a constant too is the rule's choice (`first_order`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from math import exp
from typing import Any

import torch
from torch import Tensor

from metabench.algo.fast_weights import FastWeights, Weights
from metabench.tasks import Examples

P = 10.0  # of the preprocessing


class LearnedRule(FastWeights, rowwise=True):
    """A step is a function of the weights `[T, P]`, their gradient and the loss, and of what the rule keeps."""

    @abstractmethod
    def begin(self, theta: Tensor) -> Any:
        """State of the rule before the first step from weights `[T, P]`."""

    @abstractmethod
    def move(self, theta: Tensor, gradient: Tensor, loss: Tensor, kept: Any) -> tuple[Tensor, Any]:
        """The move `[T, P]` of weights `[T, P]` with that gradient and support loss `[T]`, and what the rule keeps."""

    def end(self, kept: Any) -> None:
        """Called in training after the last step."""

    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """θ - move."""
        return {name: w - gradient[name] for name, w in fast.items()}

    def trajectory(self, support: Examples) -> Iterator[Weights]:
        """Fast weights after each inner step 0..S."""
        z = self.embed(support.x)
        fast = self.initial(z, support.y)
        yield fast
        kept = self.begin(flat(fast))
        for _ in range(self.steps):
            loss, gradient = self.loss_and_gradient(fast, z, support.y)
            move, kept = self.move(flat(fast), flat(gradient), loss, kept)
            fast = self.descend(fast, shaped(move, fast))
            yield fast
        if self.training and self.steps:
            self.end(kept)

    def adapt(self, support: Examples) -> Weights:
        """θ'_S; nothing is rematerialised."""
        *_, last = self.trajectory(support)
        return last


def flat(weights: Weights) -> Tensor:
    """Weights `[T, *shape]` in one row per task, `[T, P]`."""
    return torch.cat([w.flatten(1) for w in weights.values()], dim=1)


def shaped(rows: Tensor, like: Weights) -> Weights:
    """Rows `[T, P]` as weights `[T, *shape]` of the names and shapes of `like`."""
    parts = rows.split([w[0].numel() for w in like.values()], dim=1)
    return {name: part.reshape(len(part), *w.shape[1:]) for part, (name, w) in zip(parts, like.items(), strict=True)}


def readable(x: Tensor) -> Tensor:
    """The preprocessing above, without a gradient: `[...]` to `[..., 2]`."""
    x = x.detach()
    size = x.abs()
    large = size >= exp(-P)
    first = torch.where(large, size.clamp_min(exp(-P)).log() / P, -1.0)
    return torch.stack([first, torch.where(large, x.sign(), exp(P) * x)], dim=-1)
