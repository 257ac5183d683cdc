"""A long short-term memory (Hochreiter, Schmidhuber 1997) that meta-learns (Hochreiter, Younger, Conwell 2001).

    i, f, o = σ(W [z_t, h_{t-1}] + b),   c_t = f ∘ c_{t-1} + i ∘ tanh(W_g [z_t, h_{t-1}] + b_g),   h_t = o ∘ tanh(c_t)

It is the baseline of Santoro et al. 2016: all that it remembers of a task is in h and c.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from metabench.algo.recurrent import Controller, Recurrent
from metabench.backbone.base import Backbone
from metabench.config.types import Count
from metabench.tasks import TaskSpec


class Cell(NamedTuple):
    """The state, `[T, units]` each."""

    h: Tensor
    c: Tensor


class PlainCore(Controller):
    """The controller alone. On a CPU torch's own LSTM reads a sequence: one call for all of its steps."""

    def forward(self, z: Tensor, memory: Cell | None = None) -> tuple[Cell, Tensor]:
        """The memory after `z [T, L, inputs]`, and h after every step `[T, L, units]`."""
        if z.shape[1] == 1 or z.device.type != "cpu" or is_in_torch_dispatch_mode():
            return super().forward(z, memory)  # sooner for one step; what the compiler and the count of work see
        h, c = self.start(len(z)) if memory is None else memory
        weights = [self.given.weight, self.kept.weight, self.given.bias, self._forget_little()]
        state = (h.unsqueeze(0), c.unsqueeze(0))
        features, h, c = torch.lstm(z, state, weights, True, 1, 0.0, self.training, False, True)  # see nn.LSTM
        return Cell(h.squeeze(0), c.squeeze(0)), features

    def _forget_little(self) -> Tensor:
        """The constant 1 of `control` at the gates that forget, the second of four."""
        bias = self.full(0, 4, self.units)
        bias[1] = 1
        return bias.flatten()

    def start(self, tasks: int) -> Cell:
        """Zeros."""
        return Cell(self.full(0, tasks, self.units), self.full(0, tasks, self.units))

    def step(self, memory: Cell, given: Tensor) -> tuple[Cell, Tensor]:
        """One step of the LSTM, whose output is h."""
        memory = Cell(*self.control(given, *memory))
        return memory, memory.h


class LSTM(Recurrent):
    """A recurrent network without external memory."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, units: Count) -> None:
        super().__init__(spec, backbone, PlainCore, units=units)
