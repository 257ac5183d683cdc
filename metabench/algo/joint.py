"""Joint training without adaptation: one function, trained on the pooled examples of all tasks.

The function learned is the mean over tasks. On the sinusoids of Finn et al. 2017 that is -1.62 cos x, with mean squared
error 3.01 (predicting 0 has 4.25). Any method that uses its support set must beat it.
"""

from __future__ import annotations

from metabench.algo.pretrain import Pretrain
from metabench.backbone.base import Backbone
from metabench.errors import UnreadTasksError
from metabench.tasks import TaskSpec


class Joint(Pretrain, rowwise=True):
    """Pre-training without fine-tuning."""

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__(spec, backbone, inner_lr=1.0, eval_inner_steps=0, adapt_norm=False, finetune="all")
        if spec.objective != "mse":
            name = self.choice()
            raise UnreadTasksError("algo", name, "regression method; choose a regression data set, e.g. data=sinusoid")
