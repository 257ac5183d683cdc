"""A run whose test tasks come one after the other: when the learner is judged, and what comes of it.

Stage (t, k) ends when meta-training has had its share of steps since the k-th shot of task t came. Then the learner is
judged as it stands: it adapts to those k shots and answers the task's queries, which nothing else ever sees. No weights
are chosen afterwards. With e_t the error after all shots of task t (the mean squared error, or the share of wrong
answers), the figures of a run are

    examples to threshold     how many it took until task t counted as learned
    cumulative error          Σ_{t≤T} e_t: the regret against a perfect predictor for every task
    regret                    Σ_{t≤T} e_t - e_t(w_last): against one learner in hindsight (Finn et al. 2019)

where the last weights, which all tasks have led, stand for the best ones in hindsight. That comparator is each method's
own: between methods, cumulative errors differ as regrets against any common comparator do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from metabench.data.base import TaskSource
from metabench.objective import Objective
from metabench.tasks import Examples, Metrics, SplitName, Tasks, TaskSpec

ROUNDING = 1e-6  # of metrics in single precision


def examples_of_a_shot(spec: TaskSpec) -> int:
    """One of each class, or one point."""
    return spec.eval.outputs if spec.num_classes else 1


class Arrived(TaskSource):
    """The tasks of a source from task `first` on, when `shots` of each have come."""

    def __init__(self, source: TaskSource, first: int, shots: int) -> None:
        self.source, self.first, self.spec = source, first, source.spec
        self.examples = shots * examples_of_a_shot(source.spec)

    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """See `TaskSource`."""
        (x, y), query, truth, keys = self.source.sample(split, self.first + index, num_tasks)
        return Tasks(Examples(x[:, : self.examples], y[:, : self.examples]), query, truth, keys)

    def card(self) -> dict[str, Any]:
        """The card of the source."""
        return self.source.card()


class Due(NamedTuple):
    """So many tasks from the `first`, to be judged after `shots`."""

    first: int
    tasks: int
    shots: int


class Rounds:
    """The stages of a run of `steps` meta-steps, and the metric found at each."""

    def __init__(self, source: TaskSource, objective: Objective, steps: int) -> None:
        assert source.online is not None
        self.online, self.objective, self.steps, self.shots = source.online, objective, steps, source.spec.eval.shots
        self.unit = examples_of_a_shot(source.spec)
        self.found = torch.zeros(self.online.rounds, self.shots, dtype=torch.float64)  # until judged

    def due(self, step: int) -> list[Due]:
        """Evaluations due after `step` meta-steps: the stages that end with it, by shots."""
        first, last = self._ended(step - 1) if step else 0, self._ended(step)
        found = []
        for shots in range(1, self.shots + 1):
            start, stop = (-((shots - 1 - stage) // self.shots) for stage in (first, last))
            if start < stop:
                found.append(Due(start, stop - start, shots))
        return found

    def _ended(self, step: int) -> int:
        """Stages that have ended after `step` meta-steps; all of them, if nothing is meta-trained."""
        stages = self.online.rounds * self.shots
        return step * stages // self.steps if self.steps else stages

    def judge(self, due: Due, found: Metrics) -> Iterator[dict[str, Any]]:
        """Keep what was found, `[tasks, S + 1]` each; a line for each task, with its outcome once it is whole."""
        name = self.objective.metric_name
        metric, loss = (found[figure][:, -1].double() for figure in (name, "loss"))
        rows = slice(due.first, due.first + due.tasks)
        self.found[rows, due.shots - 1] = metric
        cumulative, needed = self.cumulative_error()[rows].tolist(), self.examples_to_threshold(rows)
        for i, (value, cost) in enumerate(zip(metric.tolist(), loss.tolist(), strict=True)):
            line = {"round": due.first + i + 1, "shots": due.shots, name: value, "loss": cost}
            if due.shots == self.shots:
                line["cumulative_error"] = cumulative[i]
                line |= {} if needed[i] is None else {"examples_to_threshold": needed[i]}
            yield line

    def cumulative_error(self) -> Tensor:
        """Σ_{t≤T} e_t for every T, `[R]`."""
        return self.objective.error(self.found[:, -1]).cumsum(0)

    def examples_to_threshold(self, rows: slice = slice(None)) -> list[int | None]:
        """The examples with which each task of `rows` first counted as learned; None where it never did."""
        limit = self.objective.error(torch.tensor(self.online.threshold, dtype=torch.float64))
        learned = self.objective.error(self.found[rows]) <= limit + ROUNDING
        first = (learned.int().argmax(1) + 1) * self.unit
        return [count if any_ else None for count, any_ in zip(first.tolist(), learned.any(1).tolist(), strict=True)]

    def outcome(self, hindsight: Tensor) -> dict[str, Any]:
        """All figures of the run, given what the last weights make of each task, `[R]`.

        The mean of examples to the threshold counts a task that was never learned with all its examples: it is a lower
        bound.
        """
        needed, whole = self.examples_to_threshold(), self.shots * self.unit
        cumulative = self.cumulative_error()
        return {
            "threshold": self.online.threshold,
            "examples_of_a_shot": self.unit,
            "learned": sum(count is not None for count in needed) / len(needed),
            "mean_examples_to_threshold": sum(whole if count is None else count for count in needed) / len(needed),
            "final": self.found[:, -1].tolist(),  # of each task, the metric after all its shots
            "cumulative_error": cumulative.tolist(),
            "regret": (cumulative - self.objective.error(hindsight.double()).cumsum(0)).tolist(),
            "examples_to_threshold": needed,
            "hindsight": hindsight.tolist(),  # the same of the last weights
        }

    def in_hindsight(self, outcome: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A line for each task: what the last weights make of it, and the regret up to it."""
        for i, (value, regret) in enumerate(zip(outcome["hindsight"], outcome["regret"], strict=True), start=1):
            yield {"round": i, self.objective.metric_name: value, "regret": regret}
