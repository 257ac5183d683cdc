"""What networks with an external memory share: finding a row by what it contains."""

from __future__ import annotations

from torch import Tensor

EPSILON = 1e-6  # added to squared norms, so that an empty row resembles nothing


def content(keys: Tensor, memory: Tensor, strength: Tensor | float) -> Tensor:
    """softmax_i β cos(k, M_i) for keys `[T, H, W]` and rows `[T, N, W]`: `[T, H, N]`; β is a number or `[T, H, 1]`."""
    products = keys @ memory.mT
    norms = (keys.square().sum(-1) + EPSILON).rsqrt().unsqueeze(-1) * (memory.square().sum(-1) + EPSILON).rsqrt()[
        :, None
    ]
    return (strength * products * norms).softmax(-1)
