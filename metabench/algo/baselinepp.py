"""Baseline++ (Chen, Liu, Kira, Wang, Huang, ICLR 2019, arXiv 1904.04232): Baseline with cosine heads.

    logit_c = s · g_c cos(f(x), w_c)

in the softmax over all training classes and in the head of a task, each with its own s. w_c and g_c are the direction
and the length of a weight vector under weight normalisation, both learned. The head is sampled per task, as in
`baseline`.
"""

from __future__ import annotations

from typing import Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.baseline import Baseline, Finetune
from metabench.algo.fast_weights import Weights
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.config.types import Positive
from metabench.tasks import Examples, TaskSpec


class BaselinePP(Baseline, rowwise=True):
    """Joint training, then a cosine head on fixed features."""

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        new_head: Literal["drawn"],
        train_scale: Positive,
        scale: Positive,
        **finetune: Unpack[Finetune],
    ) -> None:
        super().__init__(spec, backbone, new_head=new_head, **finetune)
        size = backbone.feature_size
        self.classifier = CosineHead(size, spec.num_classes, train_scale)
        self.network.head = CosineHead(size, spec.eval.outputs, scale).requires_grad_(False)

    def drawn_head(self, support: Examples, dtype: torch.dtype) -> Weights:
        """Directions and lengths of the sampled rows."""
        weight = super().drawn_head(support, dtype)["weight"]
        return {"weight": weight, "length": weight.norm(dim=-1)}


class CosineHead(nn.Module):
    """Cosine logits `[T, N, O]` of `[T, N, I]`; weight `[O, I]` or `[T, O, I]`, length `[O]` or `[T, O]`."""

    def __init__(self, inputs: int, outputs: int, scale: float) -> None:
        super().__init__()
        self.weight = Linear(inputs, outputs).weight
        self.length = nn.Parameter(self.weight.detach().norm(dim=1))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Scaled cosines, per task."""
        rows = self.scale * self.length.unsqueeze(-1) * F.normalize(self.weight, dim=-1)
        return F.normalize(x, dim=-1) @ rows.mT
