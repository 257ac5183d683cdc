"""Statistics over tasks: every figure carries its episodes, its interval and the name of the formula."""

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

FORMULA = "mean ± t(0.975, n-1) · s / √n over n test tasks"


@dataclass(frozen=True)
class Estimate:
    """A mean over independent tasks and the half-width of its 95% interval."""

    mean: float
    ci95: float
    episodes: int


def estimate(values: Tensor) -> Estimate:
    """Mean and Student-t 95% half-width of `values [E]`; the half-width is NaN for a single value."""
    values = values.double()
    from scipy.special import stdtrit  # a quarter of a second

    n = values.numel()
    half = stdtrit(n - 1, 0.975) * values.std(correction=1).item() / math.sqrt(n) if n > 1 else math.nan
    return Estimate(values.mean().item(), float(half), n)


def evaluate(
    algo: Algorithm,
    source: TaskSource,
    split: SplitName,
    episodes: int,
    *,
    batch: int,
    mode: Mode | None = None,
    tick: Callable[[int], None] = lambda done: None,
    ranks: Distributed = SINGLE,
) -> Metrics:
    """The metrics of tasks 0 .. episodes - 1 of `split`, `[E, K]` each, on the CPU; the model is left as it was.

    Each rank evaluates a share of them. `tick` is called with the number of tasks done, after every batch and by all
    ranks equally often; it may raise to stop.
    """
    training = algo.training
    algo.eval()
    parts: list[Metrics] = []
    try:
        for start in range(0, math.ceil(episodes / ranks.size), batch):
            if mine := ranks.shard(episodes)[start : start + batch]:
                parts.append(algo.evaluate(source.sample(split, mine.start, len(mine)), mode))
            tick(min(episodes, ranks.size * (start + batch)))
    finally:
        algo.train(training)
    parts = [
        part for share in ranks.gather([{k: v.cpu() for k, v in part.items()} for part in parts]) for part in share
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def summarise(values: Tensor, axis: Axis = INNER_STEPS) -> dict[str, Any]:
    """The final figure of `values [E, K]`, and that of each column of the axis."""
    steps = [estimate(column) for column in values.unbind(1)]
    final = steps[-1]
    return {
        "mean": final.mean,
        "ci95": final.ci95,
        "episodes": final.episodes,
        "axis": axis.name,
        "per_step": [{"step": i, "mean": e.mean, "ci95": e.ci95} for i, e in enumerate(steps, axis.first)],
    }
