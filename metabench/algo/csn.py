"""Conditionally shifted neurons (CSN; Munkhdalai, Yuan, Mehri, Trischler, ICML 2018, arXiv 1712.09926).

    describe   support example i passes without shifts:   e_i = p_i - y_i = ∂L_i/∂a_T
               I_{t,i} = σ'(a_{t,i}) e_i   for every neuron of hidden layer t      direct feedback
               I_{T,i} = ∂a_T/∂a_T e_i     one row for each output, with its own error alone
    memory     V_{t,i} = g(I_{t,i}),   k_i = f(x_i)
    retrieve   α_i = softmax_i s · cos(f(x), k_i),   β_t = Σ_i α_i V_{t,i}
    predict    h_t = σ(a_t) + σ(β_t),   p = softmax(a_T + β_T)

Every query x retrieves its own shifts, so predictions are inductive wherever those of the network are. In regression
p = a_T + β_T, and e is prediction minus target. All of it, e included, is trained by the query loss.

One perceptron g serves all neurons of all layers. It reads the error of every output, so predictions have one size.
f is a second backbone with a linear map; σ is ReLU, also in resnet12, whose own are leaky. Hidden layers are the inputs
of the backbone's modules after its first (convolutions, linear maps or residual blocks) and the features.

What differs from the paper: a neuron of a convolution is a channel, with one shift for its whole map and the mean of σ'
over that map, after pooling; the backbone has batch normalisation; the cosine has a scale s, since at s = 1 no example
weighs more than e² times another. Dropout and the paper's other I, the gradient ∂L_i/∂a_t, are left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.base import Algorithm
from metabench.algo.metric import cosine
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.config.types import Count, Positive
from metabench.errors import ConfigError
from metabench.tasks import Examples, TaskSpec

Visit = Callable[[Tensor], Tensor]
"""A function of the neurons of a layer, `[T, N, C, ...]`, which returns what they become."""


class Memory(NamedTuple):
    """Keys `[T, N, K]` of the support set, and values `[T, N, C]` of each layer, the last those of the outputs."""

    keys: Tensor
    values: list[Tensor]


class CSN(Algorithm):
    """A network, a key function of `key_size` outputs and a memory function of two layers of `hidden` units."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, hidden: Count, key_size: Count, scale: Positive) -> None:
        super().__init__(spec, backbone)
        if getattr(backbone, "readout", None) == "linear":
            raise ConfigError("backbone.readout", "linear", "flatten or mean: shifts are of units before a ReLU")
        self.require_one_size("the memory function reads the error of every output")
        outputs = spec.eval.outputs
        self.scale = scale
        self.channels = backbone.feature_size if backbone.map_shape is None else backbone.map_shape[0]
        self.head = Linear(backbone.feature_size, outputs, backbone.head_init)
        self.key = nn.Sequential(copy.deepcopy(backbone), Linear(backbone.feature_size, key_size))
        self.value = nn.Sequential(
            nn.Linear(outputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def adapt(self, support: Examples) -> Memory:
        """Describe the support set."""
        slopes = []  # σ' of each hidden layer, [T, N, C]

        def describe(h: Tensor) -> Tensor:
            slopes.append((h > 0).to(h.dtype).reshape(*h.shape[:3], -1).mean(-1))
            return h

        error = self._error(self._network(support.x, describe), support.y)
        information = [slope.unsqueeze(-1) * error.unsqueeze(2) for slope in slopes]
        return Memory(self.key(support.x), [self.value(i).squeeze(-1) for i in (*information, error.diag_embed())])

    def predict(self, state: Memory, x: Tensor) -> Tensor:
        """Predictions of the network with the shifts of each query."""
        alpha = (self.scale * cosine(self.key(x), state.keys)).softmax(-1)
        *hidden, last = (alpha @ value for value in state.values)
        left = iter(hidden)

        def shift(h: Tensor) -> Tensor:
            beta = next(left)
            return h + F.relu(beta).reshape(*beta.shape, *[1] * (h.dim() - 3))

        return self._network(x, shift) + last

    def _error(self, a: Tensor, y: Tensor) -> Tensor:
        """∂L/∂a_T of every example, `[T, N, O]`."""
        p = a.softmax(-1) if self.spec.objective == "cross_entropy" else a
        return p - self.objective.encode(y, a.shape[-1], a.dtype)

    def _network(self, x: Tensor, visit: Visit) -> Tensor:
        """a_T `[T, N, O]` of the network, whose hidden layers are visited in order."""
        hooks = [
            module.register_forward_pre_hook(lambda _, given: tasks_first(visit, given[0]))
            for module in readers(self.backbone)
        ]
        try:
            z = self.backbone(x)
        finally:
            for hook in hooks:
                hook.remove()
        return self.head(visit(z.unflatten(-1, (self.channels, -1))).flatten(2))


def readers(backbone: Backbone) -> list[nn.Module]:
    """The modules of the backbone's first list that read a hidden layer: all but its first."""
    lists = (module for module in backbone.children() if isinstance(module, nn.ModuleList))
    return list(next(lists, nn.ModuleList()))[1:]


def tasks_first(visit: Visit, h: Tensor) -> Tensor:
    """`visit` of feature maps `[N, T, C, H, W]`, or of vectors `[T, N, C]`."""
    return visit(h.transpose(0, 1)).transpose(0, 1) if h.dim() == 5 else visit(h)
