"""Relation network (Sung, Yang, Zhang, Xiang, Torr, Hospedales, CVPR 2018, arXiv 1711.06025).

    r_n(x) = g([Σ_{i of class n} f(x_i), f(x)])       f(·) feature maps, [,] along channels, r in (0, 1)
    loss = mean over queries and classes of (r_n(x) - 1[y = n])²,   prediction = argmax_n r_n(x)

g: two blocks of 3x3 convolution, batch norm, ReLU and max-pooling, then two linear layers and a sigmoid. A convolution
of concatenated maps is a sum of two convolutions, computed once per class and once per query, not once per pair.
Chen et al. (2019) compare with the mean of a class's maps instead of their sum (`of_class: mean`).
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from metabench.algo.base import Algorithm
from metabench.backbone.base import Backbone, kept_statistics
from metabench.backbone.layers import Conv2d, Init, Linear, max_pool
from metabench.backbone.norm import Statistics, make_norm
from metabench.config.types import Count
from metabench.errors import UnfitBackboneError
from metabench.objective import one_hot
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec


class RelationNet(Algorithm, rowwise=True):
    """A learned comparison of feature maps; the state is the summed maps of each class, `[T, ways, C, H, W]`."""

    classifies = True

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        filters: Count,
        hidden: Count,
        of_class: Literal["mean"] | None = None,
        init: Literal["he", "released"] | None = None,
    ) -> None:
        super().__init__(spec, backbone)
        if backbone.map_shape is None:
            raise UnfitBackboneError("backbone", type(backbone).__name__, "has no feature maps; use backbone=conv4")
        self.mean = of_class == "mean"
        convolutions: Init = None if init is None else "he"
        self.relation = Relation(backbone.map_shape, filters, hidden, kept_statistics(backbone), convolutions)
        if init == "released":
            self.relation.release()

    def adapt(self, support: Examples) -> Tensor:
        """Sum the feature maps of each class, or take their mean."""
        onehot = one_hot(support.y, self.episode.outputs, support.x.dtype)
        if self.mean:
            onehot = onehot / onehot.sum(1, keepdim=True).clamp_min(1)
        maps = self.backbone.maps(support.x)
        return (onehot.mT.to(maps.dtype) @ maps.flatten(2)).unflatten(2, maps.shape[2:])

    def predict(self, state: Tensor, x: Tensor) -> Tensor:
        """Logits of r, `[T, M, ways]`."""
        return self.relation(state, self.backbone.maps(x))

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The mean squared error of r; the accuracy of the queries."""
        logits = self.solve(tasks.support, tasks.query.x)
        match = one_hot(tasks.query.y, logits.shape[-1], logits.dtype)
        loss = (logits.sigmoid() - match).square().mean((1, 2))
        return loss.mean(), self.metrics(loss, logits, tasks.query.y)


class Relation(nn.Module):
    """g without its sigmoid: maps of classes `[T, W, C, H, W']` and queries `[T, M, C, H, W']` to `[T, M, W]`."""

    def __init__(
        self, shape: tuple[int, int, int], filters: int, hidden: int, statistics: Statistics, init: Init
    ) -> None:
        super().__init__()
        channels, height, width = shape
        if min(height, width) < 4:
            valid = f"gives maps of {height}x{width}; the relation module pools twice and needs 4x4 or more"
            raise UnfitBackboneError("backbone", "conv4", f"{valid}: fewer backbone.halvings, or a larger data.size")
        self.of_class, self.of_query = (Conv2d(channels, filters, stride=1, bias=False, init=init) for _ in range(2))
        self.second = Conv2d(filters, filters, stride=1, bias=False, init=init)
        self.norms = nn.ModuleList(
            make_norm("batch", filters, scale=True, eps=1e-5, statistics=statistics) for _ in range(2)
        )
        self.hidden = Linear(filters * (height // 4) * (width // 4), hidden)
        self.score = Linear(hidden, 1)

    def release(self) -> None:
        """Initialise the linear layers as the authors' code: weights of standard deviation 0.01, biases 1."""
        for layer in (self.hidden, self.score):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.ones_(layer.bias)

    def forward(self, classes: Tensor, queries: Tensor) -> Tensor:
        """Logits of every query with every class, `[T, M, W]`."""
        ways, first = classes.shape[1], self.norms[0]
        of_class, of_query = (
            conv(maps.transpose(0, 1))  # [W or M, T, ...]: examples first
            for conv, maps in ((self.of_class, classes), (self.of_query, queries))
        )
        x = (of_query + of_class.unsqueeze(1)).flatten(0, 1)  # [W·M, T, ...]
        x = max_pool(F.relu(first(x)))
        x = max_pool(F.relu(self.norms[1](self.second(x))))
        x = F.relu(self.hidden(x.flatten(2).transpose(0, 1)))
        return self.score(x).view(x.shape[0], ways, -1).mT
