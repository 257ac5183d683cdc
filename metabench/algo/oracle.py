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
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.backbone.perceptron import Perceptron
from metabench.config.types import Widths
from metabench.errors import ConfigError
from metabench.tasks import Examples, Tasks, TaskSpec


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


class Oracle(Joint):
    """Joint training with the entries of `tasks.truth` named in `known` as further inputs."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, known: list[str], hidden: Widths) -> None:
        super().__init__(spec, backbone)
        if not known or not set(known) <= set(spec.truth):
            valid = ", ".join(spec.truth) or "[]: this data has no task parameters"
            raise ConfigError("algo.known", known, f"should be some of {valid}")
        self.known = known
        self.network = Informed(backbone, len(known), hidden, spec.eval.outputs)

    def view(self, tasks: Tasks) -> Tasks:
        """Inputs `[T, N, 1 + known]`: x, then the known parameters."""
        told = torch.cat([tasks.truth[name] for name in self.known], dim=1).unsqueeze(1)

        def informed(part: Examples) -> Examples:
            x, y = part
            return Examples(torch.cat([x, told.to(x.dtype).expand(-1, x.shape[1], -1)], dim=-1), y)

        return Tasks(informed(tasks.support), informed(tasks.query), tasks.truth, tasks.keys)
