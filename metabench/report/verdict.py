"""The comparison of a result with a published one: the rule, and the words for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from metabench.errors import format_value

# The widest half of an interval that says anything, for each metric: of an error half the published value (a wider one
# has in it values that are three times each other), of an accuracy ten points (twenty test tasks give as much).
WIDEST = {"mse": 0.5, "accuracy": 0.1}


class Kind(StrEnum):
    """The verdicts, as every format writes them."""

    MATCHES = "matches"
    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"
    SHORT_RUN = "short run"
    NOT_COMPARABLE = "not comparable"
    NONE = "–"  # nothing is published for it

    @property
    def identifier(self) -> str:
        """The verdict as a name without spaces, for style sheets."""
        return self.value.replace(" ", "-")


DEFINITION = {
    Kind.MATCHES: "the 95% intervals overlap; a value published without one counts as a point",
    Kind.BETTER: "the intervals do not overlap, and ours is better: accuracy higher, error lower",
    Kind.WORSE: "the intervals do not overlap, and ours is worse",
    Kind.UNDECIDED: "the intervals overlap, but ours is so wide that this says nothing: to either side more than half "
    "of the published error, or ten points of accuracy; or two seeds have different verdicts",
    Kind.SHORT_RUN: "fewer meta-steps or tasks than the experiment asks for, which decides nothing",
    Kind.NOT_COMPARABLE: "another configuration or protocol than the experiment's; what differs is named",
}


@dataclass(frozen=True)
class Verdict:
    """One of the kinds, and why where the numbers alone do not say it."""

    kind: Kind
    reason: str = ""


@dataclass(frozen=True)
class Figure:
    """A mean, the half-width of its 95% interval, and over how many seeds and tasks that is, by which method.

    `over` is one of: "tasks" of a single seed; "seeds and tasks", from the value of every task (crossed); "seeds plus
    tasks", from the seeds' means and their own intervals (added in squares); "each seed", where two have no interval
    together.
    """

    mean: float
    ci95: float | None
    seeds: int
    tasks: int
    over: str = "tasks"


METHOD = {
    "tasks": "over test tasks, for one seed: t(0.975, n-1) · s / √n",
    "seeds and tasks": "over seeds and test tasks (seeds × tasks), from the value of every test task: crossed random "
    "effects (Searle et al. 1992), the half-widths that seeds and tasks add, in squares (Howe 1974)",
    "seeds plus tasks": "over seeds and test tasks (seeds + tasks), where single tasks' values are not recorded: the "
    "half-width over the seeds' means and the mean one over tasks, in squares; never narrower than tasks alone give",
    "each seed": "over test tasks, for each of two seeds by itself: two say too little about how seeds vary",
}


def judge(ours: Figure, value: float, ci95: float | None, metric: str, each: Sequence[Figure] = ()) -> Verdict:
    """The verdict on `ours` against a published value; `each` are the figures of two seeds that are judged apart."""
    if ours.over == "each seed":
        found = [judge(one, value, ci95, metric) for one in each]
        kinds = dict.fromkeys(verdict.kind for verdict in found)
        return found[0] if len(kinds) == 1 else Verdict(Kind.UNDECIDED, f"one seed {' and one '.join(kinds)}")
    half = ours.ci95 or 0.0
    difference = ours.mean - value if metric == "accuracy" else value - ours.mean
    reach = half + (ci95 or 0.0)
    if abs(difference) > reach and not math.isclose(abs(difference), reach, rel_tol=1e-9):
        return Verdict(Kind.BETTER if difference > 0 else Kind.WORSE)
    widest = WIDEST[metric] * (value if metric == "mse" else 1.0)
    if half > widest:
        unit, scale = ("%", 100) if metric == "accuracy" else ("", 1)
        said = [format_value(f"{scale * number:.3g}{unit}") for number in (half, widest)]
        return Verdict(Kind.UNDECIDED, f"± {said[0]} is wider than ± {said[1]}, the widest that says anything here")
    return Verdict(Kind.MATCHES)
