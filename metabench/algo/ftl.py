"""Follow the leader: joint training on the tasks so far, then fine-tuning (Finn et al. 2019, "joint training").

    w_{t+1} = argmin_w Σ_{k≤t} f_k(w),   fine-tuned on the examples of the current task

Unlike follow the meta leader, the leader is not meta-trained for fine-tuning.
"""

from __future__ import annotations

from metabench.algo.pretrain import Pretrain


class FTL(Pretrain, rowwise=True):
    """Joint training and fine-tuning on a stream of tasks; in classification each task has a new head."""

    settings = ("online",)
