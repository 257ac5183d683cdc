"""The metric log: what meta-steps find, kept on the device until it is averaged into a line of metrics.jsonl."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from metabench.errors import UserError
from metabench.runs.run_dir import RunDirectory
from metabench.tasks import Metrics
from metabench.tracker.trackers import Trackers


class NonFiniteError(UserError):
    """A loss or a weight that is no longer a number: mostly a learning rate that is too large."""

    exit_code = 3
    status = "nonfinite"


class MetricLog:
    """Metrics since the last line, and the lines: to metrics.jsonl, and to the trackers.

    Metrics of meta-steps stay on the device, so that training need not wait for it.
    """

    def __init__(self, directory: RunDirectory, trackers: Trackers | None = None) -> None:
        self.directory, self.trackers = directory, trackers
        self.steps: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Keep one meta-step's metrics, `[T]` each."""
        self.steps.append(metrics)

    def means(self, step: int) -> dict[str, float]:
        """The means since the last line, which ends with meta-step `step`; the next line begins after it."""
        self.check_finite(step)
        means = {name: values.double().mean().item() for name, values in self.state().items()}
        self.steps = []
        return means

    def write(self, step: int, split: str, **values: Any) -> None:
        """Write one line."""
        line = {"step": step, "split": split, **values}
        self.directory.append(line)
        if self.trackers is not None:
            self.trackers.log(line)

    def check_finite(self, step: int) -> None:
        """Raise `NonFiniteError`, naming the meta-step, if a loss up to meta-step `step` is not finite."""
        if self.steps:
            bad = ~torch.stack([m["loss"] for m in self.steps]).isfinite().all(1)
            if bool(bad.any()):
                first = step - len(self.steps) + 1 + int(bad.int().argmax())
                raise NonFiniteError(f"the loss is not finite at meta-step {first}")

    def state(self) -> dict[str, Tensor]:
        """The metrics since the last line, `[steps, T]` each, for a checkpoint."""
        return {name: torch.stack([m[name] for m in self.steps]) for name in self.steps[0]} if self.steps else {}

    def load(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Continue on `device` from what `state` gave."""
        held = {name: values.to(device) for name, values in state.items()}
        count = len(next(iter(held.values()))) if held else 0
        self.steps = [{name: values[i] for name, values in held.items()} for i in range(count)]
