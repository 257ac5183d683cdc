"""A long short-term memory (Hochreiter, Schmidhuber 1997) that meta-learns (Hochreiter, Younger, Conwell 2001).

    i, f, o = σ(W [z_t, h_{t-1}] + b),   c_t = f ∘ c_{t-1} + i ∘ tanh(W_g [z_t, h_{t-1}] + b_g),   h_t = o ∘ tanh(c_t)

It is the baseline of Santoro et al. 2016: all that it remembers of a task is in h and c.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from metabench.algo.recurrent import Controller, Recurrent
from metabench.backbone.base import Backbone
from metabench.config.types import Count
from metabench.tasks import TaskSpec


class Cell(NamedTuple):
    """The state, `[T, units]` each."""

    h: Tensor
    c: Tensor


class PlainCore(Controller):
    """The controller alone."""

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
