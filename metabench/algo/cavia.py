"""Fast context adaptation (Zintgraf, Shiarlis, Kurin, Hofmann, Whiteson, ICML 2019, arXiv 1810.03642).

    φ_0 = 0,   φ_{j+1} = φ_j - α ∇_φ L_S(φ_j, θ)        d context parameters φ, one vector per task
    outer loss   L_Q(φ_J, θ) on θ alone, differentiated through the inner steps

φ conditions the network in one of two ways:

- input: concatenated to the input of every example (regression), h_1 = ReLU(W [x; φ] + b);
- film: as scale and shift of the normalised channels of some blocks, γ = γ_0 + W_γ φ, β = β_0 + W_β φ, with γ_0 and β_0
  the normalisation's own. (The authors' layer lacks the initial γ_0 = 1 and follows the max-pool.)
"""

from __future__ import annotations

import math
from typing import Literal, Unpack

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.fast_weights import Steps, Weights
from metabench.algo.maml import MAML
from metabench.backbone.base import Backbone
from metabench.backbone.mlp import MLP
from metabench.backbone.norm import Norm
from metabench.config.types import Count, Positive
from metabench.errors import ConfigError
from metabench.tasks import TaskSpec


class CAVIA(MAML, rowwise=True):
    """Gradient descent on a context vector; all tasks share the network."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        context: Count,
        condition: Literal["input", "film"],
        blocks: list[Count],
        inner_lr: Positive,
        **steps: Unpack[Steps],
    ) -> None:
        super().__init__(spec, backbone, inner_lr=inner_lr, adapt_norm=False, **steps)
        self.context = context
        self.film = nn.ParameterList()
        self.film_names: list[str] = []  # of the network's parameters that W_γ and W_β add to
        if condition == "film":
            for block in blocks:
                self._modulate(backbone, block)
        elif isinstance(backbone, MLP) and backbone.linears:
            backbone.widen(context)
        else:
            raise ConfigError("algo.condition", "input", "needs backbone=mlp with a hidden layer; use film with others")

    def _modulate(self, backbone: Backbone, block: int) -> None:
        norms = getattr(backbone, "norms", ())
        norm = norms[block - 1] if block <= len(norms) else None
        if not isinstance(norm, Norm) or norm.weight is None:
            fit = [i + 1 for i, n in enumerate(norms) if isinstance(n, Norm) and n.weight is not None]
            raise ConfigError("algo.blocks", block, f"should be a block with a normalisation that has a scale: {fit}")
        bound = 1 / math.sqrt(self.context)
        for name, p in norm.named_parameters():
            self.film_names.append(f"backbone.norms.{block - 1}.{name}")
            self.film.append(nn.Parameter(torch.empty(len(p), self.context).uniform_(-bound, bound)))

    def adapted(self) -> dict[str, nn.Parameter]:
        """No parameter of the network."""
        return {}

    def initial(self, z: Tensor, y: Tensor) -> Weights:
        """φ = 0 for every task."""
        return {"context": next(self.network.parameters()).new_zeros(len(z), self.context)}

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """The network on z under the context of each task."""
        context = fast["context"]
        if self.film_names:
            own = dict(self.network.named_parameters())
            film = zip(self.film_names, self.film, strict=True)
            return functional_call(self.network, {name: own[name] + context @ w.mT for name, w in film}, (z,))
        examples = z.shape[1]
        return self.network(torch.cat([z.flatten(2), context.unsqueeze(1).expand(-1, examples, -1)], dim=-1))
