"""The algorithm interface: a function from a support set to a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from metabench.axis import AXIS_OF, Axis, by_instance
from metabench.backbone.base import Backbone, batch_norms, batch_statistics, queries_alone
from metabench.backbone.task_norm import task_norms
from metabench.errors import ConfigError, UnreadTasksError
from metabench.objective import OBJECTIVES
from metabench.tasks import Episode, Examples, Metrics, Setting, Tasks, TaskSpec

Mode = Literal["transductive", "inductive"]
State = Any
ALONE = 16  # queries predicted at once, each with a copy of the support set
UNREAD: dict[Setting, str] = {  # why an algorithm refuses tasks of a setting
    "few_shot": "online method; choose an online data set, e.g. data=sinusoid_online",
    "online": "needs complete tasks; choose a data set that is not online, e.g. data=omniglot",
    "sequence": "needs a support set, which sequences lack; choose another data set, e.g. data=omniglot",
}


class Algorithm(nn.Module, ABC):
    """A method whose parameters are the meta-parameters; tensors have the tasks of a batch first, `[T, ...]`.

    A subclass defines how a support set becomes a state (`adapt`) and how a state predicts queries (`predict`). Its
    keyword-only constructor arguments, and those of a `TypedDict` it unpacks, are the keys of its config. `forward`
    never loops over tasks. A buffer updated in training must change by the mean of the tasks' own updates, so that
    chunks and ranks agree. Raises `ConfigError` for tasks or a backbone that do not fit, `UnreadTasksError` for tasks
    that no setting makes fit.

    What a class says of its own code stands in its head, `class Mine(MAML, rowwise=True)`, and a subclass, which may
    change that code, says it again:

    - `rowwise`: `predict` reads each example by itself but for batch norms; see `metabench.backbone.alone`
    - `gives_support`: queries are embedded beside their support set, as TaskNorm needs
    """

    rowwise: ClassVar[bool] = False
    gives_support: ClassVar[bool] = False
    classifies: ClassVar[bool] = False  # classification only
    settings: ClassVar[tuple[Setting, ...]] = ("few_shot", "online")  # supported settings
    needs_queries: ClassVar[bool] = True  # trains on queries; False if support and query examples are pooled
    own_weights: ClassVar[bool] = False  # adapts weights per task
    uneven_support: ClassVar[bool] = True  # classes of a support set may differ in their number of examples
    remat = False  # recompute second-order inner steps in the backward pass; set by the runner

    def __init_subclass__(cls, *, rowwise: bool = False, gives_support: bool = False, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.rowwise, cls.gives_support = rowwise, gives_support

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__()
        self.spec = spec
        self.objective = OBJECTIVES[spec.objective]
        self.backbone = backbone
        self._check(spec)

    @classmethod
    def choice(cls) -> str:
        """The word that chooses it, `algo=WORD`, which is its module's; the class's name where it is a user's own."""
        room, _, module = cls.__module__.rpartition(".")
        return module if room == __name__.rpartition(".")[0] else cls.__name__

    def _check(self, spec: TaskSpec) -> None:
        """Raise `ConfigError` for tasks that the algorithm does not support, or a backbone that does not fit them."""
        name, norms = type(self).__name__, batch_norms(self.backbone)
        if spec.setting not in self.settings:
            raise UnreadTasksError("algo", self.choice(), UNREAD[spec.setting])
        if self.classifies and spec.objective != "cross_entropy":
            raise UnreadTasksError(
                "algo", self.choice(), "classification method; choose classification data, e.g. data=omniglot"
            )
        if spec.setting == "sequence" and any(not norm.running for norm in norms):
            raise ConfigError("backbone.statistics", "batch", "leaks later time steps into earlier ones; use running")
        if self.needs_queries and not spec.train.queries and spec.setting != "sequence":
            raise ConfigError("data.train.queries", 0, f"at least 1: {name} trains on the query loss")
        if task_norms(self.backbone) and not self.gives_support:
            able = "maml, fomaml, protonet or another that embeds queries beside their support set"
            raise ConfigError("backbone.norm", "tasknorm", f"needs {able}, unlike {name}")
        if self.own_weights and any(norm.pooled for norm in norms):
            valid = f"needs weights shared by all tasks, but {name} adapts them per task; use running or batch"
            raise ConfigError("backbone.statistics", "pooled", valid)

    def require_one_size(self, why: str) -> None:
        """Raise `ConfigError` with `why` unless predictions have the same size in training and evaluation."""
        found, wanted = self.spec.train.outputs, self.spec.eval.outputs
        if found != wanted:
            raise ConfigError("data.train.ways", found, f"should be data.ways, {wanted}: {why}")

    @abstractmethod
    def adapt(self, support: Examples) -> State:
        """Compute the state of each task from its support set."""

    @abstractmethod
    def predict(self, state: State, x: Tensor) -> Tensor:
        """Predictions `[T, M, O]` for queries `[T, M, *input_shape]`: logits, or values."""

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Adapt, then predict `[T, M, O]`. Overridden where support and query are embedded in one pass."""
        return self.predict(self.adapt(support), x)

    def outputs(self, support: Examples, x: Tensor) -> list[Tensor]:
        """Predictions `[T, M, O]` after each inner step 0..S, the last those of `solve`; of a method without inner
        steps these alone."""
        return [self.solve(support, x)]

    def draws(self, support: Examples, x: Tensor, count: int) -> list[Tensor]:
        """Predictions `[T, M, O]` for `count` samples of the task state; empty for deterministic methods."""
        return []

    def generate(self, support: Examples, count: int) -> Tensor | None:
        """Generate `count` inputs per class, `[T, ways, count, *input_shape]`; None for discriminative methods."""
        return None

    def view(self, tasks: Tasks) -> Tasks:
        """The tasks as the model sees them; a baseline that knows the truth adds it to the inputs."""
        return tasks

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The outer loss, a scalar averaged over tasks whose gradient is the meta-gradient, and metrics `[T]`."""
        tasks = self.view(tasks)
        prediction = self._sized(self.solve(tasks.support, tasks.query.x), tasks.query)
        loss = self.objective.loss(prediction, tasks.query.y)
        return loss.mean(), self.metrics(loss, prediction, tasks.query.y)

    def metrics(self, loss: Tensor, prediction: Tensor, target: Tensor) -> Metrics:
        """The loss and the metric of the objective by name, `[T]` each, detached."""
        metric = self.objective.metric(prediction.detach(), target)
        return {"loss": loss.detach(), self.objective.metric_name: metric}

    @property
    def episode(self) -> Episode:
        """The size of a task: that of training in training mode, else that of evaluation."""
        return self.spec.train if self.training else self.spec.eval

    @property
    def axis(self) -> Axis:
        """The axis of the columns of `evaluate`."""
        return AXIS_OF[self.spec.setting]

    @property
    def coupled(self) -> str:
        """Why a meta-step cannot be split into chunks: what depends on all of its tasks. Empty if it can be split."""
        pooled = any(norm.pooled for norm in batch_norms(self))
        return "backbone.statistics=pooled is of all tasks of a meta-step (running is not)" if pooled else ""

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The prediction modes that differ for this model, the default first.

        If batch norm uses query-batch statistics, each prediction depends on the other queries (transductive). This is
        the default of models that always use batch statistics; with running ones or no batch norm it is inductive.
        """
        norms = batch_norms(self)
        if not norms:
            return ("inductive",)
        return ("inductive", "transductive") if norms[0].running else ("transductive", "inductive")

    @torch.no_grad()
    def evaluate(
        self, tasks: Tasks, mode: Mode | None = None, alone: int | None = None, *, last: bool = False
    ) -> Metrics:
        """The loss and the metric per column of the axis, `[T, K]`, in `mode` (None: the default mode).

        `last` leaves out all predictions but those after the last inner step. A transductive model in inductive mode
        predicts queries one by one and gives the last column only, `[T, 1]`; `alone` is then the number of queries of
        each class, of a regression task in all (None: every one).
        Call in `eval()` mode, as `metabench.evaluation.evaluate.evaluate` does, so that no statistics are updated.
        """
        support, query = self.view(tasks)[:2]
        natural, predicted = self.modes[0], self._last_output if last else self.outputs
        if mode in (None, natural):
            outputs = predicted(support, query.x)
        elif mode == "transductive":
            with batch_statistics(self):
                outputs = predicted(support, query.x)
        else:
            query = query if alone is None else self._first(query, alone)
            outputs = [self.predict_alone(support, query.x)]
        parts = self.axis.parts([self._sized(output, query) for output in outputs], query.y, self.episode.shots)
        return {
            name: torch.stack([figure(output, target) for output, target in parts], dim=1)
            for name, figure in ((self.objective.metric_name, self.objective.metric), ("loss", self.objective.loss))
        }

    def _last_output(self, support: Examples, x: Tensor) -> list[Tensor]:
        return [self.solve(support, x)]

    def _sized(self, prediction: Tensor, query: Examples) -> Tensor:
        """The prediction; raises `ConfigError` for one of another size, which a loss might take without a word."""
        wanted = (*query.x.shape[:2], self.episode.outputs * self.objective.numbers)
        if prediction.shape != wanted:
            said = f"predicts a tensor {list(prediction.shape)}; should be {list(wanted)}, tasks, queries, outputs"
            raise ConfigError("algo", self.choice(), said)
        return prediction

    def _first(self, query: Examples, count: int) -> Examples:
        """The first `count` queries of each class, or of a regression task."""
        if self.spec.objective == "mse":
            return Examples(query.x[:, :count], query.y[:, :count])
        places = by_instance(query.y.unsqueeze(-1))[:, : count * self.spec.eval.outputs]
        task = torch.arange(len(places), device=places.device).unsqueeze(1)
        return Examples(query.x[task, places], query.y[task, places])

    def predict_alone(self, support: Examples, x: Tensor, state: State = None) -> Tensor:
        """Predictions of each query in a batch with the support set alone (Nichol et al. 2018, "non-transductive").

        `state` is that of the support set, where it is known.
        """
        state = self.adapt(support) if state is None else state
        if self.rowwise and self.backbone.rowwise:
            return torch.cat([self._each_alone(state, support.x, part) for part in x.split(ALONE, dim=1)], dim=1)

        def one(query: Tensor) -> Tensor:
            return self.predict(state, torch.cat([support.x, query.unsqueeze(1)], dim=1))[:, -1]

        return torch.vmap(one, in_dims=1, out_dims=1, chunk_size=ALONE)(x)

    def _each_alone(self, state: State, support: Tensor, x: Tensor) -> Tensor:
        """The same where examples meet in batch norms alone, which then know how to keep queries apart."""
        size = x.shape[1]
        with queries_alone(self, support.shape[1], size):
            return self.predict(state, torch.cat([support, x], dim=1))[:, -size:]
