"""DropBlock: regularisation of feature maps by dropping squares of them (Ghiasi, Lin, Le, NeurIPS 2018)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from metabench.rng import NOISE, content_keys, uniform

_STREAM = NOISE + 64  # of random numbers, apart from those of methods


def block_keys(x: Tensor) -> Tensor:
    """One int64 key per example of x `[T, N, ...]`: `[T, N]`, of the example and of the set that it is in.

    An image is dropped in other places in every episode, and in the same places where a run is resumed, a batch is
    split, or activations are recomputed.
    """
    keys = content_keys(x)
    return keys + keys.sum(1, keepdim=True)


def drop_block(x: Tensor, keys: Tensor, layer: int, rate: float, block: int) -> Tensor:
    """Maps x `[N, T, C, H, W]` without a share of about `rate`, in squares of side `block`; the rest is scaled up.

    `keys [T, N]` seed the places, each `layer` its own. A square is no larger than a map.
    """
    n, tasks, channels, height, width = x.shape
    block = min(block, height, width)
    free = (height - block + 1, width - block + 1)
    gamma = rate / block**2 * (height * width) / (free[0] * free[1])  # of a place to be a corner of a dropped square
    numbers = uniform(keys.T.reshape(-1), _STREAM + layer, channels, *free)
    corners = (numbers < gamma).to(x.dtype)
    dropped = F.max_pool2d(F.pad(corners, (block - 1,) * 4), block, stride=1)
    kept = (1 - dropped).view(n, tasks, channels, height, width)
    return x * kept / kept.mean((2, 3, 4), keepdim=True).clamp(min=1e-3)
