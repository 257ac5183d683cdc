"""Body only update in the inner loop (BOIL; Oh, Yoo, Kim, Yun, ICLR 2021, arXiv 2008.08882).

    φ' = φ - α ∇_φ L_S(w, φ)   (repeated),   outer loss L_Q(w, φ') on head w and body φ

The complement of ANIL: features move towards a head that is the same for every task, so adaptation must change the
representation. The head is learned by the outer loop alone, through the inner steps.
"""

from __future__ import annotations

from typing import Unpack

from torch import nn

from metabench.algo.maml import MAML, Descent
from metabench.backbone.base import Backbone
from metabench.errors import UnfitBackboneError
from metabench.tasks import TaskSpec


class BOIL(MAML, rowwise=True):
    """MAML on the body alone. Raises `UnfitBackboneError` for one without parameters."""

    def __init__(self, spec: TaskSpec, backbone: Backbone, **descent: Unpack[Descent]) -> None:
        super().__init__(spec, backbone, **descent)
        if not self.adapted():
            raise UnfitBackboneError("backbone.hidden", [], "needs at least one layer: boil adapts only the backbone")

    def adapted(self) -> dict[str, nn.Parameter]:
        """The parameters of the body."""
        return {name: p for name, p in super().adapted().items() if not name.startswith("head.")}
