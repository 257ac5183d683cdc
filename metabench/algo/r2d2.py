"""R2-D2: a ridge regression solved within the network (Bertinetto, Henriques, Torr, Vedaldi, ICLR 2019, 1805.08136).

With the support embeddings and a last column of ones as X `[N, F + 1]` and one-hot labels, or values, as Y `[N, O]`:

    W = argmin ‖X W - Y‖² / N + λ ‖W‖²
      = Xᵀ (X Xᵀ + N λ I)⁻¹ Y      N x N   (Woodbury; taken where N <= F + 1)
      = (Xᵀ X + N λ I)⁻¹ Xᵀ Y      F x F
    prediction = s [z, 1] W,   loss = that of the queries, differentiated through the solve

The division by N follows the authors' code, which divides X and Y by √N. λ (as its logarithm) and s are meta-learned.
The paper's third learned number, a bias common to all logits, changes no probability and is left out.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from metabench.algo.embedder import Embedder
from metabench.backbone.base import Backbone
from metabench.config.types import Positive
from metabench.objective import one_hot
from metabench.tasks import TaskSpec
from metabench.utils.precision import no_autocast


class R2D2(Embedder):
    """The state is W `[T, F + 1, O]`; ways may differ between training and test."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, regulariser: Positive, scale: Positive) -> None:
        super().__init__(spec, backbone)
        self.log_regulariser = nn.Parameter(torch.tensor(math.log(regulariser)))
        self.scale = nn.Parameter(torch.tensor(scale))

    def fit(self, z: Tensor, y: Tensor) -> Tensor:
        """W in at least 32 bits: linear solvers support no lower precision."""
        with no_autocast(z.device):
            x = _with_ones(z.to(torch.promote_types(z.dtype, torch.float32)))
            target = y.to(x.dtype) if self.spec.objective == "mse" else one_hot(y, self.episode.outputs, x.dtype)
            return self.weights(x, target, self.log_regulariser.exp() * x.shape[1])

    def weights(self, x: Tensor, target: Tensor, penalty: Tensor) -> Tensor:
        """W from X `[T, N, F + 1]`, Y `[T, N, O]` and Nλ."""
        return ridge(x, target, penalty)

    def read(self, state: Tensor, z: Tensor) -> Tensor:
        """Predictions s [z, 1] W, `[T, M, O]`."""
        return self.scale * (_with_ones(z) @ state)


def _with_ones(z: Tensor) -> Tensor:
    return torch.cat([z, torch.ones_like(z[..., :1])], dim=-1)


def ridge(x: Tensor, y: Tensor, penalty: Tensor) -> Tensor:
    """Solve argmin over W of ‖x W - y‖² + penalty ‖W‖², `[..., F, O]`, for x `[..., N, F]` and y `[..., N, O]`.

    Solves the smaller of the two systems.
    """
    few = x.shape[-2] <= x.shape[-1]
    gram = x @ x.mT if few else x.mT @ x
    eye = torch.eye(gram.shape[-1], dtype=x.dtype, device=x.device)
    if few:
        return x.mT @ positive_solve(gram + penalty * eye, y)
    return positive_solve(gram + penalty * eye, x.mT @ y)


def positive_solve(a: Tensor, y: Tensor) -> Tensor:
    """Solve a⁻¹ y, `[..., N, O]`, for positive definite a `[..., N, N]`, by a Cholesky factorisation.

    If rounding makes it fail, the result is NaN, which stops a run without synchronising with the GPU.
    """
    factor, failed = torch.linalg.cholesky_ex(a)
    return torch.cholesky_solve(y, factor.masked_fill(failed.bool()[..., None, None], math.nan))
