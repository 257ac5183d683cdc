"""What neural processes share: a support set becomes a representation, a representation and an input a prediction.

No weights adapt and no label is compared: that labels mean anything is learned. Inputs are embedded by the backbone
(for points on a line it is the identity), an encoder h reads the context, a decoder g the representation and the query:

    regression        (μ, s) = g([r, x*]),   σ = 0.1 + 0.9 softplus(s),   y* ~ N(μ, σ²)
    classification    logits = g([r, f(x*)])

As in the authors' code perceptrons start Xavier-uniform, with biases of 0; from torch's smaller weights they learn more
slowly.

In training the context of a regression task is a part of its support set, of a size that is drawn for every task (the
authors draw one for a batch, which would tie the tasks of a batch to each other); the targets are all points, the
context among them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.base import Algorithm
from metabench.backbone.base import Backbone
from metabench.backbone.perceptron import Perceptron
from metabench.errors import ConfigError
from metabench.objective import OBJECTIVES, one_hot
from metabench.rng import NOISE, noise_keys, uniform
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec

MIN_STD = 0.1
INIT: Literal["glorot"] = "glorot"
SIZE, LATENT = range(2)  # streams of a task's noise


class Context(NamedTuple):
    """Embedded examples, of which some are the context of their task."""

    z: Tensor  # [T, N, F]
    y: Tensor  # [T, N, D]: targets, or labels as rows of the unit matrix
    member: Tensor  # [T, N, 1]: 1 for the context, else 0


class Path(nn.Module, ABC):
    """From a context to a representation, `size` numbers for every query."""

    size: int

    @abstractmethod
    def forward(self, context: Context) -> Any:
        """What is kept of the context."""

    @abstractmethod
    def read(self, kept: Any, z: Tensor) -> Tensor:
        """The representation for queries z `[T, M, F]`: `[T, M, size]`."""


class Mean(Path):
    """r = mean of h([z, y]) over the context; for classes the mean of h(z) of each, one after the other.

    An empty context, and a class of which there is no example, is 0.
    """

    def __init__(self, spec: TaskSpec, features: int, hidden: list[int]) -> None:
        super().__init__()
        outputs, self.classes = spec.eval.outputs, spec.objective == "cross_entropy"
        self.encoder = Perceptron([features + (0 if self.classes else outputs), *hidden], INIT)
        self.size = hidden[-1] * (outputs if self.classes else 1)

    def forward(self, context: Context) -> Tensor:
        """r `[T, size]`."""
        z, y, member = context
        if self.classes:
            member = member * y
        else:
            z = torch.cat([z, y], dim=-1)
        return ((member.mT @ self.encoder(z)) / member.sum(1).clamp_min(1).unsqueeze(-1)).flatten(1)

    def read(self, kept: Tensor, z: Tensor) -> Tensor:
        """The same r for every query."""
        return kept.unsqueeze(1).expand(-1, z.shape[1], -1)


class NeuralProcess(Algorithm):
    """Subclasses say what represents a context (`represent`) and how it is read (`decode`)."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        path: Path,
        *,
        decoder: list[int],
        min_context: int | None,
        beside: int,
    ) -> None:
        """`beside` numbers are given to the decoder beside what the path reads, and the query."""
        super().__init__(spec, backbone)
        self.classes = spec.objective == "cross_entropy"
        if self.classes and spec.train.outputs != spec.eval.outputs:
            raise ConfigError(
                "data.train.ways",
                spec.train.outputs,
                f"should be data.ways, {spec.eval.outputs}: the decoder reads all classes at once",
            )
        if self.classes and min_context is not None:
            raise ConfigError("algo.min_context", min_context, "should be null: a class needs all of its few examples")
        if min_context is not None and min_context > spec.train.shots:
            raise ConfigError(
                "algo.min_context", min_context, f"should be at most data.train.shots, {spec.train.shots}"
            )
        if not self.classes:
            self.objective = OBJECTIVES["gaussian"]
        self.min_context = min_context
        self.path = path
        outputs = spec.eval.outputs * (1 if self.classes else 2)
        self.decoder = Perceptron([path.size + beside + backbone.feature_size, *decoder, outputs], INIT)

    @abstractmethod
    def represent(self, context: Context) -> Any:
        """What is kept of the context."""

    @abstractmethod
    def decode(self, state: Any, z: Tensor) -> Tensor:
        """Predictions for embedded queries `[T, M, F]`."""

    def distribution(self, decoded: Tensor) -> Tensor:
        """What the decoder gave as logits, or as means and standard deviations."""
        if self.classes:
            return decoded
        mean, s = decoded.chunk(2, dim=-1)
        return torch.cat([mean, MIN_STD + (1 - MIN_STD) * F.softplus(s)], dim=-1)

    def adapt(self, support: Examples) -> Any:
        """The representation of the whole support set."""
        return self.represent(self.context(self.backbone(support.x), support.y))

    def predict(self, state: Any, x: Tensor) -> Tensor:
        """Embed the queries and decode."""
        return self.decode(state, self.backbone(x))

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Support and query embedded in one pass, which batch statistics then cover together, as in training."""
        size = support.x.shape[1]
        z = self.backbone(torch.cat([support.x, x], dim=1))
        return self.decode(self.represent(self.context(z[:, :size], support.y)), z[:, size:])

    def context(self, z: Tensor, y: Tensor) -> Context:
        """All of some embedded examples."""
        if self.classes:
            y = one_hot(y, self.spec.eval.outputs, z.dtype)
        return Context(z, y, torch.ones_like(z[..., :1]))

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The loss of all targets given a part of the support set; the metric is that of the queries."""
        tasks = self.view(tasks)
        x, y = (torch.cat(parts, dim=1) for parts in zip(*tasks[:2], strict=True))
        size = tasks.support.x.shape[1]
        targets = self.context(self.backbone(x), y)
        part = Context(*(t[:, :size] for t in targets))
        if self.min_context is not None:
            part = part._replace(member=self.drawn(tasks, size).unsqueeze(-1).to(x.dtype))
        loss, prediction = self.learn(part, targets, y, tasks.keys)
        return loss.mean(), self.metrics(loss, prediction[:, size:], tasks.query.y)

    @abstractmethod
    def learn(self, context: Context, targets: Context, y: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss `[T]` and the predictions of the targets, whose values or labels are y."""

    def drawn(self, tasks: Tasks, size: int) -> Tensor:
        """Which of `size` support examples are the context, `[T, size]`: the first min_context..size, uniformly."""
        assert self.min_context is not None
        sizes = size - self.min_context + 1
        n = self.min_context + (sizes * uniform(noise_keys(tasks.keys), NOISE + SIZE, 1)).long()
        return torch.arange(size, device=n.device) < n
