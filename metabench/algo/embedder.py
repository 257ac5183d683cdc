"""Methods that learn an embedding by one network and keep of a support set what is worked out from its embeddings."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from metabench.algo.base import Algorithm, State
from metabench.tasks import Examples


class Embedder(Algorithm):
    """Embeddings `[T, N, F]` of support and queries come from the backbone; a subclass says what is done with them."""

    @abstractmethod
    def fit(self, z: Tensor, y: Tensor) -> State:
        """What is kept of a support set with embeddings z and labels, or values, y."""

    @abstractmethod
    def read(self, state: State, z: Tensor) -> Tensor:
        """Predictions `[T, M, O]` of query embeddings `[T, M, F]`."""

    def adapt(self, support: Examples) -> State:
        """Embed the support set."""
        return self.fit(self.backbone(support.x), support.y)

    def predict(self, state: State, x: Tensor) -> Tensor:
        """Embed the queries."""
        return self.read(state, self.backbone(x))

    def together(self, support: Examples, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of support and queries in one pass, which batch statistics then cover, as in the papers' code."""
        size = support.x.shape[1]
        z = self.backbone(torch.cat([support.x, x], dim=1))
        return z[:, :size], z[:, size:]

    def solve(self, support: Examples, x: Tensor) -> Tensor:
        """Adapt and predict on embeddings of one pass."""
        z, query = self.together(support, x)
        return self.read(self.fit(z, support.y), query)
