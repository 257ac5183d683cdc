"""Types shared by data and algorithms: batches of tasks, and the facts that an algorithm may know about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

Setting = Literal["few_shot", "online", "sequence"]
"""Setting of the tasks. few_shot: a support set, then queries. online: tasks arrive in sequence, each shot by shot
(`metabench.evaluation.online`). sequence: each example is a query before its label is revealed.

A sequence is both `support` and `query`: a prediction at step t sees x_1 … x_t and the labels y_1 … y_{t-1} only.
"""

Metrics = dict[str, Tensor]
"""Per-task metrics: each `[T]`, or `[T, K]` with one value per column of an axis (`metabench.axis`)."""


class Examples(NamedTuple):
    """Labelled examples of T tasks, N each: `x [T, N, *input_shape]`, `y [T, N]` int64 or `[T, N, D]`."""

    x: Tensor
    y: Tensor


class Tasks(NamedTuple):
    """A batch of T tasks.

    `truth` holds the parameters that generated the tasks (training-class ids, amplitude, …), each `[T, ...]`. Baselines
    and plots read it; meta-learners never do. `keys [T]` int64 seed the noise of methods that sample
    (`metabench.rng.normal`). Keys are a pure function of the task, so that chunks, ranks and resumed runs agree.
    """

    support: Examples
    query: Examples
    truth: dict[str, Tensor]
    keys: Tensor | None = None

    def __len__(self) -> int:
        """The number of tasks T."""
        return self.support.x.shape[0]

    def tensors(self) -> list[Tensor]:
        """All tensors, in a fixed order."""
        return [*self.support, *self.query, *self.truth.values(), *([] if self.keys is None else [self.keys])]

    def with_tensors(self, tensors: Iterable[Tensor]) -> Tasks:
        """The same kind of tasks from tensors in the order of `tensors()`."""
        sx, sy, qx, qy, *rest = tensors
        truth = dict(zip(self.truth, rest, strict=False))
        return Tasks(Examples(sx, sy), Examples(qx, qy), truth, *rest[len(truth) :])

    def tasks(self, start: int, stop: int) -> Tasks:
        """Tasks `[start:stop]` of the batch, as views."""
        return self.with_tensors(t[start:stop] for t in self.tensors())

    def to(self, dtype: torch.dtype) -> Tasks:
        """The same tasks with floating-point examples in `dtype`."""
        support, query = (Examples(*(t.to(dtype) if t.is_floating_point() else t for t in part)) for part in self[:2])
        return Tasks(support, query, self.truth, self.keys)


@dataclass(frozen=True)
class Episode:
    """The size of a task."""

    outputs: int  # size of a prediction: ways in classification, target dimensions in regression
    shots: int  # support examples: per class in classification, in total in regression
    queries: int  # query examples, counted the same way


@dataclass(frozen=True)
class TaskSpec:
    """All that an algorithm knows about its data: shapes and sizes of the tasks in meta-training and evaluation."""

    input_shape: tuple[int, ...]
    objective: Literal["cross_entropy", "strings", "mse"]
    train: Episode
    eval: Episode
    num_classes: int = 0  # distinct training classes behind the tasks; 0 for regression
    truth: tuple[str, ...] = ()  # entries of `Tasks.truth`, one number per task each, that define a regression function
    setting: Setting = "few_shot"
