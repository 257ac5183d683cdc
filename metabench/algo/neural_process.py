"""Base of neural processes: encode the support set, then decode a prediction from the encoding and the query.

No weights adapt and no labels are compared; their meaning is learned. The backbone embeds inputs (the identity for
scalars), an encoder h reads the context, and a decoder g the representation and the query:

    regression        (μ, s) = g([r, x*]),   σ = 0.1 + 0.9 softplus(s),   y* ~ N(μ, σ²)
    classification    logits = g([r, f(x*)])

As in the authors' code, perceptrons start Xavier-uniform with biases 0; torch's smaller weights learn more slowly.

In training the context of a regression task is a part of its support set, of a size sampled per task (the authors
sample it per batch, which would make the tasks of a batch depend on each other). Targets are all points, the context
included (TNP: without it).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.backbone.base import Backbone
from metabench.backbone.perceptron import Perceptron
from metabench.errors import ConfigError
from metabench.objective import OBJECTIVES, one_hot
from metabench.rng import NOISE, noise_keys, uniform
from metabench.tasks import Metrics, Tasks, TaskSpec

MIN_STD = 0.1
INIT: Literal["glorot"] = "glorot"
SIZE, LATENT = range(2)  # streams of a task's noise


class Context(NamedTuple):
    """Embedded examples, some of which form the context of their task."""

    z: Tensor  # [T, N, F]
    y: Tensor  # [T, N, D]: targets, or one-hot labels
    member: Tensor  # [T, N, 1]: 1 for the context, else 0


class Path(nn.Module, ABC):
    """A map from a context to a representation of `size` numbers per query."""

    size: int

    @abstractmethod
    def forward(self, context: Context) -> Any:
        """Encode the context, with the tasks first, `[T, ...]`."""

    @abstractmethod
    def read(self, kept: Any, z: Tensor) -> Tensor:
        """The representation `[T, M, size]` for queries z `[T, M, F]`."""


class Mean(Path):
    """r = mean of h([z, y]) over the context; in classification the means of h(z) per class, concatenated.

    An empty context or a class without examples gives 0.
    """

    def __init__(self, spec: TaskSpec, features: int, hidden: list[int]) -> None:
        super().__init__()
        outputs, self.classes = spec.eval.outputs, spec.objective == "cross_entropy"
        self.encoder = Perceptron([features + (0 if self.classes else outputs), *hidden], INIT)
        self.size = hidden[-1] * (outputs if self.classes else 1)

    def forward(self, context: Context) -> Tensor:
        """The representation r `[T, size]`."""
        z, y, member = context
        if self.classes:
            member = member * y
        else:
            z = torch.cat([z, y], dim=-1)
        return ((member.mT @ self.encoder(z)) / member.sum(1).clamp_min(1).unsqueeze(-1)).flatten(1)

    def read(self, kept: Tensor, z: Tensor) -> Tensor:
        """The same r for every query."""
        return kept.unsqueeze(1).expand(-1, z.shape[1], -1)


class NeuralProcess(Embedder):
    """Subclasses define the representation of a context (`represent`) and what is read from it (`read`)."""

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
        """`beside`: inputs of the decoder besides the representation and the query."""
        super().__init__(spec, backbone)
        self.classes = spec.objective == "cross_entropy"
        if self.classes:
            self.require_one_size("the decoder reads all classes at once")
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

    def fit(self, z: Tensor, y: Tensor) -> Any:
        """The representation of the whole support set."""
        return self.represent(self.context(z, y))

    @abstractmethod
    def represent(self, context: Context) -> Any:
        """The task state: the representation of the context."""

    def distribution(self, decoded: Tensor) -> Tensor:
        """Convert decoder outputs to logits, or to means and standard deviations."""
        if self.classes:
            return decoded
        mean, s = decoded.chunk(2, dim=-1)
        return torch.cat([mean, MIN_STD + (1 - MIN_STD) * F.softplus(s)], dim=-1)

    def context(self, z: Tensor, y: Tensor) -> Context:
        """A context of all given embedded examples."""
        if self.classes:
            y = one_hot(y, self.spec.eval.outputs, z.dtype)
        return Context(z, y, torch.ones_like(z[..., :1]))

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The loss on all targets given a part of the support set; the metric is that of the queries."""
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
        """The loss `[T]` and predictions for the targets, whose values or labels are y."""

    def drawn(self, tasks: Tasks, size: int) -> Tensor:
        """Mask `[T, size]` of the context: the first n support examples, n uniform in min_context..size."""
        assert self.min_context is not None
        sizes = size - self.min_context + 1
        n = self.min_context + (sizes * uniform(noise_keys(tasks.keys), NOISE + SIZE, 1)).long()
        return torch.arange(size, device=n.device) < n
