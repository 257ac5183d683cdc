"""Many methods over the same test tasks: which can be told apart (Holm 1979), and their ranks (Demšar 2006).

The functions are short and in closed form, on scipy; libraries that have them (statsmodels, scikit-posthocs) bring
pandas and more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy import ndarray

from metabench.report.paired_tests import paired_p

LEVEL = 0.05


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979): the i-th smallest of m times m - i + 1, never less than one before it."""
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, i in enumerate(np.argsort(p, kind="stable")):
        largest = max(largest, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = largest
    return adjusted


def told_apart(values: Mapping[str, ndarray]) -> set[frozenset[str]]:
    """The pairs whose means differ, of the values `[S, E]` of each name: Holm over all pairs, at 5%.

    One hypothesis for all: these models, over other tasks. With three seeds a test over other seeds too has two degrees
    of freedom, and a method of a single seed has none: more seeds would tell fewer pairs apart.
    """
    means = {name: each.mean(0) for name, each in values.items()}  # of the seeds, on each task
    pairs = list(combinations(means, 2))
    adjusted = holm([paired_p(means[a] - means[b]) for a, b in pairs])
    return {frozenset(pair) for pair, p in zip(pairs, adjusted, strict=True) if p <= LEVEL}


def letters(names: Sequence[str], apart: set[frozenset[str]]) -> dict[str, str]:
    """Letters of names, best first: two names share one exactly where they are not told apart.

    Each pair that is told apart splits every group that holds both, and groups within others are dropped (Piepho 2004,
    An algorithm for a letter-based representation of all-pairwise comparisons).
    """
    groups = [frozenset(names)] if names else []
    for pair in combinations(names, 2):
        if frozenset(pair) in apart:
            split = [
                part for group in groups for part in ([group - {n} for n in pair] if group >= {*pair} else [group])
            ]
            split = list(dict.fromkeys(split))
            groups = [group for group in split if not any(group < other for other in split)]
    groups.sort(key=lambda group: [i for i, name in enumerate(names) if name in group])
    return {name: "".join(_letter(i) for i, group in enumerate(groups) if name in group) for name in names}


def _letter(number: int) -> str:
    """A, …, z, then a1, b1, …, in lower case."""
    again, place = divmod(number, 26)
    return chr(ord("a") + place) + (str(again) if again else "")


def mean_ranks(values: ndarray, highest: bool) -> ndarray:
    """The mean over E tasks of each method's rank within a task `[M]`, of values `[M, E]`; 1 is best, ties share."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-values if highest else values, axis=0)).mean(1)


def critical_difference(methods: int, tasks: int) -> float:
    """Nemenyi's: mean ranks this far apart differ at 5%: q √(k (k + 1) / 6 N) of k methods, N tasks (Demšar 2006)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - LEVEL, methods, math.inf)) / math.sqrt(2)
    return q * math.sqrt(methods * (methods + 1) / (6 * tasks))


def cliques(ranks: Sequence[float], distance: float) -> list[tuple[float, float]]:
    """The longest stretches of sorted mean ranks that lie within `distance`, each of two or more: from, to."""
    ends = [(low, max(r for r in ranks if r - low <= distance)) for low in ranks]
    return [(low, high) for i, (low, high) in enumerate(ends) if high > low and (i == 0 or high > ends[i - 1][1])]
