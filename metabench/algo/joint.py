"""One function for all tasks, trained on their pooled examples and used as it is: joint training without adaptation.

What it learns is the mean of the tasks' functions. On the sinusoids of Finn et al. 2017 that is -1.62 cos x, of mean
squared error 3.01 (predicting 0 has 4.25): what a method must beat that uses its support set at all.
"""

from __future__ import annotations

from metabench.algo.pretrain import Pretrain
from metabench.backbone.base import Backbone
from metabench.errors import ConfigError
from metabench.tasks import TaskSpec


class Joint(Pretrain):
    """Pre-training without fine-tuning."""

    def __init__(self, spec: TaskSpec, backbone: Backbone) -> None:
        super().__init__(spec, backbone, inner_lr=1.0, eval_inner_steps=0, adapt_norm=False, finetune="all")
        if spec.objective != "mse":
            name = type(self).__name__
            raise ConfigError("algo", name, "is one function for all tasks, which permuted labels do not have")
