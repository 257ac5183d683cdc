"""Sinusoid regression: y = A sin(ω x - φ), drawn anew for every task (Finn et al. 2017, section 5.1), and its kin."""

from __future__ import annotations

from typing import Annotated, Any, Unpack

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.types import Count, NonNegative, Number
from metabench.data.curves import FREE, TASK, Curves, Sampling, Truth, between, interval
from metabench.data.online import Online
from metabench.data.shift import CurveShift
from metabench.rng import choose, keys_at, uniform
from metabench.tasks import SPLITS, SplitName

NAMES = ("amplitude", "frequency", "phase")


class Sinusoid(Curves):
    """Sines with A, ω and φ uniform in their intervals; targets have noise of standard deviation `relative_noise` A.

    `functions` are the numbers of distinct sines in the training, validation and test split, or null: a new one in
    every task. Points are drawn anew either way.

    Analytic anchors for the family of the paper (A in [0.1, 5], φ in [0, π], ω = 1): predicting 0 has MSE
    E[A²]/2 = 4.25; the best single function is -1.62 cos x, with MSE 3.01.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        amplitude: list[Number],
        frequency: list[Number],
        phase: list[Number],
        relative_noise: NonNegative,
        functions: Annotated[list[Count], Field(min_length=3, max_length=3)] | None,
        online: Online | None = None,
        shift: CurveShift | None = None,
        **sampling: Unpack[Sampling],
    ) -> None:
        super().__init__(seed, device, truth=NAMES, online=online, shift=shift, **sampling)
        self.ranges = {k: interval(k, v) for k, v in zip(NAMES, (amplitude, frequency, phase), strict=True)}
        self.relative_noise, self.functions = relative_noise, functions

    def draw(self, keys: Tensor, split: SplitName) -> Truth:
        """Amplitude, frequency and phase."""
        if self.functions:
            i = SPLITS.index(split)
            number = choose(keys, FREE, self.functions[i], 1).squeeze(1)
            keys = keys_at(self.seeds[split], len(SPLITS) + i, number)  # streams of keys of their own
        drawn = uniform(keys, TASK, 3).split(1, dim=1)
        return {name: between(self.ranges[name], u) for name, u in zip(NAMES, drawn, strict=True)}

    def values(self, truth: Truth, keys: Tensor, xs: list[Tensor]) -> list[Tensor]:
        """The sine."""
        return [sine(truth, x) for x in xs]

    def noise(self, truth: Truth) -> Tensor | float:
        """A share of the amplitude."""
        return self.relative_noise * truth["amplitude"] if self.relative_noise else 0.0

    def card(self) -> dict[str, Any]:
        """The family's intervals."""
        more = {"relative_noise": self.relative_noise, "functions": self.functions}
        return {"source": "sinusoid", **self.ranges, **{k: v for k, v in more.items() if v}, **super().card()}


def sine(truth: Truth, x: Tensor) -> Tensor:
    """The true function of T tasks at x `[T, N]`: `[T, N]`."""
    return truth["amplitude"] * torch.sin(truth["frequency"] * x - truth["phase"])
