"""Diagonal normal distributions, for latent variables."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Normal(NamedTuple):
    """Means and standard deviations, `[..., L]` each."""

    mean: Tensor
    std: Tensor


def divergence(q: Normal, p: Normal) -> Tensor:
    """KL(q ‖ p) in nats, summed over the last dimension: `[...]`."""
    ratio = (q.std / p.std).square()
    return 0.5 * (ratio + ((q.mean - p.mean) / p.std).square() - 1 - ratio.log()).sum(-1)
