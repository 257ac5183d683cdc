"""Joint pre-training on all tasks, then fine-tuning on the support set: the baseline that meta-learning must beat.

Regression (Finn et al. 2017, "pretrained"): one network for the pooled points of all tasks, fine-tuned as a whole.
Classification (Vinyals et al. 2016, "baseline classifier"; Chen et al. 2019, "Baseline"): a softmax over every
training class; at test a new head, initialised to zero, is fitted to the support set, alone or with the whole network.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from metabench.algo.fast_weights import keep_head_of_other_ways
from metabench.algo.maml import MAML
from metabench.backbone.base import Backbone
from metabench.backbone.layers import Linear
from metabench.config.types import Positive, Whole
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec


class Pretrain(MAML, rowwise=True):
    """Joint training, then gradient descent on the whole network or on the head alone (`finetune`)."""

    needs_queries = False
    first_order = True
    learned_head = False

    def __init__(
        self,
        spec: TaskSpec,
        backbone: Backbone,
        *,
        inner_lr: Positive,
        eval_inner_steps: Whole,
        adapt_norm: bool,
        finetune: Literal["all", "head"],
    ) -> None:
        super().__init__(
            spec, backbone, inner_lr=inner_lr, inner_steps=0, eval_inner_steps=eval_inner_steps, adapt_norm=adapt_norm
        )
        self.finetune = finetune
        self.classifier: nn.Module | None = None
        if spec.num_classes:
            self.classifier = Linear(backbone.feature_size, spec.num_classes)
            # The head of a task starts from zero.
            for parameter in self.network.head.parameters():
                nn.init.zeros_(parameter.requires_grad_(False))
            self.register_load_state_dict_pre_hook(keep_head_of_other_ways)

    @property
    def learner(self) -> nn.Module:
        """The module that is fine-tuned."""
        return self.network if self.finetune == "all" else self.network.head

    def embed(self, x: Tensor) -> Tensor:
        """Inputs of the learner: x, or its features under the fixed backbone."""
        return x if self.finetune == "all" else self.backbone(x)

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The joint-training loss on all examples of the batch, support and query."""
        x, y = pooled(self.view(tasks), classes=self.classifier is not None)
        prediction = self.network(x) if self.classifier is None else self.classifier(self.backbone(x))
        loss = self.objective.loss(prediction, y)
        return loss.mean(), self.metrics(loss, prediction, y)


def pooled(tasks: Tasks, *, classes: bool) -> Examples:
    """All examples per task, support and query; with `classes`, labelled by training class instead of by way."""
    x, y = (torch.cat(parts, dim=1) for parts in zip(*tasks[:2], strict=True))
    return Examples(x, tasks.truth["classes"].gather(1, y) if classes else y)
