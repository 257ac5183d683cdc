"""Statistics over tasks: the metric of every task, its mean and 95% interval, and how many are not finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metabench.algo.base import Algorithm, Mode
from metabench.axis import INNER_STEPS, Axis
from metabench.data.base import TaskSource
from metabench.tasks import Metrics, SplitName
from metabench.utils.distributed import SINGLE, Distributed
from metabench.utils.interval import half_width

FORMULA = "mean ± t(0.975, n-1) · s / √n over n test tasks"


@dataclass(frozen=True)
class Estimate:
    """A mean over independent tasks and the half-width of its 95% interval."""

    mean: float
    ci95: float
    episodes: int


def estimate(values: Tensor) -> Estimate:
    """Mean and Student-t 95% half-width of `values [E]`; the half-width is NaN for a single value.

    Both are NaN if a value is not finite: the mean over the other tasks would be of easier ones.
    """
    values = values.double()
    if not bool(values.isfinite().all()):
        return Estimate(math.nan, math.nan, values.numel())
    return Estimate(values.mean().item(), half_width(values.numpy()), values.numel())


def evaluate(
    algo: Algorithm,
    source: TaskSource,
    split: SplitName,
    episodes: int,
    *,
    batch: int,
    mode: Mode | None = None,
    alone: int | None = None,
    last: bool = False,
    tick: Callable[[int], None] = lambda done: None,
    ranks: Distributed = SINGLE,
) -> Metrics:
    """Metrics of tasks 0 .. episodes - 1 of `split`, `[E, K]` each, on the CPU; the model is left as it was.

    `mode`, `alone` and `last` are those of `Algorithm.evaluate`. Each rank evaluates a shard of the tasks. `tick` is
    called with the number of tasks done, after every batch and by all ranks equally often; it may raise to stop.
    """
    training = algo.training
    algo.eval()
    parts: list[Metrics] = []
    try:
        for start in range(0, math.ceil(episodes / ranks.size), batch):
            if mine := ranks.shard(episodes)[start : start + batch]:
                parts.append(algo.evaluate(source.sample(split, mine.start, len(mine)), mode, alone, last=last))
            tick(min(episodes, ranks.size * (start + batch)))
    finally:
        algo.train(training)
    parts = [
        part for share in ranks.gather([{k: v.cpu() for k, v in part.items()} for part in parts]) for part in share
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def count_nonfinite(values: Tensor) -> int:
    """Number of tasks of `values [E]` whose metric is not finite."""
    return int((~values.isfinite()).sum())


def summarise(values: Tensor, axis: Axis = INNER_STEPS) -> dict[str, Any]:
    """The final result of `values [E, K]`, and that of each column of the axis.

    `nonfinite` is the number of tasks whose metric is not finite, where there are any; the mean is then NaN.
    """
    columns = [_result(column) for column in values.unbind(1)]
    per_step = [{"step": i, **result} for i, result in enumerate(columns, axis.first)]
    return {**columns[-1], "episodes": values.shape[0], "axis": axis.name, "per_step": per_step}


def _result(values: Tensor) -> dict[str, Any]:
    found, lost = estimate(values), count_nonfinite(values)
    return {"mean": found.mean, "ci95": found.ci95, **({"nonfinite": lost} if lost else {})}
