"""MT-net: a learned metric and subspace for each layer (Lee, Choi, ICML 2018, arXiv 1801.05558).

    layer l    h = T_l (W_l x + b_l),    T_l a square matrix over the layer's outputs
    step       W_l ← W_l - α M_l ∘ ∇_{W_l} L_S,   b_l likewise;   T_l is not adapted
    mask       M_l has one binary number m per output (row):   m ~ Bernoulli(σ(ζ_l)), sampled per task

A step on W moves T W by -α T M Tᵀ G, with G the gradient with respect to T W: T is a metric of the layer's outputs, and
the unmasked rows span the subspace that adapts. W, b, T and ζ are meta-learned, ζ by the straight-through gradient of a
relaxed sample (Jang et al. 2017; Maddison et al. 2017):

    m = 1 if ζ + g > 0 else 0,    dm = dσ((ζ + g) / τ),    g logistic noise

In training g is a function of the support set, so a task has the same mask at every inner step and on every device.
In evaluation m is its mean σ(ζ), as in dropout, so predictions are deterministic (the authors sample it there too).
T is initialised to the identity, ζ to 0. Without the mask (`mask: false`) this is the paper's T-net.
"""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import Steps, Weights
from metabench.algo.maml import MAML
from metabench.algo.mode_product import mode_product
from metabench.backbone.base import Backbone
from metabench.config.types import Positive
from metabench.rng import NOISE, content_keys, uniform
from metabench.tasks import TaskSpec


class MTNet(MAML, rowwise=True):
    """MAML with a learned metric and mask over the outputs of every linear layer and convolution."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        mask: bool,
        temperature: Positive,
        inner_lr: Positive,
        **steps: Unpack[Steps],
    ) -> None:
        super().__init__(spec, backbone, inner_lr=inner_lr, adapt_norm=False, **steps)
        self.temperature = temperature
        adapted = self.adapted()
        owners = {name: name.rpartition(".")[0] for name in adapted}
        outputs = {owner: len(adapted[name]) for name, owner in owners.items()}
        order = {owner: i for i, owner in enumerate(outputs)}
        self.layer = {name: order[owner] for name, owner in owners.items()}  # index of each parameter's layer
        self.metric = nn.ParameterList(torch.eye(size) for size in outputs.values())
        self.logits = nn.ParameterList(torch.zeros(size) for size in outputs.values() if mask)

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """Output of the network with weights T W and T b."""
        warped = {name: mode_product(w, self.metric[self.layer[name]], 1) for name, w in fast.items()}
        return super().read(warped, z)

    def masks(self, x: Tensor) -> list[Tensor]:
        """m of every layer, `[T, outputs]` each, for support inputs x `[T, N, ...]`."""
        if not self.training:
            return [logit.sigmoid().expand(len(x), -1) for logit in self.logits]
        keys, found = content_keys(x).sum(1), []
        for stream, logit in enumerate(self.logits):
            u = (uniform(keys, NOISE + stream, len(logit)) + 2.0**-54).to(logit.dtype).clamp(1e-7, 1 - 1e-7)
            noisy = logit + u.logit()
            relaxed = (noisy / self.temperature).sigmoid()
            found.append((noisy > 0).to(relaxed.dtype) - relaxed.detach() + relaxed)
        return found

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """θ' - α M ∘ ∇ L_S(θ')."""
        gradient = self.gradient(fast, z, y)
        if self.logits:
            masks = self.masks(z)
            gradient = {name: of_outputs(masks[self.layer[name]], g) * g for name, g in gradient.items()}
        return self.descend(fast, gradient)


def of_outputs(numbers: Tensor, like: Tensor) -> Tensor:
    """One number per output, `[T, O]`, shaped to multiply `like` `[T, O, ...]`."""
    return numbers.view(*numbers.shape, *[1] * (like.dim() - 2))
