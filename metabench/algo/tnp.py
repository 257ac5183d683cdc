"""Transformer neural processes with independent targets, TNP-D (Nguyen, Grover, ICML 2022, arXiv 2207.04179).

Tokens are e([x_i, y_i]) for the context and e([x*, 0]) for a target. In every layer all tokens attend to those of the
context, so the order of the context has no part in a prediction, and targets none in each other:

    r(x*) = the target's last token,   (μ, log σ) = g([r(x*), x*]),   y* ~ N(μ, σ²)

    loss = -mean log N(y*; μ, σ²) over the points outside the context

The context is no target, as in the authors' code: σ has no least value, and to copy what was given would be rewarded
without bound. Trained on curves of a prior it is a prior-fitted network (Müller et al., ICLR 2022, arXiv 2112.10510),
whose loss is the divergence from the prior's exact posterior plus a constant; theirs predicts a histogram, this one a
normal distribution, which the posterior of a Gaussian process is. The authors normalise after each sub-layer, this one
before it; g sees x* itself, as in all neural processes here. Classification, which the paper has not: y is one-hot, g
gives logits, e begins with labels of the same weight as images, and the context is a target as in the other neural
processes; a network that must first learn to compare images learns nothing from the board's budget without it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.cnp import Conditional
from metabench.algo.neural_process import INIT, Context, Path
from metabench.algo.transformer import KeysValues, Layer, weigh_labels
from metabench.backbone.base import Backbone
from metabench.backbone.perceptron import Perceptron
from metabench.config.types import Count, Whole, Widths
from metabench.tasks import TaskSpec

Kept = tuple[list[KeysValues], Tensor]


class Transformer(Path):
    """`layers` layers over tokens of `size` numbers, which a perceptron of `embedding` layers makes."""

    def __init__(
        self, spec: TaskSpec, features: int, *, size: int, embedding: int, layers: int, heads: int, hidden: int
    ) -> None:
        super().__init__()
        self.size, self.labels = size, spec.eval.outputs
        self.embed = Perceptron([features + self.labels, *[size] * embedding], INIT)
        if spec.num_classes:
            weigh_labels(next(self.embed.parameters()), self.labels)  # of its first layer
        self.layers = nn.ModuleList(Layer(size, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(size)

    def forward(self, context: Context) -> Kept:
        """Keys and values of the context in each layer, and its mask `[T, 1, 1, N]`."""
        z, y, member = context
        seen, tokens, kept = member.mT.unsqueeze(1), self.embed(torch.cat([z, y], dim=-1)), []
        for layer in self.layers:
            kept.append(layer.read(tokens))  # type: ignore[operator]
            tokens = layer(tokens, kept[-1], seen)
        return kept, seen

    def read(self, kept: Kept, z: Tensor) -> Tensor:
        """The representation r `[T, M, size]` for queries `[T, M, F]`."""
        read, seen = kept
        tokens = self.embed(torch.cat([z, z.new_zeros(*z.shape[:-1], self.labels)], dim=-1))
        for layer, pairs in zip(self.layers, read, strict=True):
            tokens = layer(tokens, pairs, seen)
        return self.norm(tokens)


class TNP(Conditional):
    """The state is the context's keys and values in each layer."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        size: Count,
        embedding: Count,
        layers: Count,
        heads: Count,
        hidden: Count,
        decoder: Widths,
        min_context: Whole | None,
    ) -> None:
        path = Transformer(
            spec, backbone.feature_size, size=size, embedding=embedding, layers=layers, heads=heads, hidden=hidden
        )
        super().__init__(spec, backbone, path, decoder=decoder, min_context=min_context)

    def learn(self, context: Context, targets: Context, y: Tensor, keys: Tensor | None) -> tuple[Tensor, Tensor]:
        """The negative log-likelihood of the points outside the context, of classes that of all; the predictions."""
        if self.classes:
            return super().learn(context, targets, y, keys)
        prediction = self.read(self.represent(context), targets.z)
        each = self.objective.loss(*(t.flatten(0, 1).unsqueeze(1) for t in (prediction, y))).view(y.shape[:2])
        outside = F.pad(1 - context.member.squeeze(-1), (0, y.shape[1] - context.y.shape[1]), value=1.0)  # [T, N + M]
        return (each * outside).sum(1) / outside.sum(1), prediction

    def distribution(self, decoded: Tensor) -> Tensor:
        """Logits, or means and standard deviations; these have no least value, as in the authors' code."""
        if self.classes:
            return decoded
        mean, log_std = decoded.chunk(2, dim=-1)
        return torch.cat([mean, log_std.exp()], dim=-1)
