"""Sine or line, each in half of the tasks (Finn, Xu, Levine, NeurIPS 2018, arXiv 1806.02817; Rusu et al., ICLR 2019).

From few noisy points a task is ambiguous: several curves of either kind fit.
"""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch import Tensor

from metabench.config.types import NonNegative, Number
from metabench.data.curves import TASK, Curves, Sampling, Truth, between, interval
from metabench.data.sinusoid import sine
from metabench.rng import uniform
from metabench.tasks import SplitName

NAMES = ("amplitude", "phase", "slope", "intercept")


class SinusoidMixture(Curves):
    """y = A sin(x - φ) or y = a x + b; `truth["line"]` says which; targets have noise of standard deviation `noise`."""

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        amplitude: list[Number],
        phase: list[Number],
        slope: list[Number],
        intercept: list[Number],
        noise: NonNegative,
        **sampling: Unpack[Sampling],
    ) -> None:
        super().__init__(seed, device, truth=(*NAMES, "line"), **sampling)
        ends = (amplitude, phase, slope, intercept)
        self.ranges = {k: interval(k, v) for k, v in zip(NAMES, ends, strict=True)}
        self.std = noise

    def draw(self, keys: Tensor, split: SplitName) -> Truth:
        """The numbers of both, and whether it is the line (1) or the sine (0)."""
        *drawn, coin = uniform(keys, TASK, len(NAMES) + 1).split(1, dim=1)
        truth = {name: between(self.ranges[name], u) for name, u in zip(NAMES, drawn, strict=True)}
        return {**truth, "line": (coin < 0.5).double()}

    def values(self, truth: Truth, keys: Tensor, xs: list[Tensor]) -> list[Tensor]:
        """The curve of each task."""
        wave = {**truth, "frequency": torch.ones_like(truth["phase"])}
        return [torch.where(truth["line"] > 0, truth["slope"] * x + truth["intercept"], sine(wave, x)) for x in xs]

    def noise(self, truth: Truth) -> float:
        """The same for every task."""
        return self.std

    def card(self) -> dict[str, Any]:
        """The intervals of both kinds."""
        return {"source": "sinusoid_mixture", **self.ranges, "noise": self.std, **super().card()}
