"""The memory family: a recurrent network reads a task example by example, and what it keeps of it is the adaptation.

In a stream, step t is given x_t with the label of the step before (Santoro et al. 2016) and predicts the label of x_t:

    (m_t, o_t) = core(m_{t-1}, [f(x_t), y_{t-1}]),   ŷ_t = W o_t + b,   y_0 = 0

A stream is read once, and every step's prediction counts. Where queries follow a support set, an example comes with its
own label and a query with none, as in SNAIL (Mishra et al. 2018):

    (m_i, o_i) = core(m_{i-1}, [f(x_i), y_i])   over the support set,   (·, o*) = core(m_N, [f(x*), 0])

Each query is one more step from where the support set left the memory, so that queries do not inform each other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.backbone.base import Backbone
from metabench.config.types import Count
from metabench.tasks import Examples, TaskSpec

Memory = Any  # of a core: a named tuple of tensors [T, ...]


class Core(nn.Module, ABC):
    """A network that reads T sequences at once, each step from the steps before it, and gives `features` a step."""

    features: int
    given: nn.Linear  # of inputs

    def full(self, value: float, *shape: int) -> Tensor:
        """A constant of the network's own type and device."""
        return self.given.weight.new_full(shape, value)

    @abstractmethod
    def start(self, tasks: int) -> Memory:
        """The memory before the first step."""

    @abstractmethod
    def forward(self, z: Tensor, memory: Memory | None = None) -> tuple[Memory, Tensor]:
        """The memory after inputs `z [T, L, inputs]`, and the features of every step, `[T, L, features]`."""


class Controller(Core):
    """An LSTM controller, with or without something that it reads `read` numbers from a step.

    What a step adds to the gates is computed for all steps at once; the rest is a loop over steps.
    """

    def __init__(self, inputs: int, units: int, read: int = 0) -> None:
        super().__init__()
        self.given = nn.Linear(inputs, 4 * units)
        self.kept = nn.Linear(units + read, 4 * units, bias=False)
        self.units, self.features = units, units + read  # features: numbers that a step gives

    @abstractmethod
    def step(self, memory: Memory, given: Tensor) -> tuple[Memory, Tensor]:
        """The memory after a step, and the step's features `[T, features]`; `given [T, 4 * units]` are gates."""

    def forward(self, z: Tensor, memory: Memory | None = None) -> tuple[Memory, Tensor]:
        """Read step by step."""
        memory = self.start(len(z)) if memory is None else memory
        features = []
        for given in self.given(z).unbind(1):
            memory, found = self.step(memory, given)
            features.append(found)
        return memory, torch.stack(features, dim=1)

    def control(self, given: Tensor, h: Tensor, c: Tensor, *read: Tensor) -> tuple[Tensor, Tensor]:
        """h_t and c_t `[T, units]` of an LSTM that also sees what was read; it begins by forgetting little (bias 1)."""
        gates = given + F.linear(torch.cat([h, *read], dim=-1), self.kept.weight)
        enter, forget, value, leave = gates.chunk(4, dim=-1)
        c = (forget + 1).sigmoid() * c + enter.sigmoid() * value.tanh()
        return leave.sigmoid() * c.tanh(), c


class Sizes(TypedDict):
    """Sizes of a controller and of its memory: `slots` rows of `width` numbers, and how many heads read them."""

    units: Count
    slots: Count
    width: Count
    heads: Count


class Recurrent(Embedder):
    """Encoder, core, linear readout."""

    settings = ("few_shot", "online", "sequence")

    @abstractmethod
    def __init__(self, spec: TaskSpec, backbone: Backbone, core: type[Core], **sizes: Any) -> None:
        super().__init__(spec, backbone)
        self.require_one_size("labels enter a network of one size in training and test")
        self.core = core(backbone.feature_size + spec.eval.outputs, **sizes)
        self.readout = nn.Linear(self.core.features, spec.eval.outputs)

    def fit(self, z: Tensor, y: Tensor) -> Memory:
        """The memory after the support set, in its order."""
        return self.core(torch.cat([z, self._labels(y, z)], dim=-1))[0]

    def read(self, state: Memory, z: Tensor) -> Tensor:
        """Predictions for embedded queries, T * M sequences of one step."""
        queries = z.shape[1]
        memory = type(state)(*(kept.unsqueeze(1).expand(-1, queries, *kept.shape[1:]).flatten(0, 1) for kept in state))
        step = F.pad(z.flatten(0, 1), (0, self.spec.eval.outputs)).unsqueeze(1)
        return self.readout(self.core(step, memory)[1]).view(-1, queries, self.spec.eval.outputs)

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """A stream's predictions, made on the way; or those for queries, embedded in one pass with the support set."""
        if self.spec.setting != "sequence":
            return super().solve(support, x)
        z = self.backbone(x)
        before = F.pad(self._labels(support.y, z)[:, :-1], (0, 0, 1, 0))
        return self.readout(self.core(torch.cat([z, before], dim=-1))[1])

    def _labels(self, y: Tensor, z: Tensor) -> Tensor:
        return self.objective.encode(y, self.spec.eval.outputs, z.dtype)
