"""ProtoMAML (Triantafillou et al., ICLR 2020, arXiv 1903.03096): MAML with a head initialised from the support set.

A prototypical network is linear in its embedding z = f_θ(x):  -‖z - c_n‖² + ‖z‖² = 2 c_n·z - ‖c_n‖², so the head

    w_n = 2 c_n,   b_n = -‖c_n‖²,   c_n = mean of f_θ(x) over the support of class n

makes its predictions. From there the whole network takes MAML's inner steps; the outer gradient also flows through the
initialisation. No head is meta-learned, so ways may differ between training and test.

For regression the head is initialised by ridge regression on the embeddings:

    [w b] = argmin (1/N) Σ ‖w z_i + b - y_i‖² + λ (‖w‖² + ‖b‖²)
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import Weights, keep_head_of_other_ways
from metabench.algo.maml import MAML, Descent
from metabench.backbone.base import Backbone
from metabench.config.types import Positive
from metabench.objective import one_hot
from metabench.tasks import TaskSpec


class ProtoMAML(MAML, rowwise=True):
    """MAML starting from the head of a prototypical network or of ridge regression."""

    learned_head = False

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        first_order: bool,
        ridge: Positive,
        **descent: Unpack[Descent],
    ) -> None:
        super().__init__(spec, backbone, **descent)
        self.first_order, self.ridge = first_order, ridge
        for parameter in self.network.head.parameters():  # placeholder for each task's own head
            nn.init.zeros_(parameter.requires_grad_(False))
        self.register_load_state_dict_pre_hook(keep_head_of_other_ways)

    def initial(self, z: Tensor, y: Tensor) -> Weights:
        """θ, and a head per task."""
        features = self.backbone(z)
        if self.spec.objective == "cross_entropy":
            weight, bias = prototype_head(features, one_hot(y, self.episode.outputs, features.dtype))
        else:
            weight, bias = ridge_head(features, y, self.ridge)
        return {**super().initial(z, y), "head.weight": weight, "head.bias": bias}


def prototype_head(z: Tensor, onehot: Tensor) -> tuple[Tensor, Tensor]:
    """Weight `[T, ways, F]` and bias `[T, ways]` from embeddings `[T, N, F]` and one-hot labels `[T, N, ways]`."""
    prototypes = (onehot.mT @ z) / onehot.sum(1).unsqueeze(-1)
    return 2 * prototypes, -prototypes.square().sum(-1)


def ridge_head(z: Tensor, y: Tensor, strength: float) -> tuple[Tensor, Tensor]:
    """Weight `[T, D, F]` and bias `[T, D]` for targets `[T, N, D]`, from the smaller of the two systems."""
    x = torch.cat([z, torch.ones_like(z[..., :1])], dim=-1)
    examples, size = x.shape[1:]
    unit = torch.eye(min(examples, size), dtype=x.dtype, device=x.device) * (strength * examples)
    if examples <= size:
        both = x.mT @ torch.linalg.solve_ex(x @ x.mT + unit, y)[0]
    else:
        both = torch.linalg.solve_ex(x.mT @ x + unit, x.mT @ y)[0]
    return both[:, :-1].mT, both[:, -1]
