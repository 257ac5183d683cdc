"""What travels between data and algorithms: batches of tasks, and the facts an algorithm may know about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from metabench.data.online import Online

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

Protocol = Literal["few_shot", "online", "sequence"]
"""How a task is met: a support set, then queries; the same, one task after the other, each while its examples arrive
(`metabench.online`); or a stream, in which each example is a query before its label comes.

The stream is both `support` and `query`: a prediction at step t sees x_1 … x_t and the labels y_1 … y_{t-1} only.
"""

Metrics = dict[str, Tensor]
"""Per-task figures: each `[T]`, or `[T, K]` where there is one for each column of an axis (`metabench.axis`)."""


class Split(NamedTuple):
    """Labelled examples of T tasks, N each: `x [T, N, *input_shape]`, `y [T, N]` int64 or `[T, N, D]`."""

    x: Tensor
    y: Tensor


class Tasks(NamedTuple):
    """A batch of T tasks.

    `truth` is what generated them (training-class ids, amplitude, …), each `[T, ...]`: for baselines that are defined
    by knowing it and for pictures; a meta-learner never reads it. `keys [T]` seed the noise of methods that need some
    (`metabench.data.draw.normal`): a pure function of the task, so that chunks, ranks and resumed runs agree.
    """

    support: Split
    query: Split
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
        return Tasks(Split(sx, sy), Split(qx, qy), truth, *rest[len(truth) :])

    def tasks(self, start: int, stop: int) -> Tasks:
        """Tasks start..stop of the batch, as views."""
        return self.with_tensors(t[start:stop] for t in self.tensors())

    def to(self, dtype: torch.dtype) -> Tasks:
        """The same tasks with every floating-point tensor of the examples in `dtype`."""
        support, query = (Split(*(t.to(dtype) if t.is_floating_point() else t for t in part)) for part in self[:2])
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
    protocol: Protocol = "few_shot"


class TaskSource(ABC):
    """Where tasks come from. Task i of a split is a pure function of (seed, split, i) and of nothing else.

    So the same episodes come on CPU and GPU, for any batch size and any number of ranks, and resume needs no sampler
    state. Training tasks follow `seed`; validation and test tasks follow `eval_seed`, so that every method and every
    seed meets the same episodes and comparisons are paired.
    """

    spec: TaskSpec
    test_tasks: int | None = None  # all there are, where the test is a fixed list
    online: Online | None = None  # where test tasks come one after the other, and training tasks are drawn from them

    def test_episodes(self, wanted: int) -> int:
        """How many test tasks to evaluate: as many as wanted, or all; of a stream, every one."""
        if self.online is not None:
            return self.online.rounds
        return wanted if self.test_tasks is None else min(wanted, self.test_tasks)

    @abstractmethod
    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """Tasks index .. index + num_tasks - 1 of `split`, on the device of the source."""

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """The facts of the data that decide a number: for the protocol card, plain types only."""
