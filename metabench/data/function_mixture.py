"""Curves of several kinds, one kind a task, all equally often (Vuorio, Sun, Hu, Lim, NeurIPS 2019, arXiv 1910.13616).

    sine A sin(x - φ)   line a x + b   quadratic ±q (x - c)² + d   tanh a tanh(x - c) + d   absolute a |x - c| + d

`sinusoid_mixture` is its two-function kin of earlier papers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Unpack

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.types import NonNegative, Number
from metabench.data.curves import TASK, Curves, Sampling, Truth, between, interval
from metabench.errors import ConfigError
from metabench.rng import uniform
from metabench.tasks import SplitName

FUNCTIONS: dict[str, Callable[[Truth, Tensor], Tensor]] = {
    "sine": lambda t, x: t["amplitude"] * torch.sin(x - t["phase"]),
    "line": lambda t, x: t["slope"] * x + t["intercept"],
    "quadratic": lambda t, x: t["sign"] * t["curvature"] * (x - t["center"]).square() + t["offset"],
    "tanh": lambda t, x: t["slope"] * torch.tanh(x - t["center"]) + t["offset"],
    "absolute": lambda t, x: t["slope"] * (x - t["center"]).abs() + t["offset"],
}
NAMES = ("amplitude", "phase", "slope", "intercept", "curvature", "center", "offset")


class FunctionMixture(Curves):
    """Tasks of the kinds in `functions`; `truth["function"]` is the number of a task's kind in that list.

    Each number of a curve is uniform in its interval; targets have noise of standard deviation `noise`. Raises
    `ConfigError` for an unknown kind, or one that is named twice.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        functions: Annotated[list[str], Field(min_length=1)],
        amplitude: list[Number],
        phase: list[Number],
        slope: list[Number],
        intercept: list[Number],
        curvature: list[Number],
        center: list[Number],
        offset: list[Number],
        noise: NonNegative,
        **sampling: Unpack[Sampling],
    ) -> None:
        super().__init__(seed, device, truth=(*NAMES, "sign", "function"), **sampling)
        if len(set(functions)) < len(functions) or not set(functions) <= FUNCTIONS.keys():
            raise ConfigError("data.functions", functions, f"should be some of {', '.join(FUNCTIONS)}, each once")
        ends = (amplitude, phase, slope, intercept, curvature, center, offset)
        self.functions, self.std = functions, noise
        self.ranges = {k: interval(k, v) for k, v in zip(NAMES, ends, strict=True)}

    def draw(self, keys: Tensor, split: SplitName) -> Truth:
        """The numbers of all kinds, the sign of the quadratic, and the kind."""
        *drawn, coin, kind = uniform(keys, TASK, len(NAMES) + 2).split(1, dim=1)
        truth = {name: between(self.ranges[name], u) for name, u in zip(NAMES, drawn, strict=True)}
        return {**truth, "sign": 1 - 2 * (coin < 0.5).double(), "function": (kind * len(self.functions)).floor()}

    def values(self, truth: Truth, keys: Tensor, xs: list[Tensor]) -> list[Tensor]:
        """The curve of each task."""
        return [sum(self._parts(truth, x), torch.zeros_like(x)) for x in xs]

    def _parts(self, truth: Truth, x: Tensor) -> list[Tensor]:
        """For each kind its curves, zero for tasks of another."""
        return [
            torch.where(truth["function"] == number, FUNCTIONS[name](truth, x), 0)
            for number, name in enumerate(self.functions)
        ]

    def noise(self, truth: Truth) -> float:
        """The same for every task."""
        return self.std

    def card(self) -> dict[str, Any]:
        """The kinds, and the intervals of their numbers."""
        kinds = {"functions": self.functions, **self.ranges}
        return {"source": "function_mixture", **kinds, "noise": self.std, **super().card()}
