"""Sinusoid regression: y = A sin(ω x - φ), drawn anew for every task (Finn et al. 2017, section 5.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metabench.config import Count, Number, Section, Seed
from metabench.data.draw import task_keys, uniform
from metabench.errors import ConfigError
from metabench.tasks import SPLITS, Episode, Split, SplitName, Tasks, TaskSource, TaskSpec

_TASK, _SUPPORT, _QUERY = range(3)


class Points(Section):
    """Examples of a training task."""

    shots: Count
    queries: Count


class Sinusoid(TaskSource):
    """Tasks of support points and fresh query points, all drawn uniformly from `x_range`.

    Analytic anchors for the family of the paper (A in [0.1, 5], φ in [0, π], ω = 1): predicting 0 has MSE
    E[A²]/2 = 4.25; the best single function is -1.62 cos x, with MSE 3.01.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        shots: Count,
        queries: Count,
        train: Points,
        amplitude: list[Number],
        frequency: list[Number],
        phase: list[Number],
        x_range: list[Number],
        eval_seed: Seed,
    ) -> None:
        self.seeds = {"train": seed, "validation": eval_seed, "test": eval_seed}
        self.device = device
        self.ranges = {"amplitude": amplitude, "frequency": frequency, "phase": phase, "x_range": x_range}
        for name, interval in self.ranges.items():
            if len(interval) != 2 or interval[0] > interval[1]:
                raise ConfigError(f"data.{name}", interval, "should be [low, high] with low <= high")
        self.spec = TaskSpec((1,), "mse", Episode(1, train.shots, train.queries), Episode(1, shots, queries))

    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """See `TaskSource`. Drawn in float64 and rounded once, so that devices agree."""
        keys = task_keys(self.seeds[split], SPLITS.index(split), index, num_tasks, self.device)
        drawn = uniform(keys, _TASK, 3).split(1, dim=1)
        truth = {
            name: self._between(name, u) for name, u in zip(("amplitude", "frequency", "phase"), drawn, strict=True)
        }
        episode = self.spec.train if split == "train" else self.spec.eval
        support = self._points(truth, uniform(keys, _SUPPORT, episode.shots))
        query = self._points(truth, uniform(keys, _QUERY, episode.queries))
        return Tasks(support, query, truth, keys)

    def card(self) -> dict[str, Any]:
        """The family's intervals."""
        return {"source": "sinusoid", **self.ranges, "eval_seed": self.seeds["test"]}

    def _between(self, name: str, u: Tensor) -> Tensor:
        low, high = self.ranges[name]
        return low + (high - low) * u

    def _points(self, truth: dict[str, Tensor], u: Tensor) -> Split:
        x = self._between("x_range", u)
        y = sine(truth, x)
        return Split(x.float().unsqueeze(-1), y.float().unsqueeze(-1))


def sine(truth: dict[str, Tensor], x: Tensor) -> Tensor:
    """The true function of T tasks at x `[T, N]`: `[T, N]`."""
    return truth["amplitude"] * torch.sin(truth["frequency"] * x - truth["phase"])
