"""Conditional neural processes (Garnelo et al., ICML 2018, arXiv 1807.01613).

    r = mean_i h([x_i, y_i]),   (μ, σ) = g([r, x*])
    loss = -mean log N(y*; μ, σ²) over targets that include the context

Classification: r = [r_1, …, r_N], r_n the mean of h(f(x_i)) over class n; g gives N logits.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from metabench.algo.neural_process import Context, Mean, NeuralProcess, Path
from metabench.backbone.base import Backbone
from metabench.config.types import Whole, Widths
from metabench.tasks import TaskSpec


class Conditional(NeuralProcess):
    """A neural process without a latent variable: the state is what its path keeps of the context."""

    @abstractmethod
    def __init__(self, spec: TaskSpec, backbone: Backbone, path: Path, **sizes: Any) -> None:
        super().__init__(spec, backbone, path, beside=0, **sizes)

    def represent(self, context: Context) -> Any:
        """The path's encoding of the context."""
        return self.path(context)

    def read(self, state: Any, z: Tensor) -> Tensor:
        """Predictions g([r(z), z])."""
        return self.distribution(self.decoder(torch.cat([self.path.read(state, z), z], dim=-1)))

    def learn(self, context: Context, targets: Context, y: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """The negative log-likelihood, and the predictions."""
        prediction = self.read(self.represent(context), targets.z)
        return self.objective.loss(prediction, y), prediction


class CNP(Conditional):
    """The state is r `[T, R]`."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        encoder: Widths,
        decoder: Widths,
        min_context: Whole | None,
    ) -> None:
        path = Mean(spec, backbone.feature_size, encoder)
        super().__init__(spec, backbone, path, decoder=decoder, min_context=min_context)
