"""What travels between data and algorithms: batches of tasks, and the facts an algorithm may know about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

Setting = Literal["few_shot", "online", "sequence"]
"""How a task is met: a support set, then queries; the same, one task after the other, each while its examples arrive
(`metabench.evaluation.online`); or a stream, in which each example is a query before its label comes.

The stream is both `support` and `query`: a prediction at step t sees x_1 … x_t and the labels y_1 … y_{t-1} only.
"""

Metrics = dict[str, Tensor]
"""Per-task figures: each `[T]`, or `[T, K]` where there is one for each column of an axis (`metabench.axis`)."""


class Examples(NamedTuple):
    """Labelled examples of T tasks, N each: `x [T, N, *input_shape]`, `y [T, N]` int64 or `[T, N, D]`."""

    x: Tensor
    y: Tensor


class Tasks(NamedTuple):
    """A batch of T tasks.

    `truth` is what generated them (training-class ids, amplitude, …), each `[T, ...]`: for baselines that are defined
    by knowing it and for pictures; a meta-learner never reads it. `keys [T]` seed the noise of methods that need some
    (`metabench.rng.normal`): a pure function of the task, so that chunks, ranks and resumed runs agree.
    """

    support: Examples
    query: Examples
    truth: dict[str, Tensor]
    keys: Tensor | None = None

    def __len__(self) -> int:
        """The number of tasks T."""
        return self.support.x.shape[0]

    def tensors(self) -> list[Tensor]:
        """Everything, in a fixed order."""
        return [*self.support, *self.query, *self.truth.values(), *([] if self.keys is None else [self.keys])]

    def with_tensors(self, tensors: Iterable[Tensor]) -> Tasks:
        """Tasks of the same make from what `tensors()` would give."""
        sx, sy, qx, qy, *rest = tensors
        truth = dict(zip(self.truth, rest, strict=False))
        return Tasks(Examples(sx, sy), Examples(qx, qy), truth, *rest[len(truth) :])

    def tasks(self, start: int, stop: int) -> Tasks:
        """Tasks start..stop of the batch, as views."""
        return self.with_tensors(t[start:stop] for t in self.tensors())

    def to(self, dtype: torch.dtype) -> Tasks:
        """The same tasks with every floating-point tensor of the examples in `dtype`."""
        support, query = (Examples(*(t.to(dtype) if t.is_floating_point() else t for t in part)) for part in self[:2])
        return Tasks(support, query, self.truth, self.keys)


@dataclass(frozen=True)
class Episode:
    """The size of a task."""

    outputs: int  # numbers a prediction has: ways of a classification, dimensions of a regression target
    shots: int  # support examples: per class in a classification, in all otherwise
    queries: int  # query examples, counted the same way


@dataclass(frozen=True)
class TaskSpec:
    """The only thing data tells an algorithm: what its tasks look like, in meta-training and in evaluation."""

    input_shape: tuple[int, ...]
    objective: Literal["cross_entropy", "strings", "mse"]
    train: Episode
    eval: Episode
    num_classes: int = 0  # distinct training classes behind the tasks; 0 for regression
    truth: tuple[str, ...] = ()  # the numbers of `Tasks.truth`, one a task each, that make a regression's function
    setting: Setting = "few_shot"
