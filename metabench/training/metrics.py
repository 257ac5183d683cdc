"""Metrics between two log lines, and the end of a run whose loss is no longer a number."""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.errors import UserError
from metabench.tasks import Metrics


class NonFiniteError(UserError):
    """A loss or a weight that is no longer a number: mostly a learning rate that is too large."""

    exit_code = 3
    status = "nonfinite"


class Window:
    """Metrics since the last log line, kept on the device so that training need not wait for it."""

    def __init__(self, stacked: dict[str, Tensor] | None = None) -> None:
        self.steps: list[Metrics] = []
        if stacked:
            count = len(next(iter(stacked.values())))
            self.steps = [{name: values[i] for name, values in stacked.items()} for i in range(count)]

    def add(self, metrics: Metrics) -> None:
        """One meta-step's metrics, `[T]` each."""
        self.steps.append(metrics)

    def stacked(self) -> dict[str, Tensor]:
        """All of them, `[steps, T]` each."""
        return {name: torch.stack([m[name] for m in self.steps]) for name in self.steps[0]} if self.steps else {}

    def check(self, step: int) -> None:
        """Raise `NonFiniteError`, naming the meta-step, if a loss up to meta-step `step` is not finite."""
        if self.steps:
            bad = ~torch.stack([m["loss"] for m in self.steps]).isfinite().all(1)
            if bool(bad.any()):
                first = step - len(self.steps) + 1 + int(bad.int().argmax())
                raise NonFiniteError(f"the loss is not finite at meta-step {first}")

    def close(self, step: int) -> dict[str, float]:
        """The means, and an empty window."""
        self.check(step)
        means = {name: values.double().mean().item() for name, values in self.stacked().items()}
        self.steps = []
        return means
