"""The contract of a data source: task i of a split is a pure function of (seed, split, i)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from metabench.data.online import Buffer, Online
from metabench.errors import UserError
from metabench.tasks import SplitName, Tasks, TaskSpec

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class TaskSource(ABC):
    """Where tasks come from. Task i of a split is a pure function of (seed, split, i) and of nothing else.

    So the same episodes come on CPU and GPU, for any batch size and any number of ranks, and resume needs no sampler
    state. Training tasks follow `seed`; validation and test tasks follow `eval_seed`, so that every method and every
    seed meets the same episodes and comparisons are paired.
    """

    spec: TaskSpec
    seeds: dict[str, int]  # of each split
    test_tasks: int | None = None  # all there are, where the test is a fixed list
    online: Online | None = None  # where test tasks come one after the other, and training tasks are drawn from them

    def test_episodes(self, wanted: int) -> int:
        """Number of test tasks to evaluate: as many as wanted, or all there are; every one of an online stream."""
        if self.online is not None:
            return self.online.rounds
        return wanted if self.test_tasks is None else min(wanted, self.test_tasks)

    def class_names(self, split: SplitName) -> frozenset[str]:
        """Names of the classes that tasks of `split` are made of, the same in every source of one data set; or none."""
        return frozenset()

    @cached_property
    def buffer(self) -> Buffer:
        """Where training tasks come from when tasks come online."""
        assert self.online is not None
        return Buffer(self.online, self.sample("test", 0, self.online.rounds), self.spec, self.seeds["train"])

    @abstractmethod
    def sample(self, split: SplitName, index: int, num_tasks: int) -> Tasks:
        """Tasks index .. index + num_tasks - 1 of `split`, on the device of the source."""

    def prepare(self, picture: Image) -> Tensor:
        """Input `[*input_shape]` that this source makes of a picture, as it made those of its tasks.

        Raises `UserError` for a source without pictures.
        """
        raise UserError(f"{type(self).__name__}: has no pictures; give inputs as arrays {list(self.spec.input_shape)}")

    def pixels(self, x: Tensor) -> Tensor:
        """Image inputs `[..., C, H, W]` as a picture shows them, in 0..1: three channels are colours, one is ink."""
        return x

    @classmethod
    def named(cls, **arguments: Any) -> str | None:
        """A digest of the data that these arguments of the constructor choose, for the id of a run.

        None where the configuration alone says which data it is, wherever the files lie.
        """
        return None

    def training_card(self) -> dict[str, Any]:
        """The facts of training tasks that the sizes of an episode leave open: for the protocol card."""
        return {}

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """The facts of the data that decide a number: for the protocol card, plain types only."""
