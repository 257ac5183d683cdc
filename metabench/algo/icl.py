"""In-context learning by a causal transformer (Kirsch, Harrison, Sohl-Dickstein, Metz 2022, arXiv 2212.04458).

A stream is a sequence whose token of step t is W [f(x_t), y_{t-1}]. A few-shot task has a token W [f(x_i), y_i] for
each support example and one, W [f(x*), 0], for the query. The last layer's token predicts the label. Nothing but
attention to the steps before carries over from one to the next. Chan et al. (NeurIPS 2022, arXiv 2205.05055) trained
such networks on sequences of Omniglot, with a token of its own for every label; here W begins with labels of the same
weight as images where a token has both of one example. Streams, whose labels come a step late, are then only counted.

Positions are sinusoids (Vaswani et al. 2017), so that sequences may be longer in test than in training. The authors
train on the loss of every step; so do streams here (`data=omniglot_sequence`), while few-shot tasks train on queries.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor, nn

from metabench.algo.recurrent import Core, Recurrent
from metabench.algo.transformer import Layer, weigh_labels
from metabench.backbone.base import Backbone
from metabench.config.types import Count
from metabench.tasks import TaskSpec

PERIOD = 10_000.0


class Layers(TypedDict):
    """`layers` layers of `heads` heads on tokens of `size` numbers, with `hidden` units in their perceptrons."""

    size: Count
    layers: Count
    heads: Count
    hidden: Count


class Seen(NamedTuple):
    """Keys and values of the steps so far in each layer, `[T, layers, heads, L, d]`."""

    keys: Tensor
    values: Tensor


class CausalTransformer(Core):
    """A transformer whose step t attends to steps 1..t."""

    def __init__(self, inputs: int, **sizes: Unpack[Layers]) -> None:
        super().__init__()
        self.features = size = sizes["size"]
        self.given = nn.Linear(inputs, size)
        self.layers = nn.ModuleList(Layer(size, sizes["heads"], sizes["hidden"]) for _ in range(sizes["layers"]))
        self.norm = nn.LayerNorm(size)
        self.heads = sizes["heads"]

    def start(self, tasks: int) -> Seen:
        """No step yet."""
        nothing = self.full(0, tasks, len(self.layers), self.heads, 0, self.features // self.heads)
        return Seen(nothing, nothing)

    def forward(self, z: Tensor, memory: Seen | None = None) -> tuple[Seen, Tensor]:
        """The keys and values of all steps so far, and the last layer's tokens."""
        memory = self.start(len(z)) if memory is None else memory
        before = memory.keys.shape[3]
        steps = before + torch.arange(z.shape[1], device=z.device)
        tokens = self.given(z) + positions(steps, self.features).to(z.dtype)
        seen = (torch.arange(before + z.shape[1], device=z.device) <= steps.unsqueeze(-1)).to(z.dtype)
        read = []
        for i, layer in enumerate(self.layers):
            new = layer.read(tokens)  # type: ignore[operator]
            read.append([torch.cat([old[:, i], part], dim=2) for old, part in zip(memory, new, strict=True)])
            tokens = layer(tokens, read[-1], seen)
        return Seen(*(torch.stack(part, dim=1) for part in zip(*read, strict=True))), self.norm(tokens)


def positions(steps: Tensor, size: int) -> Tensor:
    """Sines and cosines of each step at geometric frequencies: `[L]` to `[L, size]`."""
    half = torch.arange((size + 1) // 2, device=steps.device)
    angles = steps.unsqueeze(-1) * torch.exp(-math.log(PERIOD) * 2 * half / size)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size]


class ICL(Recurrent):
    """Encoder, causal transformer, linear readout."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, **sizes: Unpack[Layers]) -> None:
        super().__init__(spec, backbone, CausalTransformer, **sizes)
        if spec.num_classes and spec.setting == "few_shot":
            weigh_labels(self.core.given.weight, spec.eval.outputs)
