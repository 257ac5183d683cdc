"""Hypernetwork meta-learners: a network reads the support set and gives the weights of the one that answers.

    θ' = dec(aggregate_i enc([x_i, y_i])),   loss L_Q(θ'),   no inner gradient      (Ha, Dai, Le 2017, arXiv 1609.09106)

`generates` says what θ' is:

    weights   all weights of backbone and head, θ_0 + dec(·) with θ_0 learned; x_i is read by a second backbone
    head      the head alone: in a classification w_n = dec(the examples of class n), which knows no other class
              (VERSA; Gordon et al. 2019, arXiv 1805.09921), in a regression dec(all points)
    film      a scale and a shift for every channel of the backbone, from all x_i, and then the head as above from the
              features that they give (CNAPs; Requeima et al. 2019, arXiv 1906.07697)

FiLM is that of `metabench.algo.film`. All classes share what makes a head, and their labels do not reach FiLM, so that
neither fixes the number of ways. `metabench.algo.sets` has the aggregators.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.base import Algorithm
from metabench.algo.fast_weights import Weights
from metabench.algo.film import film, film_sites
from metabench.algo.learned_rule import shaped
from metabench.algo.sets import Aggregator, SetEncoder
from metabench.algo.task_encoder import TaskEncoder
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.config.types import Count
from metabench.errors import ConfigError
from metabench.tasks import Examples, TaskSpec


class Generated(NamedTuple):
    """Fast weights `[T, *shape]` of the backbone, and the head's, `[T, O, F]` and `[T, O]`."""

    body: Weights
    weight: Tensor
    bias: Tensor


class HyperNet(Algorithm):
    """Weights from a set encoder with one of three aggregators; `size` is its width."""

    own_weights = True

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        generates: Literal["weights", "film", "head"],
        aggregator: Aggregator,
        size: Count,
    ) -> None:
        super().__init__(spec, backbone)
        self.generates, self.labelled = generates, spec.objective == "cross_entropy"
        features, outputs = backbone.feature_size, spec.train.outputs
        if generates == "weights":
            if outputs != spec.eval.outputs:
                valid = f"should be data.ways, {spec.eval.outputs}: with algo.generates=weights a head has one size"
                raise ConfigError("data.train.ways", outputs, valid)
            self.head = Linear(features, outputs)
        else:  # a head is read from the examples of each class, or from all points and their values
            rows, values = (1, 0) if self.labelled else (outputs, outputs)
            self.read_head = SetEncoder(features + values, size, rows * (features + 1), aggregator)
        if generates != "head":
            if generates == "weights":
                numbers = sum(p.numel() for p in self._base().values())
            else:
                self.sites = film_sites(backbone)
                numbers = 2 * sum(self.sites.values())
            self.read_task = TaskEncoder(spec, backbone, size, numbers, aggregator, labels=generates == "weights")

    def adapt(self, support: Examples) -> Generated:
        """Generate."""
        if self.generates == "weights":
            rows = self.read_task(*support)
            base = {name: p.expand(len(rows), *p.shape) for name, p in self._base().items()}
            body = {name: base[name] + made for name, made in shaped(rows, base).items()}
            weight, bias = body.pop("head.weight"), body.pop("head.bias")
            return Generated(body, weight, bias)
        modulated: Weights = {}
        if self.generates == "film":
            own = {name: p.expand(len(support.x), *p.shape) for name, p in self.backbone.named_parameters()}
            modulated = film(own, self.sites, self.read_task(*support))
        head = self._read_head(self._features(modulated, support.x), support.y)
        return Generated(modulated, head[..., :-1], head[..., -1])

    def predict(self, state: Generated, x: Tensor) -> Tensor:
        """The generated network."""
        return self._features(state.body, x) @ state.weight.mT + state.bias.unsqueeze(1)

    def _features(self, body: Weights, x: Tensor) -> Tensor:
        return functional_call(self.backbone, body, (x,))

    def _base(self) -> dict[str, nn.Parameter]:
        """θ_0."""
        head = {f"head.{name}": p for name, p in self.head.named_parameters()}
        return {**dict(self.backbone.named_parameters()), **head}

    def _read_head(self, z: Tensor, y: Tensor) -> Tensor:
        """Weights and bias of every output, `[T, O, F + 1]`; classes have as many examples each."""
        tasks, outputs = len(z), self.episode.outputs
        if self.labelled:
            order = y.argsort(dim=1, stable=True).unsqueeze(-1).expand_as(z)
            sets = z.gather(1, order).reshape(tasks * outputs, -1, z.shape[-1])
        else:
            sets = torch.cat([z, y], dim=-1)
        return self.read_head(sets).view(tasks, outputs, -1)
