"""The inner loop of gradient-based methods: gradient descent on one copy of the weights per task."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, TypedDict

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.base import Algorithm
from metabench.algo.remat import Outputs, rematerialised
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.backbone.norm import Norm
from metabench.backbone.task_norm import support_first, task_norms
from metabench.config.types import Whole
from metabench.tasks import Examples, TaskSpec

Weights = dict[str, Tensor]


class Network(nn.Module):
    """A backbone and a linear head, initialised as `backbone.head_init` says: `[T, N, ...]` to `[T, N, O]`."""

    def __init__(self, backbone: Backbone, outputs: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head: nn.Module = Linear(backbone.feature_size, outputs, backbone.head_init)

    def forward(self, x: Tensor) -> Tensor:
        """Logits or values `[T, N, O]`."""
        return self.head(self.backbone(x))


class Steps(TypedDict):
    """Inner steps in training and in evaluation."""

    inner_steps: Whole
    eval_inner_steps: Whole


class InnerLoop(Steps):
    """Inner steps, and the switch that adapts scale and shift of normalisations too."""

    adapt_norm: bool


class FastWeights(Algorithm, rowwise=True):
    """θ'_0 = θ; θ'_{j+1} = θ'_j - α ∇ L_S(θ'_j): the state is θ'_J, one copy per task (`[T, *shape]`).

    Subclasses define what adapts (`learner`, preceded by the fixed `embed`), the initial weights (`initial`) and the
    step (`descend`, or all of it, `advance`). Tasks do not share fast weights, so one backward pass of the summed loss
    gives every task its own gradient. Raises `ConfigError` for a learned head with different ways at test.
    """

    own_weights = True
    first_order: bool = False  # treat inner gradients as constants
    learned_head: ClassVar[bool] = True  # the head is meta-learned, so its size is fixed

    def __init__(
        self, spec: TaskSpec, backbone: Backbone, *, inner_steps: int, eval_inner_steps: int, adapt_norm: bool
    ) -> None:
        super().__init__(spec, backbone)
        if self.learned_head:
            self.require_one_size("a linear head has one size in training and test")
        self.network = Network(backbone, spec.eval.outputs)
        self.inner_steps, self.eval_inner_steps, self.adapt_norm = inner_steps, eval_inner_steps, adapt_norm

    @property
    def learner(self) -> nn.Module:
        """The module whose weights adapt."""
        return self.network

    @property
    def steps(self) -> int:
        """Number of inner steps: that of training in training mode, else that of evaluation."""
        return self.inner_steps if self.training else self.eval_inner_steps

    def embed(self, x: Tensor) -> Tensor:
        """Inputs of the learner for x `[T, N, ...]`; not adapted."""
        return x

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """The learner's output on embedded inputs under fast weights."""
        return functional_call(self.learner, fast, (z,))

    def adapted(self) -> dict[str, nn.Parameter]:
        """The parameters that adapt, by name: all of the learner's, normalisations' only with `adapt_norm`."""
        norms = {id(p) for m in self.learner.modules() if isinstance(m, Norm) for p in m.parameters()}
        return {k: p for k, p in self.learner.named_parameters() if self.adapt_norm or id(p) not in norms}

    @abstractmethod
    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """Fast weights after one inner step along `gradient`."""

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """Fast weights after inner step number `step` (from 0) on the embedded support set."""
        return self.descend(fast, self.gradient(fast, z, y))

    def trajectory(self, support: Examples) -> Iterator[Weights]:
        """Fast weights after each inner step 0..S, differentiable in θ if gradients are enabled."""
        return self._path(support, 1)

    def _path(self, support: Examples, stride: int) -> Iterator[Weights]:
        """Fast weights after every `stride` steps and after the last.

        The steps in between form a segment; if they are `recomputed`, only its start is kept in memory.
        """
        z = self.embed(support.x)
        fast = self.initial(z, support.y)
        yield fast
        for start in range(0, self.steps, stride):
            fast = self._segment(fast, z, support.y, range(start, min(start + stride, self.steps)))
            yield fast

    def initial(self, z: Tensor, y: Tensor) -> Weights:
        """Initial fast weights, given the embedded support set: θ, expanded to every task."""
        return {name: p.expand(len(z), *p.shape) for name, p in self.adapted().items()}

    def gradient(self, fast: Weights, z: Tensor, y: Tensor, fixed: Weights | None = None) -> Weights:
        """∇ L_S at the fast weights of every task; part of the graph unless first-order.

        `fixed` are further weights of the learner, which do not adapt.
        """
        return self.loss_and_gradient(fast, z, y, fixed)[1]

    def loss_and_gradient(
        self, fast: Weights, z: Tensor, y: Tensor, fixed: Weights | None = None
    ) -> tuple[Tensor, Weights]:
        """L_S `[T]`, detached, and its gradient."""
        learning = torch.is_grad_enabled()
        with torch.enable_grad():
            at = {k: w if learning and w.requires_grad else w.detach().requires_grad_() for k, w in fast.items()}
            loss = self.objective.loss(self.read({**at, **(fixed or {})}, z), y)
            found = torch.autograd.grad(loss.sum(), list(at.values()), create_graph=learning and not self.first_order)
        return loss.detach(), dict(zip(at, found, strict=True))

    def adapt(self, support: Examples) -> Weights:
        """Fast weights θ'_S; if `recomputed`, in about √S segments of about √S inner steps."""
        path = self._path(support, max(1, math.isqrt(self.steps))) if self.recomputed else self.trajectory(support)
        *_, last = path
        return last

    @property
    def recomputed(self) -> bool:
        """True if inner steps are recomputed in the backward pass instead of kept."""
        return self.remat and self.training and torch.is_grad_enabled() and not self.first_order

    def _segment(self, fast: Weights, z: Tensor, y: Tensor, steps: range) -> Weights:
        """Fast weights after the consecutive inner steps `steps`."""
        names = list(fast)

        def run(z: Tensor, *weights: Tensor) -> Outputs:
            fast = dict(zip(names, weights, strict=True))
            for step in steps:
                fast = self.advance(fast, z, y, step)
            return tuple(fast[name] for name in names)

        given = [z, *fast.values()]
        if self.recomputed:
            used = [p for p in self.parameters() if p.requires_grad]
            return dict(zip(names, rematerialised(run, given, used, list(self.buffers())), strict=True))
        return dict(zip(names, run(*given), strict=True))

    def predict(self, state: Weights, x: Tensor) -> Tensor:
        """Predictions of the network under the fast weights."""
        return self.read(state, self.embed(x))

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Adapt, then predict; with TaskNorm the support set is read again, for its moments under the fast weights."""
        fast = self.adapt(support)
        return self._beside(fast, support, x) if task_norms(self.backbone) else self.predict(fast, x)

    def _beside(self, fast: Weights, support: Examples, x: Tensor) -> Tensor:
        """Predictions of queries that are read beside the support set."""
        size = support.x.shape[1]
        with support_first(self.backbone, size):
            return self.read(fast, self.embed(torch.cat([support.x, x], dim=1)))[:, size:]

    def outputs(self, support: Examples, x: Tensor) -> list[Tensor]:
        """Predictions after each inner step 0..S."""
        if task_norms(self.backbone):
            return [self._beside(fast, support, x) for fast in self.trajectory(support)]
        z = self.embed(x)
        return [self.read(fast, z) for fast in self.trajectory(support)]


def keep_head_of_other_ways(algo: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Accept a checkpoint with a different number of ways, where the head of a task is new anyway: a pre-hook."""
    for name, own in algo.state_dict().items():
        if name.startswith("network.head.") and prefix + name in state and state[prefix + name].shape != own.shape:
            state[prefix + name] = own
