"""Multimodal MAML (MMAML; Vuorio, Sun, Hu, Lim, NeurIPS 2019, arXiv 1910.13616): a task encoder chooses where to begin.

    υ = h(support),   τ = (γ, β)_l = g_l(υ) for every layer l of the body
    network    (1 + γ_l) ∘ (W_l x + b_l) + β_l           FiLM; the head is not modulated
    step       θ'_{j+1} = θ'_j - α clip(∇_θ L_S(θ'_j, τ))   θ the weights W and b; τ stays as it is in the inner loop
    outer      L_Q(θ'_J, τ) on θ and the encoder, through τ and through the inner steps

A mixture of families has no one start from which a few steps reach each of them: the encoder tells the families apart
and gives each a network of its own, before any gradient is taken. The authors read the points by an LSTM in both
directions (here `aggregator=gru`), images without their labels, and clip every entry of an inner gradient.
"""

from __future__ import annotations

from typing import Unpack

from torch import Tensor

from metabench.algo.fast_weights import InnerLoop, Weights
from metabench.algo.film import film, film_sites
from metabench.algo.maml import MAML
from metabench.algo.sets import Aggregator
from metabench.algo.task_encoder import TaskEncoder
from metabench.backbone.base import Backbone
from metabench.config.types import Count, Positive
from metabench.tasks import TaskSpec

TAU = "modulation"  # its name among the fast weights, beside which it is kept


class MMAML(MAML):
    """MAML on a network that a task encoder modulates."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        aggregator: Aggregator,
        size: Count,
        inner_lr: Positive,
        inner_clip: Positive | None,
        **loop: Unpack[InnerLoop],
    ) -> None:
        super().__init__(spec, backbone, inner_lr=inner_lr, **loop)
        self.inner_clip, self.sites = inner_clip, film_sites(backbone)
        numbers = 2 * sum(self.sites.values())
        self.encoder = TaskEncoder(spec, backbone, size, numbers, aggregator, labels=False)

    def initial(self, z: Tensor, y: Tensor) -> Weights:
        """θ, and the modulation of each task."""
        return {**super().initial(z, y), TAU: self.encoder(z, y)}

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """The network under fast weights and modulation."""
        rows = fast[TAU]
        weights = {name: p.expand(len(rows), *p.shape) for name, p in self.network.named_parameters()} | fast
        body = {name.removeprefix("backbone."): w for name, w in weights.items()}
        modulated = {f"backbone.{name}": w for name, w in film(body, self.sites, rows).items()}
        return super().read({name: w for name, w in (fast | modulated).items() if name != TAU}, z)

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """θ' - α clip(∇ L_S(θ', τ)), and τ as it is."""
        tau = {TAU: fast[TAU]}
        theta = {name: w for name, w in fast.items() if name != TAU}
        gradient = self.gradient(theta, z, y, fixed=tau)
        if self.inner_clip is not None:
            gradient = {name: g.clamp(-self.inner_clip, self.inner_clip) for name, g in gradient.items()}
        return {**self.descend(theta, gradient), **tau}
