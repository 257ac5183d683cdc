"""95% intervals of a mean: over test tasks, over seeds and test tasks, and of the difference of two means.

All seeds of a configuration are tested on the same tasks: their values `x[s, t]` are a two-way table of seeds and
tasks, and both are samples, for another user has another seed and other tasks. In the crossed random-effects model

    x[s, t] = mean + seed[s] + task[t] + rest[s, t]

the mean over S seeds and T tasks has the variance (MS_seeds + MS_tasks - MS_rest) / (S T), by the mean squares of the
analysis of variance (Searle, Casella, McCulloch 1992, Variance Components, chapter 4). An interval over the S means
alone takes the tasks, which all seeds share, as fixed: where tasks vary more than seeds it covers far less than 95%.

The two sources have very different degrees of freedom, S - 1 and T - 1. Their half-widths are added in squares, each
with its own quantile of Student's t (Howe 1974, JASA 69, 789-794):

    h² = t(S-1)² · (MS_seeds - MS_rest) / (S T) + t(T-1)² · MS_tasks / (S T)

Satterthwaite's (1946) single number of degrees of freedom for the sum covers 91% where three seeds vary more than
tasks, as it rests on the few seeds' own estimate of how much they vary; this covers 94 to 97% in the same simulation
(tests/utils/test_interval.py). Of two seeds it would be right too, but is so wide (t = 12.7) that each
seed is better shown by itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

LEVEL = 0.95
FEWEST = 3  # seeds for an interval: two say too little about how seeds vary, and are better shown each by itself


@dataclass(frozen=True)
class Spread:
    """Uncertainty of a mean, by source: the variance that each adds, and its degrees of freedom."""

    sources: tuple[tuple[float, float], ...]

    @property
    def standard_error(self) -> float:
        """The root of the sum of the variances."""
        return math.sqrt(math.fsum(variance for variance, _ in self.sources))

    def half_width(self, level: float = LEVEL) -> float:
        """Half of the interval: t · standard error of each source, added in squares."""
        from scipy.special import stdtrit  # a quarter of a second

        squares = [(float(stdtrit(freedom, (1 + level) / 2)) ** 2) * variance for variance, freedom in self.sources]
        return math.sqrt(math.fsum(squares))

    def p(self, distance: float) -> float:
        """The two-sided p-value of a mean at `distance` from its hypothesis: 1 - the level of the interval up to it."""
        from scipy.optimize import brentq

        if distance == 0 or self.standard_error == 0:
            return float(distance == 0)
        least = 1e-15
        if self.half_width(1 - least) <= abs(distance):
            return least
        found = brentq(lambda log: self.half_width(1 - math.exp(log)) - abs(distance), math.log(least), 0.0)
        return float(math.exp(found))


def over(values: Sequence[float] | ndarray) -> Spread:
    """The spread of the mean of n ≥ 2 independent values: s² / n with n - 1 degrees of freedom."""
    return Spread(((float(np.var(values, ddof=1)) / len(values), len(values) - 1),))


def half_width(values: Sequence[float] | ndarray) -> float:
    """t(0.975, n-1) · s / √n of n independent values; NaN for a single one."""
    with np.errstate(invalid="ignore"):  # NaN where a value is not finite
        return over(values).half_width() if len(values) > 1 else math.nan


def crossed(*groups: ndarray) -> Spread:
    """The spread of the mean of `[S, T]` values, S ≥ 2 seeds each tested on the same T ≥ 2 tasks.

    Of two groups, `[S, T]` and `[S', T]`, that of the difference of their means: each has seeds of its own, whose
    degrees of freedom are Welch's, and tasks are paired. The standard error is never less than that of the tasks'
    means alone, or of the seeds' means alone.
    """
    per_task = groups[0].mean(0) - groups[1].mean(0) if len(groups) == 2 else groups[0].mean(0)
    rests = [_rest(group) for group in groups]
    ((tasks, tasks_freedom),) = over(per_task).sources
    found = [(*over(group.mean(1)).sources[0], rest) for group, rest in zip(groups, rests, strict=True)]
    seeds = math.fsum(max(variance - rest, 0.0) for variance, _, rest in found)
    total = math.fsum(variance for variance, _, _ in found)
    squares = math.fsum(variance**2 / freedom for variance, freedom, _ in found)
    freedom = total**2 / squares if squares > 0 else math.fsum(freedom for _, freedom, _ in found)
    return Spread(((seeds, freedom), (max(tasks, math.fsum(rests)), tasks_freedom)))


def _rest(group: ndarray) -> float:
    """MS_rest / (S T): what of the variance of the mean is neither the seeds' nor the tasks'."""
    seeds, tasks = group.shape
    left = group - group.mean(1, keepdims=True) - group.mean(0) + group.mean()
    return float((left**2).sum()) / ((seeds - 1) * (tasks - 1)) / group.size


def added(means: Sequence[float], half_widths: Sequence[float], tasks: int) -> Spread:
    """The spread of the mean of S ≥ 2 means over the same tasks, where the values of single tasks are not known.

    `half_widths` are the seeds' own, each over `tasks` tasks. What tasks add is taken as if all seeds erred alike, and
    nothing is taken off: never narrower than what tasks alone give, or seeds alone.
    """
    unit = Spread(((1.0, tasks - 1),)).half_width()
    return Spread((*over(means).sources, ((float(np.mean(half_widths)) / unit) ** 2, tasks - 1)))


def over_seeds(means: Sequence[float], half_widths: Sequence[float], tasks: int | None) -> float:
    """The half-width of the mean of S ≥ 2 means, each with its own half-width over `tasks` common tasks.

    Over the means alone where `tasks` is None (no common tasks, or not known how many) or a half-width is not finite.
    """
    if tasks is None or tasks < 2 or not all(map(math.isfinite, half_widths)):
        return half_width(means)
    return added(means, half_widths, tasks).half_width()
