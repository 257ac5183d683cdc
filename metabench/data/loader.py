"""Training batches, sampled for many meta-steps at once where they are small."""

from __future__ import annotations

from metabench.data.base import TaskSource
from metabench.tasks import Tasks
from metabench.utils.distributed import SINGLE, Distributed

CPU_BLOCK = 1 << 20  # bytes sampled at once: what stays in a processor's cache
CUDA_BLOCK = 1 << 28
LONGEST = 512  # meta-steps


class TaskLoader:
    """The batch of each meta-step, tasks step * size to (step + 1) * size - 1 of the training split: this rank's share.

    Drawing ten sinusoids costs as much as drawing a thousand: it is the calls that take the time. Task i is a pure
    function of i, so the size of a block decides nothing, and a resumed run needs no state of it.
    """

    def __init__(self, source: TaskSource, size: int, steps: int, ranks: Distributed = SINGLE) -> None:
        self.source, self.size, self.steps = source, size, steps
        self.share = ranks.shard(size)
        self.block = 1  # meta-steps
        self.start = self.stop = 0
        self.held: list[Tasks] = []

    def __call__(self, step: int) -> Tasks:
        """The tasks of meta-step `step`."""
        if not self.start <= step < self.stop:
            self.start, self.stop = step, min(step + self.block, self.steps)
            count = (self.stop - step - 1) * self.size + len(self.share)
            drawn = self.source.sample("train", step * self.size + self.share.start, count)
            parts = zip(*(t.split(len(self.share)) for t in drawn.tensors()), strict=True)
            self.held = [drawn.with_tensors(part) for part in parts]
            self.block = self._fitting()
        return self.held[step - self.start]

    def _fitting(self) -> int:
        if len(self.share) < self.size:  # the tasks between two shares are others' to draw
            return 1
        one = self.held[0]
        budget = CUDA_BLOCK if one.support.x.is_cuda else CPU_BLOCK
        return max(1, min(LONGEST, budget // sum(t.numel() * t.element_size() for t in one.tensors())))
