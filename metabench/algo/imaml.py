"""Meta-learning with implicit gradients (Rajeswaran, Finn, Kakade, Levine, NeurIPS 2019, arXiv 1909.04630).

    φ* = argmin_φ L_S(φ) + (λ/2) ‖φ - θ‖²             an inner loop that is never unrolled
    dL_Q(φ*)/dθ = A⁻¹ ∇L_Q(φ*),   A = I + H/λ          H = ∇² L_S(φ*), one system per task

by a few steps of conjugate gradients on Hessian-vector products, so memory does not grow with the inner steps.
A is definite only where λ exceeds the negative curvature of L_S, as the paper assumes; on the default sinusoids λ = 2
does not, and conjugate gradients need not approach A⁻¹ there.

- textbook: gradient descent on the regularised loss, in training and test alike, and the A above.
- released, as in the authors' code: gradient descent on L_S alone, then one step on the proximal term alone;
  A = (1 + damping) I + H/(λ + 10); at test no proximal term.

All weights adapt, including those of normalisations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import Steps, Weights
from metabench.algo.maml import MAML
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Conv2d, Linear
from metabench.config.types import Count, NonNegative, Positive
from metabench.tasks import Examples, TaskSpec

RELEASED_SHIFT = 10.0  # added to λ in A by the authors' code

Operator = Callable[[Tensor], Tensor]


class IMAML(MAML, rowwise=True):
    """MAML's model with the implicit gradient of the inner solution, independent of the path to it."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        variant: Literal["textbook", "released"],
        inner_lr: Positive,
        proximal: Positive,
        cg_steps: Count,
        damping: NonNegative,
        init: Literal["released"] | None = None,
        **steps: Unpack[Steps],
    ) -> None:
        super().__init__(spec, backbone, inner_lr=inner_lr, adapt_norm=True, **steps)
        self.released = variant == "released"
        self.proximal, self.cg_steps, self.damping = proximal, cg_steps, damping
        if init == "released":
            _release(self.network)

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """One step of gradient descent on the inner problem."""
        gradient = self.gradient(fast, z, y)
        if not self.released:
            gradient = {name: g + pull for (name, g), pull in zip(gradient.items(), self._pull(fast), strict=True)}
        return self.descend(fast, gradient)

    def _pull(self, fast: Weights) -> list[Tensor]:
        """λ (φ - θ), the gradient of the proximal term."""
        theta = self.adapted()
        return [self.proximal * (w - theta[name]) for name, w in fast.items()]

    def adapt(self, support: Examples) -> Weights:
        """φ*; in training, differentiable in θ by the implicit function theorem."""
        if not (self.training and torch.is_grad_enabled()):
            return super().adapt(support)
        with torch.no_grad():
            *_, solution = self.trajectory(support)
            if self.released:
                solution = self.descend(solution, dict(zip(solution, self._pull(solution), strict=True)))
        theta, found = packed(self.initial(support.x, support.y)), packed(solution)
        hessian = self._hessian(support, found, like=solution)
        return unpacked(_Implicit.apply(theta, found, hessian, self), solution)

    def _hessian(self, support: Examples, solution: Tensor, like: Weights) -> Operator:
        """The product with ∇² L_S at the solution `[T, P]`, per task."""
        at = solution.detach().requires_grad_()
        with torch.enable_grad():
            loss = self.objective.loss(self.read(unpacked(at, like), self.embed(support.x)), support.y).sum()
            (gradient,) = torch.autograd.grad(loss, at, create_graph=True)
        return lambda v: torch.autograd.grad(gradient, at, v, retain_graph=True)[0]

    def solve_implicit(self, hessian: Operator, v: Tensor) -> Tensor:
        """Approximate A⁻¹ v, `[T, P]`."""
        identity, scale = (1 + self.damping, self.proximal + RELEASED_SHIFT) if self.released else (1.0, self.proximal)
        return conjugate_gradients(lambda p: identity * p + hessian(p) / scale, v, self.cg_steps)


def _release(network: nn.Module) -> None:
    """Initialise as the authors' code: weights Xavier-uniform with gain 1.73, biases uniform in [0, 0.05]."""
    for layer in network.modules():
        if isinstance(layer, (Conv2d, Linear)):
            nn.init.xavier_uniform_(layer.weight, gain=1.73)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, 0, 0.05)


def packed(weights: Weights) -> Tensor:
    """All weights of each task as a row, `[T, P]`."""
    return torch.cat([w.flatten(1) for w in weights.values()], dim=1)


def unpacked(row: Tensor, like: Weights) -> Weights:
    """Weights of the shapes of `like` from `[T, P]`."""
    parts = row.split([w[0].numel() for w in like.values()], dim=1)
    return {name: part.view(w.shape) for part, (name, w) in zip(parts, like.items(), strict=True)}


def conjugate_gradients(operator: Operator, b: Tensor, steps: int) -> Tensor:
    """Approximate A⁻¹ b for T systems `[T, P]` at once, from zero (Hestenes, Stiefel 1952)."""
    x, residual, direction = torch.zeros_like(b), b, b
    square = (residual * residual).sum(1, keepdim=True)
    for _ in range(steps):
        image = operator(direction)
        length = _ratio(square, (direction * image).sum(1, keepdim=True))
        x = x + length * direction
        residual = residual - length * image
        before, square = square, (residual * residual).sum(1, keepdim=True)
        direction = residual + _ratio(square, before) * direction
    return x


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    """Return a / b, and 0 where a = b = 0: a solved system stays solved."""
    return a / torch.where(b == 0, torch.ones_like(b), b)


class _Implicit(torch.autograd.Function):
    """φ*(θ), with derivative A⁻¹ by θ."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, solution: Tensor, hessian: Operator, algo: IMAML) -> Tensor:
        ctx.hessian, ctx.algo = hessian, algo
        return solution.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        return ctx.algo.solve_implicit(ctx.hessian, v), None, None, None
