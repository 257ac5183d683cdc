"""The exact Gaussian process: the posterior under the prior that drew the task (Rasmussen, Williams 2006, eq. 2.23).

    k(x, x') = s² exp(-(x - x')² / 2l²),   C = k(X, X) + noise² I
    μ(x*) = k(x*, X) C⁻¹ y,   σ²(x*) = s² + noise² - k(x*, X) C⁻¹ k(X, x*)

Nothing is trained: l and s are the task's own, as the oracle's amplitude and phase. No method can have a lower expected
loss or squared error on these tasks, so it is the floor that neural processes and prior-fitted networks are held to.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.algo.known import with_known
from metabench.backbone.base import Backbone
from metabench.config.types import NonNegative
from metabench.errors import UnreadTasksError
from metabench.objective import OBJECTIVES
from metabench.tasks import Examples, Tasks, TaskSpec

KNOWN = ("length", "scale")
JITTER = 1e-6  # of the prior variance, part of the prior that curves are drawn from


class Posterior(NamedTuple):
    """Support inputs `[T, N, 1]`, the root of C `[T, N, N]`, C⁻¹ y `[T, N, 1]`, and l and s `[T, 1, 1]`."""

    x: Tensor
    root: Tensor
    weights: Tensor
    length: Tensor
    scale: Tensor


class GP(Algorithm):
    """Regression in closed form; `noise` is the standard deviation of targets about the curve."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, noise: NonNegative) -> None:
        super().__init__(spec, backbone)
        if not set(KNOWN) <= set(spec.truth):
            valid = "needs curves of a Gaussian process, e.g. data=gp_curves"
            raise UnreadTasksError("algo", self.choice(), valid)
        self.noise = noise
        self.objective = OBJECTIVES["gaussian"]
        self.requires_grad_(False)

    def view(self, tasks: Tasks) -> Tasks:
        """Inputs `[T, N, 3]`: x, then the length scale and the output scale of the task."""
        return with_known(tasks, KNOWN)

    def adapt(self, support: Examples) -> Posterior:
        """Solve for the weights of the support set, in float64."""
        x, length, scale = support.x.double().split(1, dim=-1)
        length, scale = length[:, :1], scale[:, :1]
        diagonal = JITTER * scale.square() + self.noise**2
        covariance = _kernel(x, x, length, scale) + diagonal * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
        root = torch.linalg.cholesky_ex(covariance).L  # without a look at the result, which a GPU would wait for
        return Posterior(x, root, torch.cholesky_solve(support.y.double(), root), length, scale)

    def predict(self, state: Posterior, x: Tensor) -> Tensor:
        """Means and standard deviations of targets, `[T, M, 2]`."""
        cross = _kernel(x[..., :1].double(), state.x, state.length, state.scale)
        explained = torch.linalg.solve_triangular(state.root, cross.mT, upper=False).square().sum(1).unsqueeze(-1)
        variance = (1 + JITTER) * state.scale.square() + self.noise**2 - explained
        return torch.cat([cross @ state.weights, variance.clamp_min(0).sqrt()], dim=-1).to(x.dtype)


def _kernel(a: Tensor, b: Tensor, length: Tensor, scale: Tensor) -> Tensor:
    """The covariance of a `[T, N, 1]` and b `[T, M, 1]`: `[T, N, M]`."""
    return scale.square() * torch.exp(-0.5 * ((a - b.mT) / length).square())
