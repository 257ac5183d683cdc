"""Meta-Curvature (Park, Oliva, NeurIPS 2019, arXiv 1902.03356): learned linear transforms of the inner gradient.

    G = ∇_l L_S(θ'_j) of a layer, [outputs, inputs, kernel positions]        (a linear layer has no third mode)
    MC(G) = G ×_3 M_f ×_2 M_i ×_1 M_o                                        (of a bias: m ∘ G)
    θ'_{j+1} = θ'_j - α MC(∇ L_S(θ'_j))

M_f captures dependencies between the positions of a filter, M_i between input channels, M_o between outputs; together
they act on vec(G) as M_o ⊗ M_i ⊗ M_f. They are full matrices, meta-learned with θ and shared by tasks and inner steps.
All are initialised to the identity, where the method is MAML.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import Weights
from metabench.algo.maml import MAML, Descent
from metabench.algo.mode_product import mode_product
from metabench.backbone.base import Backbone
from metabench.tasks import TaskSpec


class Curvature(nn.Module):
    """MC for one weight tensor; the rows and columns of a kernel form one mode."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = (*shape[:2], *([shape[2] * shape[3]] if len(shape) == 4 else []))
        factors = [torch.ones(self.shape)] if len(shape) == 1 else [torch.eye(size) for size in self.shape]
        self.factors = nn.ParameterList(factors)

    def forward(self, gradient: Tensor) -> Tensor:
        """MC(G) of gradients `[T, *shape]`."""
        if len(self.shape) == 1:
            return self.factors[0] * gradient
        found = gradient.reshape(-1, *self.shape)
        for mode in range(len(self.shape), 0, -1):
            found = mode_product(found, self.factors[mode - 1], mode)
        return found.reshape(gradient.shape)


class MetaCurvature(MAML, rowwise=True):
    """MAML with transformed gradients."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, **descent: Unpack[Descent]) -> None:
        super().__init__(spec, backbone, **descent)
        self.curvature = nn.ModuleList(Curvature(tuple(p.shape)) for p in self.adapted().values())

    def descend(self, fast: Weights, gradient: Weights) -> Weights:
        """θ' - α MC(∇ L_S(θ'))."""
        transforms = zip(gradient.items(), self.curvature, strict=True)
        return super().descend(fast, {name: transform(g) for (name, g), transform in transforms})
