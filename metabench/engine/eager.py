"""The gradient of a chunk of tasks, operation by operation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from metabench.algo.base import Algorithm
from metabench.tasks import Metrics, Tasks


class Eager:
    """Runs the program as it is written."""

    def __init__(self, algo: Algorithm, precision: Callable[[], AbstractContextManager[Any]]) -> None:
        self.algo, self.precision = algo, precision

    def __call__(self, tasks: Tasks, share: float) -> Metrics:
        """Add `share` times the gradient of the mean over `tasks` to the parameters, and move the buffers."""
        with self.precision():
            loss, metrics = self.algo(tasks)
        (loss * share).backward()
        return metrics
