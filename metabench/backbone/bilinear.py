"""Bilinear maps whose derivatives of every order are again the same three maps.

For y = C(x, w) and a cotangent g of y, let D(g, w) be the gradient with respect to x and W(x, g) the one with respect
to w. All three are bilinear, and each is the derivative of the others:

    C(x, w):  dx = D(g, w)   dw = W(x, g)
    D(g, w):  dg = C(h, w)   dw = W(h, g)        h a cotangent of x's shape
    W(x, g):  dx = D(g, v)   dg = C(x, v)        v a cotangent of w's shape

So the second-order gradient of an inner loop needs no further kernel. Torch's double backward of a grouped
convolution instead loops over the groups, which here are the tasks.

w holds one set of weights per task, `[T, ...]`. If it is one set expanded to T tasks (stride 0, as in the first inner
step), C and D are computed once under shared weights; W still gives every task its own gradient.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor


class Bilinear(ABC):
    """The three maps. Calling computes C, differentiable in both arguments to any order."""

    def __call__(self, x: Tensor, w: Tensor) -> Tensor:
        """y = C(x, w)."""
        if torch.is_grad_enabled() and (x.requires_grad or w.requires_grad):
            return _C.apply(self, x, w)
        return self.output(x, w)

    @abstractmethod
    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """C(x, w)."""

    @abstractmethod
    def input_gradient(self, g: Tensor, w: Tensor, shape: torch.Size) -> Tensor:
        """D(g, w), of the `shape` of x."""

    @abstractmethod
    def weight_gradient(self, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        """W(x, g), of the `shape` of w."""


class Product(Bilinear):
    """Matrix product x wᵀ: x `[T, N, I]`, w `[T, O, I]`, y `[T, N, O]`."""

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """One product for all tasks under shared weights, else one per task."""
        return F.linear(x, w[0]) if shared(w) else x @ w.mT

    def input_gradient(self, g: Tensor, w: Tensor, shape: torch.Size) -> Tensor:
        """g w."""
        return g @ (w[0] if shared(w) else w)

    def weight_gradient(self, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        """gᵀ x."""
        return g.mT @ x


class Convolution(Bilinear):
    """Convolution with a K x K kernel, `padding` on every side: x `[N, T, I, H, W]`, w `[T, O, I, K, K]`, y alike.

    Tasks fold into examples under shared weights and into groups of channels otherwise; both foldings are views.
    """

    def __init__(self, stride: int, padding: int = 1) -> None:
        self.stride, self.padding = stride, padding

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """The convolution."""
        if shared(w):
            y = F.conv2d(x.flatten(0, 1), w[0], None, self.stride, self.padding)
        else:
            y = F.conv2d(x.flatten(1, 2), w.flatten(0, 1), None, self.stride, self.padding, groups=x.shape[1])
        return y.view(*x.shape[:2], -1, *y.shape[2:])

    def input_gradient(self, g: Tensor, w: Tensor, shape: torch.Size) -> Tensor:
        """The transposed convolution."""
        n, tasks, channels, *size = shape
        if shared(w):
            x = g.new_empty(n * tasks, channels, *size)
            return self._backward(g.flatten(0, 1), x, w[0], 1, 0).view(shape)
        x = g.new_empty(n, tasks * channels, *size)
        return self._backward(g.flatten(1, 2), x, w.flatten(0, 1), tasks, 0).view(shape)

    def weight_gradient(self, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        """The correlation of x and g, per task."""
        w = g.new_empty(shape)
        return self._backward(g.flatten(1, 2), x.flatten(1, 2), w.flatten(0, 1), shape[0], 1).view(shape)

    def _backward(self, g: Tensor, x: Tensor, w: Tensor, groups: int, wanted: Literal[0, 1]) -> Tensor:
        """The gradient of x (`wanted=0`) or of w (1), of which only the shape is used.

        The functions of `torch.nn.grad` would copy that tensor.
        """
        stride, padding, ones, zeros = [self.stride] * 2, [self.padding] * 2, [1, 1], [0, 0]
        mask = [wanted == 0, wanted == 1, False]
        found = torch.ops.aten.convolution_backward(g, x, w, None, stride, padding, ones, False, zeros, groups, mask)
        return found[wanted]


def shared(w: Tensor) -> bool:
    """Return True if w `[T, ...]` is one set of weights, expanded."""
    return w.stride(0) == 0


class _C(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Bilinear, x: Tensor, w: Tensor) -> Tensor:
        ctx.maps = maps
        ctx.save_for_backward(x, w)
        return maps.output(x, w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, w = ctx.saved_tensors
        _, for_x, for_w = ctx.needs_input_grad
        dx = _D.apply(ctx.maps, g, w, x.shape) if for_x else None
        dw = _W.apply(ctx.maps, x, g, w.shape) if for_w else None
        return None, dx, dw


class _D(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Bilinear, g: Tensor, w: Tensor, shape: torch.Size) -> Tensor:
        ctx.maps = maps
        ctx.save_for_backward(g, w)
        return maps.input_gradient(g, w, shape)

    @staticmethod
    def backward(ctx: Any, h: Tensor) -> tuple[Tensor | None, ...]:
        g, w = ctx.saved_tensors
        _, for_g, for_w, _ = ctx.needs_input_grad
        dg = _C.apply(ctx.maps, h, w) if for_g else None
        dw = _W.apply(ctx.maps, h, g, w.shape) if for_w else None
        return None, dg, dw, None


class _W(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Bilinear, x: Tensor, g: Tensor, shape: torch.Size) -> Tensor:
        ctx.maps = maps
        ctx.save_for_backward(x, g)
        return maps.weight_gradient(x, g, shape)

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
        x, g = ctx.saved_tensors
        _, for_x, for_g, _ = ctx.needs_input_grad
        dx = _D.apply(ctx.maps, g, v, x.shape) if for_x else None
        dg = _C.apply(ctx.maps, x, v) if for_g else None
        return None, dx, dg, None
