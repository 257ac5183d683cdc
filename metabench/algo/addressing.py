"""Content addressing, shared by networks with an external memory: find a row by what it contains."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

Start = Literal["sharp"] | None
"""An interface before the first meta-step: that of a memory that binds, or None, a linear layer as it is drawn.

With biases near 0 every gate is 1/2 and every strength softplus(0) = 0.69: a read is about the mean of all rows, and
what is written is spread over them or written faintly. Nothing that is read then tells one example from another, so
counting labels is all there is to learn, and training stays there. "sharp" begins with a write that lands on one row
of its own and a read that finds the row most like its key: both are needed, either alone is still a mean. A key
also begins as what would be written: keys and rows that are drawn apart have a cosine of their own for all examples, of
either sign, and where it is negative a head reads the rows that nothing was written to.
"""
STRONG = math.log(math.expm1(10))  # softplus of it is 10: a row like the key outweighs 64 that are unlike it by 340
OPEN = 3.0  # σ of it is 0.95, and of its negative 0.05: a gate that is all but open, and still learns

EMPTY = 1e-6  # of every number of a memory that nothing was written to
EPSILON = 1e-6  # added to squared norms, so that an empty row resembles nothing


def content(keys: Tensor, memory: Tensor, strength: Tensor | float) -> Tensor:
    """softmax_i β cos(k, M_i) for keys `[T, H, W]` and rows `[T, N, W]`: `[T, H, N]`; β is a number or `[T, H, 1]`."""
    products = keys @ memory.mT
    norms = (keys.square().sum(-1) + EPSILON).rsqrt().unsqueeze(-1) * (memory.square().sum(-1) + EPSILON).rsqrt()[
        :, None
    ]
    return (strength * products * norms).softmax(-1)
