"""Episodes of any data source, for loops of one's own."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator

from metabench.config.compose import compose
from metabench.config.types import LARGEST
from metabench.data.base import TaskSource
from metabench.data.build import build_source
from metabench.engine.device import find_device
from metabench.errors import ConfigError, UserError, suggest
from metabench.tasks import SPLITS, SplitName, Tasks, TaskSpec
from metabench.utils.counted import counted


class TaskSet:
    """The tasks of a split, in their order: iterate over batches, or index one task.

    Task i is a function of (seed, split, i): the same for any batch size and on any device.
    """

    def __init__(self, source: TaskSource, split: SplitName, batch: int, size: int | None) -> None:
        self.source, self.split, self.batch, self.size = source, split, batch, size  # size: None without end

    @property
    def spec(self) -> TaskSpec:
        """Input shape, objective, ways, shots and queries."""
        return self.source.spec

    def __len__(self) -> int:
        """The number of batches; raises `TypeError` for training tasks, which have no end."""
        if self.size is None:
            raise TypeError("training tasks have no end; give tasks(…, count=NUMBER)")
        return -(-self.size // self.batch)

    def __getitem__(self, index: int) -> Tasks:
        """Task number `index`, a batch of one; raises `IndexError`, and `TypeError` for what is no whole number."""
        index = operator.index(index)
        if not 0 <= index < (LARGEST if self.size is None else self.size):
            raise IndexError(f"task {index} of {'training' if self.size is None else self.size} tasks")
        return self.source.sample(self.split, index, 1)

    def __iter__(self) -> Iterator[Tasks]:
        """Batches of tasks: `support.x [T, N, *input_shape]`, `support.y [T, N]`, and the same of `query`."""
        for start in itertools.count(0, self.batch):
            if self.size is not None and start >= self.size:
                return
            yield self.source.sample(self.split, start, min(self.batch, (self.size or start + self.batch) - start))

    def __repr__(self) -> str:
        spec = self.spec
        episode = spec.train if self.split == "train" else spec.eval
        size = f"{episode.outputs}-way {episode.shots}-shot" if spec.num_classes else counted(episode.shots, "point")
        count = "without end" if self.size is None else f"{self.size} in all"
        return f"{self.split} tasks of {type(self.source).__name__}, {size}, {count}, {self.batch} a batch"


def tasks(
    *overrides: str,
    split: str = "train",
    batch: int = 1,
    count: int | None = None,
    device: str = "cpu",
    config_dir: str | None = None,
) -> TaskSet:
    """The tasks of a data source, e.g. `tasks("data=omniglot", "data.ways=20", split="test")`.

    Training tasks come without end unless `count` is given; of validation and test those that a run evaluates
    (validate.episodes, test.episodes). Raises `UserError` for bad input.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: {suggest(str(split), SPLITS, 'no such split')}")
    batch, count = _whole("batch", batch), None if count is None else _whole("count", count)
    config = compose(*overrides, config_dir=config_dir)
    source = build_source(config.data, config.seed, find_device(device))
    if count is None:
        wanted = {"train": None, "validation": config.validation.episodes, "test": config.test.episodes}[split]
        count = source.test_episodes(wanted) if split == "test" and wanted is not None else wanted
    elif split == "test" and count > source.test_episodes(count):
        raise ConfigError("count", count, f"at most {source.test_episodes(count)}: the test is a fixed list")
    return TaskSet(source, split, batch, count)


def _whole(name: str, value: int) -> int:
    """`value`, also of NumPy's types; raises `ConfigError` where it is no whole number, or less than 1."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
        raise ConfigError(name, value, "should be a whole number, 1 or more")
    return operator.index(value)
