"""Follow the leader: joint training on the tasks so far, then fine-tuning (Finn et al. 2019, "joint training"; FTL).

    w_{t+1} = argmin_w Σ_{k≤t} f_k(w),   fine-tuned on the examples of the present task

What follow the meta leader differs from by one thing: here the leader is not trained to be fine-tuned.
"""

from __future__ import annotations

from metabench.algo.pretrain import Pretrain


class FTL(Pretrain):
    """Joint training and fine-tuning, on the tasks of a stream; of classes the head is new for each task."""

    settings = ("online",)
