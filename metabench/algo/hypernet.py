"""Hypernetwork meta-learners: a network reads the support set and gives the weights of the one that answers.

    θ' = dec(aggregate_i enc([x_i, y_i])),   loss L_Q(θ'),   no inner gradient      (Ha, Dai, Le 2017, arXiv 1609.09106)

`generates` says what θ' is:

    weights   all weights of backbone and head, θ_0 + dec(·) with θ_0 learned; x_i is read by a second backbone
    head      the head alone: in a classification w_n = dec(the examples of class n), which knows no other class
              (VERSA; Gordon et al. 2019, arXiv 1805.09921), in a regression dec(all points)
    film      a scale and a shift for every channel of the backbone, from all x_i, and then the head as above from the
              features that they give (CNAPs; Requeima et al. 2019, arXiv 1906.07697)

FiLM (Perez et al. 2018, arXiv 1709.07871) sets in after normalisations, or after linear maps where there are none:
(1 + γ) ∘ (W z + b) + β has the weights (1 + γ) W and (1 + γ) b + β. All classes share what makes a head, and their
labels do not reach FiLM, so that neither fixes the number of ways. `metabench.algo.sets` has the aggregators.
"""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.base import Algorithm
from metabench.algo.fast_weights import Weights
from metabench.algo.learned_rule import shaped
from metabench.algo.sets import Aggregator, SetEncoder
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Conv2d, Linear
from metabench.backbone.norm import Norm
from metabench.config.types import Count
from metabench.errors import ConfigError
from metabench.objective import one_hot
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
            self.reader = copy.deepcopy(backbone)
            labels = 0 if self.labelled and generates == "film" else outputs
            if generates == "weights":
                numbers = sum(p.numel() for p in self._base().values())
            else:
                numbers = sum(2 * len(bias) for _, bias in film_sites(backbone).values())
            self.read_task = SetEncoder(features + labels, size, numbers, aggregator)

    def adapt(self, support: Examples) -> Generated:
        """Generate."""
        if self.generates == "weights":
            rows = self._read_task(support)
            base = {name: p.expand(len(rows), *p.shape) for name, p in self._base().items()}
            body = {name: base[name] + made for name, made in shaped(rows, base).items()}
            weight, bias = body.pop("head.weight"), body.pop("head.bias")
            return Generated(body, weight, bias)
        body = film(self.backbone, self._read_task(support)) if self.generates == "film" else {}
        head = self._read_head(self._features(body, support.x), support.y)
        return Generated(body, head[..., :-1], head[..., -1])

    def predict(self, state: Generated, x: Tensor) -> Tensor:
        """The generated network."""
        return self._features(state.body, x) @ state.weight.mT + state.bias.unsqueeze(1)

    def _features(self, body: Weights, x: Tensor) -> Tensor:
        return functional_call(self.backbone, body, (x,))

    def _base(self) -> dict[str, nn.Parameter]:
        """θ_0."""
        head = {f"head.{name}": p for name, p in self.head.named_parameters()}
        return {**dict(self.backbone.named_parameters()), **head}

    def _read_task(self, support: Examples) -> Tensor:
        """All numbers of the support set's body, `[T, P]`."""
        z = self.reader(support.x)
        if not self.labelled:
            z = torch.cat([z, support.y], dim=-1)
        elif self.generates == "weights":
            z = torch.cat([z, one_hot(support.y, self.spec.train.outputs, z.dtype)], dim=-1)
        return self.read_task(z)

    def _read_head(self, z: Tensor, y: Tensor) -> Tensor:
        """Weights and bias of every output, `[T, O, F + 1]`; classes have as many examples each."""
        tasks, outputs = len(z), self.episode.outputs
        if self.labelled:
            order = y.argsort(dim=1, stable=True).unsqueeze(-1).expand_as(z)
            sets = z.gather(1, order).reshape(tasks * outputs, -1, z.shape[-1])
        else:
            sets = torch.cat([z, y], dim=-1)
        return self.read_head(sets).view(tasks, outputs, -1)


def film_sites(backbone: Backbone) -> dict[str, tuple[Tensor, Tensor]]:
    """Scale (or weight) and shift of what FiLM sets in after: normalisations, or where there are none linear maps."""
    modules = dict(backbone.named_modules())
    norms = {name: module for name, module in modules.items() if isinstance(module, Norm)}
    maps = {name: module for name, module in modules.items() if isinstance(module, Linear | Conv2d)}
    sites: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in (norms or maps).items():
        if module.weight is None or module.bias is None:
            raise ConfigError("backbone.norm_scale", "false", "should be true: algo.generates=film scales channels")
        sites[name] = (module.weight, module.bias)
    return sites


def film(backbone: Backbone, rows: Tensor) -> Weights:
    """The weights of `film_sites` under the scales and shifts in `rows` `[T, P]`, two numbers a channel."""
    sites, weights = film_sites(backbone), {}
    parts = rows.split([2 * len(bias) for _, bias in sites.values()], dim=1)
    for (name, (weight, bias)), part in zip(sites.items(), parts, strict=True):
        scale, shift = 1 + part[:, ::2], part[:, 1::2]
        weights[f"{name}.weight"] = scale.view(*scale.shape, *[1] * (weight.dim() - 1)) * weight
        weights[f"{name}.bias"] = scale * bias + shift
    return weights
