"""Train on everything: one model for all examples so far, the present task's among them, and no adaptation (TOE).

    w = argmin_w Σ_{k≤t} f_k(w),   used as it is   (Finn et al. 2019)

For a regression it is one function for all tasks. Of a classification it knows all classes of the stream, and which of
them a task is about: it chooses among those.
"""

from __future__ import annotations

import torch
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.algo.fast_weights import Network
from metabench.algo.pretrain import pooled
from metabench.backbone.base import Backbone
from metabench.tasks import Examples, Metrics, Tasks, TaskSpec


class TOE(Algorithm):
    """A network with one output for every class there is, or for every dimension of a target."""

    settings = ("online",)
    needs_queries = False

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__(spec, backbone)
        self.network = Network(backbone, spec.num_classes or spec.eval.outputs)

    def view(self, tasks: Tasks) -> Tasks:
        """Labels of the support set with the number of their class beside, `[T, N, 2]`."""
        if not self.spec.num_classes:
            return tasks
        (x, y), query, truth, keys = tasks
        return Tasks(Examples(x, torch.stack([y, truth["classes"].gather(1, y)], dim=-1)), query, truth, keys)

    def adapt(self, support: Examples) -> Tensor | None:
        """The number of each class of the task, `[T, ways]`; nothing of a regression."""
        if not self.spec.num_classes:
            return None
        label, number = support.y.unbind(-1)
        return label.new_zeros(len(label), self.spec.eval.outputs).scatter(1, label, number)

    def predict(self, state: Tensor | None, x: Tensor) -> Tensor:
        """The outputs of the task's own classes."""
        outputs = self.network(x)
        return outputs if state is None else outputs.take_along_dim(state.unsqueeze(1), 2)

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The loss on every example of the batch, support and query alike."""
        x, y = pooled(tasks, classes=self.spec.num_classes > 0)
        prediction = self.network(x)
        loss = self.objective.loss(prediction, y)
        return loss.mean(), self.metrics(loss, prediction, y)
