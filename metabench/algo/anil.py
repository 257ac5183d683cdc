"""Almost no inner loop (Raghu, Raghu, Bengio, Vinyals, ICLR 2020, arXiv 1909.09157).

    w' = w - α ∇_w L_S(w, φ)   (repeated),   outer loss L_Q(w', φ) on head w and body φ

Only the last linear layer w adapts; second-order terms through its steps are kept. Features of the support set are
computed once.
"""

from __future__ import annotations

from torch import Tensor, nn

from metabench.algo.maml import MAML


class ANIL(MAML, rowwise=True):
    """MAML on the head alone."""

    @property
    def learner(self) -> nn.Module:
        """The head, all that adapts."""
        return self.network.head

    def embed(self, x: Tensor) -> Tensor:
        """Features `[T, N, F]` of the body."""
        return self.backbone(x)
