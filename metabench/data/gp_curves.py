"""Curves from a Gaussian process with a squared exponential kernel (Garnelo et al. 2018; Kim et al. 2019).

    f ~ GP(0, k),   k(x, x') = s² exp(-(x - x')² / 2l²),   y = f(x) + ε,   ε ~ N(0, noise²)

Values are L u with k = L Lᵀ and u standard normal. The leading part of L is that of the leading points, so a curve may
be asked for at more points later: the values it has do not change.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from metabench.config.types import NonNegative, Positive
from metabench.data.curves import FREE, TASK, Curves, Sampling, Truth, between, interval
from metabench.rng import gaussian, uniform
from metabench.tasks import SplitName

JITTER = 1e-6  # of the prior variance, added to it so that the kernel has a root


class GPCurves(Curves):
    """Length scale l and output scale s are uniform in their intervals, one pair a task."""

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        length: list[Positive],
        scale: list[Positive],
        noise: NonNegative,
        **sampling: Unpack[Sampling],
    ) -> None:
        super().__init__(seed, device, truth=("length", "scale"), **sampling)
        self.ranges = {"length": interval("length", length), "scale": interval("scale", scale)}
        self.std = noise

    def draw(self, keys: Tensor, split: SplitName) -> Truth:
        """The kernel's parameters."""
        drawn = uniform(keys, TASK, 2).split(1, dim=1)
        return {name: between(self.ranges[name], u) for name, u in zip(("length", "scale"), drawn, strict=True)}

    def values(self, truth: Truth, keys: Tensor, xs: list[Tensor]) -> list[Tensor]:
        """One curve a task, at all points jointly."""
        x = torch.cat(xs, dim=1)
        kernel = squared_exponential(x, x, truth["length"]) + JITTER * torch.eye(x.shape[1], device=x.device)
        root = torch.linalg.cholesky_ex(
            kernel
        ).L  # without a look at the result, which a GPU would have to be waited for
        u = gaussian(keys, FREE, x.shape[1])
        return list((truth["scale"] * (root * u.unsqueeze(1)).sum(-1)).split([part.shape[1] for part in xs], dim=1))

    def noise(self, truth: Truth) -> float:
        """The same for every task."""
        return self.std

    def card(self) -> dict[str, Any]:
        """The kernel's intervals."""
        kernel = {"kernel": "squared exponential", **self.ranges}
        return {"source": "gp_curves", **kernel, "noise": self.std, **super().card()}


def squared_exponential(a: Tensor, b: Tensor, length: Tensor) -> Tensor:
    """exp(-(a - b)² / 2l²) of a `[T, N]` and b `[T, M]` under length `[T, 1]`: `[T, N, M]`."""
    return torch.exp(-0.5 * ((a.unsqueeze(-1) - b.unsqueeze(-2)) / length.unsqueeze(-1)).square())
