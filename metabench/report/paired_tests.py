"""Two sets of figures over the same test tasks: their difference task by task, and how far chance could make it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from metabench.report.verdict import half_width

FLIPS = 10_000  # random sign flips


@dataclass(frozen=True)
class Paired:
    """A less B. The p-values are two-sided."""

    a: float
    b: float
    difference: float
    ci95: float  # half-width of the paired t interval
    p: float  # of the paired t test
    p_flips: float  # of random sign flips, which assume no distribution
    p_ranks: float  # of Wilcoxon's signed ranks, which an outlier does not move
    tasks: int

    @property
    def identical(self) -> bool:
        """Whether every task has the same figure in both."""
        return self.difference == 0 and self.ci95 == 0


def compare(a: ndarray, b: ndarray) -> Paired:
    """Paired statistics of figures `a [E]` and `b [E]` of the same E ≥ 2 tasks."""
    from scipy import special, stats

    differences = a - b
    if not differences.any():
        return Paired(float(a.mean()), float(b.mean()), 0.0, 0.0, 1.0, 1.0, 1.0, len(a))
    with np.errstate(divide="ignore"):  # the same difference in every task is no work of chance
        t = np.sqrt(len(a)) * differences.mean() / differences.std(ddof=1)
    return Paired(
        float(a.mean()),
        float(b.mean()),
        float(differences.mean()),
        half_width(differences.tolist()),
        float(2 * special.stdtr(len(a) - 1, -abs(t))),
        _sign_flips(differences),
        float(stats.wilcoxon(differences).pvalue),
        len(a),
    )


def _sign_flips(differences: ndarray) -> float:
    """The share of random sign flips whose mean is as far from 0; the observed one counts as one of them."""
    random = np.random.default_rng(0)
    observed = abs(differences.sum()) * (1 - 1e-12)
    beyond = 0
    for start in range(0, FLIPS, 1000):
        signs = random.integers(0, 2, (min(1000, FLIPS - start), len(differences)), dtype=np.int8) * 2.0 - 1.0
        beyond += int((abs(signs @ differences) >= observed).sum())
    return (beyond + 1) / (FLIPS + 1)


def welch(a: list[float], b: list[float]) -> tuple[float, float] | None:
    """Half-width and p of the difference of means over seeds (Welch's t); None where a side has one seed."""
    from scipy import stats

    if min(len(a), len(b)) < 2 or np.ptp(a) == np.ptp(b) == 0:
        return None
    found = stats.ttest_ind(a, b, equal_var=False)
    interval = found.confidence_interval(0.95)
    return float(interval.high - interval.low) / 2, float(found.pvalue)


def chance(p: float) -> str:
    """A p-value as a person counts: '3 of 1,000'."""
    if p >= 0.9995:
        return "every time"
    if p >= 0.0005:
        return f"{max(1, round(1000 * p))} of 1,000 times"
    return f"{max(1, round(1e6 * p)):,} of 1,000,000 times" if p >= 1e-6 else "fewer than 1 of 1,000,000 times"
