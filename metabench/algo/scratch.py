"""Training from scratch on the support set: the baseline without meta-learning.

The network starts from the random initialisation of the run's seed, the same for every task, and takes
`eval_inner_steps` steps of gradient descent on the support set. Nothing is meta-trained.
"""

from __future__ import annotations

from metabench.algo.maml import MAML
from metabench.backbone.base import Backbone
from metabench.config.types import Positive, Whole
from metabench.tasks import TaskSpec


class Scratch(MAML, rowwise=True):
    """Gradient descent from a random initialisation."""

    first_order = True
    learned_head = False

    def __init__(
        self, spec: TaskSpec, backbone: Backbone, *, inner_lr: Positive, eval_inner_steps: Whole, adapt_norm: bool
    ) -> None:
        super().__init__(
            spec, backbone, inner_lr=inner_lr, inner_steps=0, eval_inner_steps=eval_inner_steps, adapt_norm=adapt_norm
        )
        self.requires_grad_(False)
