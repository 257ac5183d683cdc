"""Methods with one learned embedding, whose task state is a function of the support embeddings."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from metabench.algo.base import Algorithm, State
from metabench.backbone.task_norm import support_first
from metabench.tasks import Examples


class Embedder(Algorithm):
    """Support and queries are embedded, `[T, N, F]`; a subclass defines `fit` and `read` on the embeddings."""

    def embed(self, x: Tensor) -> Tensor:
        """The features `[T, N, F]` of examples: the backbone's."""
        return self.backbone(x)

    @abstractmethod
    def fit(self, z: Tensor, y: Tensor) -> State:
        """The task state from support embeddings z `[T, N, F]` and labels or targets y."""

    @abstractmethod
    def read(self, state: State, z: Tensor) -> Tensor:
        """Predictions `[T, M, O]` of query embeddings `[T, M, F]`."""

    def adapt(self, support: Examples) -> State:
        """Embed and fit the support set."""
        return self.fit(self.embed(support.x), support.y)

    def predict(self, state: State, x: Tensor) -> Tensor:
        """Embed and read the queries."""
        return self.read(state, self.embed(x))

    def together(self, support: Examples, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embed support and queries in one pass, so that batch statistics cover both, as in the papers' code."""
        size = support.x.shape[1]
        with support_first(self.backbone, size):
            z = self.embed(torch.cat([support.x, x], dim=1))
        return z[:, :size], z[:, size:]

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Adapt and predict from embeddings of one pass."""
        z, query = self.together(support, x)
        return self.read(self.fit(z, support.y), query)
