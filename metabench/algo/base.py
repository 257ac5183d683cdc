"""The contract of an algorithm: a function from a support set to a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metabench.axis import AXIS_OF, Axis
from metabench.backbone.base import Backbone, batch_norms, batch_statistics
from metabench.errors import ConfigError
from metabench.objective import OBJECTIVES
from metabench.tasks import Episode, Examples, Metrics, Setting, Tasks, TaskSpec

Mode = Literal["transductive", "inductive"]
State = Any
UNREAD: dict[Setting, str] = {  # why an algorithm refuses tasks of a protocol
    "few_shot": "learns from tasks that come one after the other, as data=sinusoid_online has them; this data has not",
    "online": "reads a task whole; this data brings it little by little",
    "sequence": "answers queries after a support set; this data is a stream that has none",
}


class Algorithm(nn.Module, ABC):
    """Meta-parameters are its parameters; all tensors carry the tasks of a batch first, `[T, ...]`.

    A subclass says how a support set becomes a state (`adapt`) and how a state answers queries (`predict`); its
    keyword-only constructor arguments, and those it unpacks from a `TypedDict`, are what its config may set. Forward
    never loops over tasks. A buffer that training moves must move by the mean, over tasks, of what each task alone
    would do, so that chunks and ranks agree.
    """

    classifies: ClassVar[bool] = False  # and does nothing else: refuses regression
    settings: ClassVar[tuple[Setting, ...]] = ("few_shot", "online")  # what it can read
    needs_queries: ClassVar[bool] = True  # in training; not where support and query examples are learned from alike
    own_weights: ClassVar[bool] = False  # gives every task weights of its own
    remat = False  # compute second-order inner steps again instead of keeping them; set by the runner

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__()
        self.spec = spec
        self.objective = OBJECTIVES[spec.objective]
        self.backbone = backbone
        self._check(spec)

    def _check(self, spec: TaskSpec) -> None:
        """Raise `ConfigError` for tasks that this algorithm cannot read, or a backbone that does not fit them."""
        name, norms = type(self).__name__, batch_norms(self.backbone)
        if spec.setting not in self.settings:
            raise ConfigError("algo", name, UNREAD[spec.setting])
        if self.classifies and spec.objective != "cross_entropy":
            raise ConfigError("algo", name, "compares classes and needs classification data; this is a regression")
        if spec.setting == "sequence" and any(not norm.running for norm in norms):
            raise ConfigError(
                "backbone.statistics", "batch", "lets a stream's later steps inform earlier ones; running"
            )
        if self.needs_queries and not spec.train.queries and spec.setting != "sequence":
            raise ConfigError("data.train.queries", 0, f"at least 1: {name} learns to answer queries")
        if self.own_weights and any(norm.pooled for norm in norms):
            valid = f"is for tasks under the same weights, and {name} gives each its own; running or batch"
            raise ConfigError("backbone.statistics", "pooled", valid)

    @abstractmethod
    def adapt(self, support: Examples) -> State:
        """What the algorithm keeps of the support set."""

    @abstractmethod
    def predict(self, state: State, x: Tensor) -> Tensor:
        """Predictions `[T, M, O]` for queries `[T, M, ...]`: logits, or values."""

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Adapt, then predict. Overridden where support and query are better embedded in one pass."""
        return self.predict(self.adapt(support), x)

    def outputs(self, support: Examples, x: Tensor) -> list[Tensor]:
        """Predictions after each inner step 0..S; one entry where there are no inner steps."""
        return [self.solve(support, x)]

    def draws(self, support: Examples, x: Tensor, count: int) -> list[Tensor]:
        """Predictions under `count` draws of what the support set leaves open; none where nothing is drawn."""
        return []

    def generate(self, support: Examples, count: int) -> Tensor | None:
        """`count` new inputs of each class of a support set `[T, ways, count, *input_shape]`; None if none are made."""
        return None

    def view(self, tasks: Tasks) -> Tasks:
        """The tasks as this model sees them; a baseline that is defined by knowing the truth adds it to the inputs."""
        return tasks

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """A scalar whose gradient is the direction of the outer update, a mean over tasks; and metrics `[T]`."""
        tasks = self.view(tasks)
        prediction = self.solve(tasks.support, tasks.query.x)
        loss = self.objective.loss(prediction, tasks.query.y)
        return loss.mean(), self.metrics(loss, prediction, tasks.query.y)

    def metrics(self, loss: Tensor, prediction: Tensor, target: Tensor) -> Metrics:
        """The loss and the metric of the objective, detached."""
        metric = self.objective.metric(prediction.detach(), target)
        return {"loss": loss.detach(), self.objective.metric_name: metric}

    @property
    def episode(self) -> Episode:
        """The size of the tasks at hand: those of training in training, those of evaluation otherwise."""
        return self.spec.train if self.training else self.spec.eval

    @property
    def axis(self) -> Axis:
        """What the columns of `evaluate` count."""
        return AXIS_OF[self.spec.setting]

    @property
    def coupled(self) -> str:
        """What is of all tasks of a meta-step together, so that it cannot be taken in parts; nothing where it can."""
        pooled = any(norm.pooled for norm in batch_norms(self))
        return "backbone.statistics=pooled is of all tasks of a meta-step, running is not" if pooled else ""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The kinds of prediction this model tells apart, the natural one first.

        Batch statistics over the queries let them inform each other (transductive); a model that always uses them
        is transductive by nature, one that keeps running statistics, or has no batch normalisation, is inductive.
        """
        norms = batch_norms(self)
        if not norms:
            return ("inductive",)
        return ("inductive", "transductive") if norms[0].running else ("transductive", "inductive")

    @torch.no_grad()
    def evaluate(self, tasks: Tasks, mode: Mode | None = None) -> Metrics:
        """The loss and the metric for each column of the axis, `[T, K]`, in `mode` (by default the natural one).

        `[T, 1]`, the last alone, where queries of a transductive model are predicted one by one. To be called in
        `eval()`, where nothing moves; `metabench.evaluation.evaluate.evaluate` sees to it.
        """
        support, query = self.view(tasks)[:2]
        natural = self.modes[0]
        if mode in (None, natural):
            outputs = self.outputs(support, query.x)
        elif mode == "transductive":
            with batch_statistics(self):
                outputs = self.outputs(support, query.x)
        else:
            outputs = [self.predict_alone(support, query.x)]
        parts = self.axis.parts(outputs, query.y, self.episode.shots)
        return {
            name: torch.stack([figure(output, target) for output, target in parts], dim=1)
            for name, figure in ((self.objective.metric_name, self.objective.metric), ("loss", self.objective.loss))
        }

    def predict_alone(self, support: Examples, x: Tensor) -> Tensor:
        """Each query predicted in a batch of the support set and itself (Nichol et al. 2018, "non-transductive")."""
        state = self.adapt(support)

        def one(query: Tensor) -> Tensor:
            return self.predict(state, torch.cat([support.x, query.unsqueeze(1)], dim=1))[:, -1]

        return torch.vmap(one, in_dims=1, out_dims=1, chunk_size=16)(x)
