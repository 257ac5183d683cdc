"""Columns of an evaluation `[T, K]`: inner steps, instances of a class in a sequence, or shots so far."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # `ls` and reports use axis names without importing torch
    from torch import Tensor

Part: TypeAlias = "tuple[Tensor, Tensor]"


@dataclass(frozen=True)
class Axis:
    """The name of the columns, and the split of predictions into them. The last column is the final result."""

    name: str  # in summaries and plots
    first: int  # the number of the first column
    row: str  # format of a row of the result table
    picture: str  # name of the plot along this axis
    parts: Callable[[list[Tensor], Tensor, int], list[Part]]
    """Predictions and targets of each column, from outputs `[T, M, O]`, targets `[T, M, ...]` and shots."""
    selects_from: int | None = None  # the first column of those whose mean selects a checkpoint; None: the last alone

    def selection(self, columns: int) -> range:
        """The columns whose mean selects a checkpoint, by number; the last of them is the last there is."""
        last = self.first + columns - 1
        return range(last if self.selects_from is None else min(self.selects_from, last), last + 1)

    def selecting(self, values: Tensor) -> Tensor:
        """Selection metric of a checkpoint: a number per task `[T]` from its metrics `[T, K]`."""
        return values[:, -len(self.selection(values.shape[1])) :].double().mean(1)


def _after_each(outputs: list[Tensor], target: Tensor, shots: int) -> list[Part]:
    """All queries, after each inner step."""
    return [(prediction, target) for prediction in outputs]


def by_instance(labels: Tensor) -> Tensor:
    """Places `[T, M]` of the first example of each class, the second of each, …; labels `[T, M, C]`."""
    earlier = (labels.unsqueeze(2) == labels.unsqueeze(1)).all(-1).tril(-1).sum(2)
    return earlier.argsort(dim=1, stable=True)


def _at_each(outputs: list[Tensor], target: Tensor, shots: int) -> list[Part]:
    """The first instance of every class, the second, …, in a sequence with `shots` instances per class."""
    from torch import take_along_dim

    labels = target.reshape(*target.shape[:2], -1)  # [T, M, 1], or [T, M, C] of strings
    places = by_instance(labels).unsqueeze(2).chunk(shots, dim=1)
    parts = [[take_along_dim(of, place, dim=1) for of in (outputs[-1], labels)] for place in places]
    return [(prediction, y.view(*y.shape[:2], *target.shape[2:])) for prediction, y in parts]


INNER_STEPS = Axis("inner steps", 0, "after {} inner steps", "steps", _after_each)
INSTANCES = Axis("instance of a class", 1, "at instance {} of a class", "instances", _at_each, selects_from=2)
SHOTS = Axis("shots", 1, "after {} shots of a new task", "shots", _after_each)
AXES = {axis.name: axis for axis in (INNER_STEPS, INSTANCES, SHOTS)}
AXIS_OF = {"few_shot": INNER_STEPS, "online": SHOTS, "sequence": INSTANCES}  # by the setting of the tasks
