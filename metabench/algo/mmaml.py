"""Multimodal MAML (MMAML; Vuorio, Sun, Hu, Lim, NeurIPS 2019, arXiv 1910.13616): task-dependent initial weights.

    υ = h(support),   τ = (γ, β)_l = g_l(υ) for every layer l of the body
    network    (1 + γ_l) ∘ (W_l x + b_l) + β_l             FiLM; the head is not modulated
    step       θ'_{j+1} = θ'_j - α clip(∇_θ L_S(θ'_j, τ))   θ the weights; τ does not adapt
    outer      L_Q(θ'_J, τ) on θ and the encoder, through τ and through the inner steps

Few gradient steps from one initialisation do not reach every family of a mixture: the encoder identifies the family
and modulates the network before the first step. The authors encode points as they are with a bidirectional LSTM (here
`aggregator=gru`, which like theirs reads the points in their order), images by a network of its own and without
labels, and clip each entry of the inner gradient.
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

TAU = "modulation"  # name of τ among the fast weights


class MMAML(MAML, rowwise=True):
    """MAML on a network modulated by a task encoder."""

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
        self.encoder = TaskEncoder(spec, backbone, size, numbers, aggregator, labels=False, plain_points=True)

    def initial(self, z: Tensor, y: Tensor) -> Weights:
        """θ, expanded to every task, and the modulation of each task."""
        return {**super().initial(z, y), TAU: self.encoder(z, y)}

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """Output of the network under fast weights and modulation."""
        rows = fast[TAU]
        weights = {name: p.expand(len(rows), *p.shape) for name, p in self.network.named_parameters()} | fast
        body = {name.removeprefix("backbone."): w for name, w in weights.items()}
        modulated = {f"backbone.{name}": w for name, w in film(body, self.sites, rows).items()}
        return super().read({name: w for name, w in (fast | modulated).items() if name != TAU}, z)

    def advance(self, fast: Weights, z: Tensor, y: Tensor, step: int) -> Weights:
        """θ' - α clip(∇ L_S(θ', τ)), with τ unchanged."""
        tau = {TAU: fast[TAU]}
        theta = {name: w for name, w in fast.items() if name != TAU}
        gradient = self.gradient(theta, z, y, fixed=tau)
        if self.inner_clip is not None:
            gradient = {name: g.clamp(-self.inner_clip, self.inner_clip) for name, g in gradient.items()}
        return {**self.descend(theta, gradient), **tau}
