"""Feature-wise linear modulation (FiLM; Perez et al. 2018, arXiv 1709.07871), folded into the weights of a layer.

FiLM follows normalisations, or linear maps if there are none: (1 + γ) ∘ (W z + b) + β has the weights (1 + γ) W and
(1 + γ) b + β.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from metabench.algo.fast_weights import Weights
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Conv2d, Linear
from metabench.backbone.norm import Norm
from metabench.errors import ConfigError


def film_sites(backbone: Backbone) -> dict[str, int]:
    """Channels of the layers before FiLM, by name: normalisations, or where there are none linear maps."""
    modules = dict(backbone.named_modules())
    norms = {name: module for name, module in modules.items() if isinstance(module, Norm)}
    maps = {name: module for name, module in modules.items() if isinstance(module, Linear | Conv2d)}
    sites: dict[str, int] = {}
    for name, module in (norms or maps).items():
        if module.weight is None or module.bias is None:
            raise ConfigError("backbone.norm_scale", "false", "should be true: FiLM scales channels")
        sites[name] = len(module.bias)
    return sites


def film(weights: Mapping[str, Tensor], sites: Mapping[str, int], rows: Tensor) -> Weights:
    """`weights` `[T, *shape]` of the sites with scales and shifts from `rows` `[T, P]`, two numbers per channel."""
    found = {}
    parts = rows.split([2 * channels for channels in sites.values()], dim=1)
    for name, part in zip(sites, parts, strict=True):
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        scale, shift = 1 + part[:, ::2], part[:, 1::2]
        found[f"{name}.weight"] = scale.view(*scale.shape, *[1] * (weight.dim() - 2)) * weight
        found[f"{name}.bias"] = scale * bias + shift
    return found
