"""Train on everything (TOE): one model for all examples so far, including the current task's, without adaptation.

    w = argmin_w Σ_{k≤t} f_k(w),   not adapted   (Finn et al. 2019)

In regression it is one function for all tasks. In classification it has an output per class of the stream, and chooses
among the classes of the task, which it knows.
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
    """A network with one output per class of the data, or per target dimension."""

    settings = ("online",)
    needs_queries = False

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__(spec, backbone)
        self.network = Network(backbone, spec.num_classes or spec.eval.outputs)

    def view(self, tasks: Tasks) -> Tasks:
        """Add the class id to the labels of the support set, `[T, N, 2]`."""
        if not self.spec.num_classes:
            return tasks
        (x, y), query, truth, keys = tasks
        return Tasks(Examples(x, torch.stack([y, truth["classes"].gather(1, y)], dim=-1)), query, truth, keys)

    def adapt(self, support: Examples) -> Tensor | None:
        """The class id of each way, `[T, ways]`; None in regression."""
        if not self.spec.num_classes:
            return None
        label, number = support.y.unbind(-1)
        return label.new_zeros(len(label), self.spec.eval.outputs).scatter(1, label, number)

    def predict(self, state: Tensor | None, x: Tensor) -> Tensor:
        """The outputs of the task's classes, `[T, M, ways]`, or the values."""
        outputs = self.network(x)
        return outputs if state is None else outputs.take_along_dim(state.unsqueeze(1), 2)

    def forward(self, tasks: Tasks) -> tuple[Tensor, Metrics]:
        """The loss on all examples of the batch, support and query."""
        x, y = pooled(tasks, classes=self.spec.num_classes > 0)
        prediction = self.network(x)
        loss = self.objective.loss(prediction, y)
        return loss.mean(), self.metrics(loss, prediction, y)
