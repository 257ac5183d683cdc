"""LR-D2: a logistic regression solved within the network (Bertinetto, Henriques, Torr, Vedaldi, ICLR 2019, 1805.08136).

One-vs-rest classifiers with labels t = ±1, each fitted by Newton's method (iteratively reweighted least squares) from
w = 0 on

    Σ_i log(1 + exp(-t_i u_i)) + ½ N λ ‖w‖²,   u = X w:
    s = σ(u) σ(-u),   v = u + t / σ(t u),   w ← argmin Σ_i s_i (x_i w - v_i)² + N λ ‖w‖²

so each step is the ridge regression of R2-D2 on √s X and √s v = √s u + t exp(-t u / 2). The scores of all classes,
times a learned scale, are the logits of a softmax over them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.algo.r2d2 import R2D2, ridge
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive
from metabench.tasks import TaskSpec


class LRD2(R2D2):
    """R2-D2 with `newton_steps` of logistic regression in place of a ridge regression."""

    classifies = True

    def __init__(
        self, spec: TaskSpec, backbone: Backbone, *, regulariser: Positive, scale: Positive, newton_steps: Count
    ) -> None:
        super().__init__(spec, backbone, regulariser=regulariser, scale=scale)
        self.newton_steps = newton_steps

    def weights(self, x: Tensor, target: Tensor, penalty: Tensor) -> Tensor:
        """W, one column w per class."""
        return logistic(x.unsqueeze(1), 2 * target.mT.unsqueeze(-1) - 1, penalty, self.newton_steps).squeeze(-1).mT


def logistic(x: Tensor, t: Tensor, penalty: Tensor, steps: int) -> Tensor:
    """Fit w `[..., F, 1]` by Newton on Σ log(1 + exp(-t x w)) + ½ penalty ‖w‖², x `[..., N, F]`, t `[..., N, 1]`."""
    u, w = torch.zeros_like(t), torch.zeros_like(x[..., :1, :].mT)
    for _ in range(steps):
        root = (u.sigmoid() * (-u).sigmoid()).sqrt()
        w = ridge(root * x, root * u + t * (-t * u / 2).exp(), penalty)
        u = x @ w
    return w
