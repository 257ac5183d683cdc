"""The oracle: a network that is given the parameters of the task's function (Finn et al. 2017, section 5.1).

    ŷ = g([f(x), A, φ]),   trained on the pooled examples of all tasks

The backbone f is the identity for scalar inputs. The support set is unused: the remaining error is that of the network,
not of identifying the task.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metabench.algo.fast_weights import Network
from metabench.algo.joint import Joint
from metabench.algo.known import with_known
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.backbone.perceptron import Perceptron
from metabench.config.types import Widths
from metabench.errors import ConfigError, UnreadTasksError
from metabench.tasks import Tasks, TaskSpec


class Informed(Network):
    """g of a backbone's features and the last `known` columns of its input: `[T, N, D + known]` to `[T, N, O]`."""

    def __init__(self, backbone: Backbone, known: int, hidden: list[int], outputs: int) -> None:
        super().__init__(backbone, outputs)
        self.known = known
        self.hidden = Perceptron([backbone.feature_size + known, *hidden])
        self.head = Linear(hidden[-1], outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Predicted values `[T, N, O]`."""
        x, told = x[..., : -self.known], x[..., -self.known :]
        return self.head(F.relu(self.hidden(torch.cat([self.backbone(x), told], dim=-1))))


class Oracle(Joint, rowwise=True):
    """Joint training with the entries of `tasks.truth` named in `known` as further inputs."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, known: list[str], hidden: Widths) -> None:
        super().__init__(spec, backbone)
        if not spec.truth:
            raise UnreadTasksError("algo.known", known, "this data has no task parameters to know")
        if not known or not set(known) <= set(spec.truth):
            raise ConfigError("algo.known", known, f"should be some of {', '.join(spec.truth)}")
        self.known = known
        self.network = Informed(backbone, len(known), hidden, spec.eval.outputs)

    def view(self, tasks: Tasks) -> Tasks:
        """Inputs `[T, N, 1 + known]`: x, then the known parameters."""
        return with_known(tasks, self.known)
