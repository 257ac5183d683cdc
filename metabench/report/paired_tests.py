"""Two sets of values over the same test tasks: their difference task by task, and how far chance could make it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from metabench.utils.interval import crossed, half_width

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
        """True where every task has the same value in both."""
        return self.difference == 0 and self.ci95 == 0


def compare(a: ndarray, b: ndarray) -> Paired:
    """Paired statistics of values `a [E]` and `b [E]` of the same E ≥ 2 tasks."""
    from scipy import stats

    differences = a - b
    if not differences.any():
        return Paired(float(a.mean()), float(b.mean()), 0.0, 0.0, 1.0, 1.0, 1.0, len(a))
    return Paired(
        float(a.mean()),
        float(b.mean()),
        float(differences.mean()),
        half_width(differences),
        paired_p(differences),
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


def paired_p(differences: ndarray) -> float:
    """The two-sided p of a paired t test, of the differences `[E]` of E ≥ 2 tasks."""
    from scipy import special

    if not differences.any():
        return 1.0
    count = len(differences)
    with np.errstate(divide="ignore"):  # the same difference in every task is no work of chance
        t = np.sqrt(count) * differences.mean() / differences.std(ddof=1)
    return float(2 * special.stdtr(count - 1, -abs(t)))


def over_seeds(a: ndarray, b: ndarray) -> tuple[float, float] | None:
    """Half-width of the 95% interval and p of mean(a) - mean(b), of `a [S, E]` and `b [S', E]` over the same tasks.

    Other seeds and other tasks are both chance: see `utils.interval.crossed`. None where a side has a single seed, or
    nothing varies.
    """
    if min(len(a), len(b)) < 2:
        return None
    spread = crossed(a, b)
    if spread.standard_error == 0:
        return None
    return spread.half_width(), spread.p(float(a.mean() - b.mean()))


def chance(p: float) -> str:
    """A p-value as a person counts: '3 of 1,000'."""
    if p >= 0.9995:
        return "every time"
    if p >= 0.0005:
        return f"{max(1, round(1000 * p))} of 1,000 times"
    return f"{max(1, round(1e6 * p)):,} of 1,000,000 times" if p >= 1e-6 else "fewer than 1 of 1,000,000 times"
