"""How a figure of ours stands to a published one: the rule, and the words for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

PROBABILITY = 0.975  # of Student's t: two-sided 95%


class Kind(StrEnum):
    """The verdicts."""

    WITHIN = "within"
    ABOVE = "above"
    BELOW = "below"
    SHORT = "short run"
    OTHER = "not comparable"
    NONE = "–"  # nothing is published for it


DEFINITION = {
    Kind.WITHIN: "the 95% intervals overlap; a value published without one counts as a point",
    Kind.ABOVE: "the intervals do not overlap, and ours is better: accuracy higher, error lower",
    Kind.BELOW: "the intervals do not overlap, and ours is worse",
    Kind.SHORT: "fewer meta-steps or tasks than the experiment asks for, which decides nothing",
    Kind.OTHER: "another configuration or protocol than the experiment's; what differs is named",
}


@dataclass(frozen=True)
class Verdict:
    """One of the kinds, and why where the numbers alone do not say it."""

    kind: Kind
    reason: str = ""


@dataclass(frozen=True)
class Figure:
    """A mean and the half-width of its 95% interval, over so many seeds or test tasks."""

    mean: float
    ci95: float | None
    count: int
    over: str  # "seeds" or "tasks"


def over_seeds(means: Sequence[float]) -> Figure:
    """Mean ± t(0.975, n-1) · s / √n of the means of n ≥ 2 runs that differ in their seed alone."""
    return Figure(float(np.mean(means)), half_width(means), len(means), "seeds")


def half_width(values: Sequence[float]) -> float:
    """t(0.975, n-1) · s / √n of n ≥ 2 values."""
    from scipy.special import stdtrit  # a quarter of a second

    n = len(values)
    return float(stdtrit(n - 1, PROBABILITY) * np.std(values, ddof=1) / math.sqrt(n))


def judge(ours: Figure, value: float, ci95: float | None, higher_is_better: bool) -> Verdict:
    """Within, above or below, by whether the intervals overlap; they do where they touch."""
    difference = ours.mean - value if higher_is_better else value - ours.mean
    reach = (ours.ci95 or 0.0) + (ci95 or 0.0)
    if abs(difference) <= reach or math.isclose(abs(difference), reach, rel_tol=1e-9):
        return Verdict(Kind.WITHIN)
    return Verdict(Kind.ABOVE if difference > 0 else Kind.BELOW)
