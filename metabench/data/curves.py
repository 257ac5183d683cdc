"""Regression tasks that are functions of one variable: points of a curve, with or without noise."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, TypedDict

import torch
from torch import Tensor

from metabench.config.types import Count, Number, Section, Seed
from metabench.data.base import TaskSource
from metabench.data.online import Online
from metabench.data.shift import CurveShift
from metabench.errors import ConfigError
from metabench.rng import gaussian, task_keys, uniform
from metabench.tasks import SPLITS, Episode, Examples, SplitName, Tasks, TaskSpec

TASK, SUPPORT, QUERY, SUPPORT_NOISE, QUERY_NOISE, FREE = range(6)  # streams of random numbers; the last is a subclass's
_SHIFT = 16
Truth = dict[str, Tensor]


class Points(Section):
    """Examples of a training task."""

    shots: Count
    queries: Count


class Sampling(TypedDict):
    """Number and range of a task's points."""

    shots: Count
    queries: Count
    train: Points
    x_range: list[Number]
    eval_grid: bool
    eval_seed: Seed


class Curves(TaskSource):
    """Support points and fresh query points, uniform in `x_range`; with `eval_grid` those of evaluation evenly spaced.

    With `shift` test tasks differ from training in one known way (`metabench.data.shift`).

    A subclass draws what makes a curve and says its values. All is computed in float64 and rounded once, so that
    devices agree.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        shots: int,
        queries: int,
        train: Points,
        x_range: list[Number],
        eval_grid: bool,
        eval_seed: int,
        truth: tuple[str, ...],
        online: Online | None = None,
        shift: CurveShift | None = None,
    ) -> None:
        self.shift = shift if shift and shift.given else None
        if self.shift and online is not None:
            raise ConfigError("data.shift", "given", "null: it is of tasks with a support set, all of it at once")
        if self.shift and self.shift.query_x:
            interval("shift.query_x", self.shift.query_x)
        self.seeds = {"train": seed, "validation": eval_seed, "test": eval_seed}
        self.device, self.x_range, self.eval_grid = device, interval("x_range", x_range), eval_grid
        train_size, eval_size = Episode(1, train.shots, train.queries), Episode(1, shots, queries)
        self.spec = TaskSpec((1,), "mse", train_size, eval_size, truth=truth)
        self.online = online
        if online is not None:
            self.spec = online.applied(self.spec)

    @abstractmethod
    def draw(self, keys: Tensor, split: SplitName) -> Truth:
        """Parameters of each task's curve: numbers `[T, 1]`, by the names in the spec."""

    @abstractmethod
    def values(self, truth: Truth, keys: Tensor, xs: list[Tensor]) -> list[Tensor]:
        """The curves of T tasks, free of noise, at each x `[T, N]`; the first would be the same without the rest."""

    @abstractmethod
    def noise(self, truth: Truth) -> Tensor | float:
        """The standard deviation of the targets around the curve, a number or one a task, `[T, 1]`."""

    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """See `TaskSource`."""
        if split == "train" and self.online is not None:
            return self.buffer.sample(index, num_tasks)
        keys = task_keys(self.seeds[split], SPLITS.index(split), index, num_tasks, self.device)
        truth = self.draw(keys, split)
        xs = self._inputs(keys, split)
        noise = self.noise(truth)
        parts: list[Examples] = []
        for x, y, stream in zip(xs, self.values(truth, keys, xs), (SUPPORT_NOISE, QUERY_NOISE), strict=True):
            if isinstance(noise, Tensor) or noise:
                y = y + noise * gaussian(keys, stream, x.shape[1])
            parts.append(Examples(x.float().unsqueeze(-1), y.float().unsqueeze(-1)))
        support, query = parts
        if split == "test" and self.shift and self.shift.noise:
            more = self.shift.noise * gaussian(keys, _SHIFT, support.x.shape[1]).float()
            support = support._replace(y=support.y + more.unsqueeze(-1))
        return Tasks(support, query, truth, keys)

    def curve(self, tasks: Tasks, x: Tensor) -> Tensor:
        """The true curve of each of the evaluation tasks `tasks` at x `[N]`: `[T, N]`, for pictures."""
        assert tasks.keys is not None
        xs = [*self._inputs(tasks.keys, "validation"), x.double().expand(len(tasks), -1)]
        return self.values(tasks.truth, tasks.keys, xs)[-1].float()

    def card(self) -> dict[str, Any]:
        """Facts common to all curves; what is not in force is not there."""
        grid = {"queries_at": "grid"} if self.eval_grid else {}
        online = {} if self.online is None else self.online.card()
        shift = {} if self.shift is None else {"shift": self.shift.given}
        return {"x_range": self.x_range, **grid, **online, **shift, "eval_seed": self.seeds["test"]}

    def _inputs(self, keys: Tensor, split: SplitName) -> list[Tensor]:
        """x of the support set and of the queries."""
        episode = self.spec.train if split == "train" else self.spec.eval
        away = self.shift.query_x if self.shift and split == "test" else None
        low, high = asked = away or self.x_range
        support = between(self.x_range, uniform(keys, SUPPORT, episode.shots))
        if self.eval_grid and split != "train":
            grid = torch.linspace(low, high, episode.queries, dtype=torch.float64, device=keys.device)
            return [support, grid.expand(len(keys), -1)]
        return [support, between(asked, uniform(keys, QUERY, episode.queries))]


def between(ends: list[Number], u: Tensor) -> Tensor:
    """u of [0, 1) moved to [low, high)."""
    low, high = ends
    return low + (high - low) * u


def interval(name: str, ends: list[Number]) -> list[Number]:
    """`ends`, if they are two in order."""
    if len(ends) != 2 or ends[0] > ends[1]:
        raise ConfigError(f"data.{name}", ends, "should be [low, high] with low <= high")
    return ends
