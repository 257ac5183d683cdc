"""Batch normalisation with batch statistics, and its first and second derivative in closed form.

With x̂ = (x - μ) r, r = (σ² + ε)^-½, M values per channel and P(u) = u - mean(u) - x̂ mean(u x̂), which is self-adjoint:

    y  = γ x̂ + β
    dx = γ r P(g)        dγ = Σ g x̂        dβ = Σ g                        g a cotangent of y

and for cotangents (h, hγ, hβ) of (dx, dγ, dβ), with a = mean(g x̂), b = mean(h x̂), c = mean(h P(g)):

    dg = γ r P(h) + hγ x̂ + hβ
    dx = r hγ P(g) - γ r² (a P(h) + b P(g) + c x̂)
    dγ = r M c

The cost is one more pass of the first derivative's kernel (which gives γ r P(h), Σ h and Σ h x̂) and a few channelwise
multiply-adds; torch's double backward takes about thirty passes over the activations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def batch_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise x `[N, K, ...]` per channel, with weight and bias `[K]`: y, the mean and the biased variance `[K]`.

    y is twice differentiable; mean and variance carry no gradient.
    """
    learning = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias))
    y, mean, rstd = (_BatchNorm.apply if learning else _statistics)(x, weight, bias, eps)
    return y, mean, rstd.pow(-2) - eps


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, rstd = _statistics(x, weight, bias, eps)
        ctx.eps = eps
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.mark_non_differentiable(mean, rstd)
        return y, mean, rstd

    @staticmethod
    def backward(ctx: Any, g: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        return *_Gradient.apply(g, *ctx.saved_tensors, ctx.eps), None


class _Gradient(torch.autograd.Function):
    """(dx, dγ, dβ) of (g, x, γ). The derivative by x includes its effect on mean and standard deviation."""

    @staticmethod
    def forward(
        ctx: Any, g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dx, dweight, dbias = _pass(g, x, weight, mean, rstd, eps)
        ctx.eps = eps
        ctx.save_for_backward(g, x, weight, mean, rstd, dweight, dbias)
        return dx, dweight, dbias

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, h: Tensor, h_weight: Tensor, h_bias: Tensor) -> tuple[Tensor | None, ...]:
        g, x, weight, mean, rstd, sum_gx, sum_g = ctx.saved_tensors
        shape = (1, -1, *[1] * (x.dim() - 2))
        count = x.numel() // x.shape[1]
        ph, sum_hx, sum_h = _pass(h, x, weight, mean, rstd, ctx.eps)  # γ r P(h)
        sum_hg = (h * g).sum([d for d in range(x.dim()) if d != 1])
        sum_hpg = sum_hg - (sum_h * sum_g + sum_hx * sum_gx) / count  # M c
        by_pg = rstd * h_weight - weight * rstd.square() * sum_hx / count  # the factors of P(g), x̂ and γ r P(h) in dx
        by_x = -weight * rstd.square() * sum_hpg / count - by_pg * sum_gx / count
        by_ph = -rstd * sum_gx / count
        offset = -by_pg * sum_g / count - by_x * rstd * mean

        def channelwise(*values: Tensor) -> list[Tensor]:
            return [value.to(x.dtype).view(shape) for value in values]

        at_g, at_x, at_ph, constant = channelwise(by_pg, by_x * rstd, by_ph, offset)
        dx = torch.addcmul(constant, g, at_g).addcmul_(x, at_x).addcmul_(ph, at_ph)
        at_x, constant = channelwise(h_weight * rstd, h_bias - h_weight * rstd * mean)
        dg = ph.addcmul_(x, at_x).add_(constant)
        return dg, dx, rstd * sum_hpg, None, None, None


def _statistics(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """y, μ and r."""
    return torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)


def _pass(g: Tensor, x: Tensor, weight: Tensor, mean: Tensor, rstd: Tensor, eps: float) -> tuple[Tensor, ...]:
    """γ r P(g), Σ g x̂ and Σ g, in one fused kernel."""
    return torch.ops.aten.native_batch_norm_backward(
        g, x, weight, None, None, mean, rstd, True, eps, [True, True, True]
    )
