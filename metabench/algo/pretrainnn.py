"""Pre-training on all training classes, then the nearest neighbour in feature space (Vinyals et al. 2016, "baseline").

Training is that of `pretrain`, whose checkpoints can be loaded (`init=`). At test nothing is fitted: the prediction is
the class of the support example of greatest cosine, or of greatest attention (formulas in `pixelnn`).
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from metabench.algo.fast_weights import Weights
from metabench.algo.metric import cosine
from metabench.algo.pixelnn import VOTES, Vote
from metabench.algo.pretrain import Pretrain
from metabench.backbone.base import Backbone
from metabench.objective import one_hot
from metabench.tasks import Examples, TaskSpec


class PretrainNN(Pretrain, rowwise=True):
    """Joint training; the state is the embedded support set instead of adapted weights."""

    classifies = True

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, vote: Vote) -> None:
        super().__init__(spec, backbone, inner_lr=1.0, eval_inner_steps=0, adapt_norm=False, finetune="head")
        self.vote = VOTES[vote]

    def trajectory(self, support: Examples) -> Iterator[Weights]:
        """Support embeddings and one-hot labels; there are no inner steps."""
        z = self.embed(support.x)
        yield {"z": z, "onehot": one_hot(support.y, self.episode.outputs, z.dtype)}

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """Cosine similarities, by class."""
        return self.vote(cosine(z, fast["z"]), fast["onehot"])
