"""Pre-train on all training classes, then take the nearest neighbour in features (Vinyals et al. 2016, "baseline").

Training is that of `pretrain`, of which this can take a checkpoint (`init=`). At test nothing is fitted: a query goes
to the class of the support example with the greatest cosine, or of the greatest attention (`pixelnn` has the formulas).
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


class PretrainNN(Pretrain):
    """Joint training; in place of adapted weights a task keeps its embedded support set."""

    classifies = True

    def __init__(self, spec: TaskSpec, backbone: Backbone, *, vote: Vote) -> None:
        super().__init__(spec, backbone, inner_lr=1.0, eval_inner_steps=0, adapt_norm=False, finetune="head")
        self.vote = VOTES[vote]

    def trajectory(self, support: Examples) -> Iterator[Weights]:
        """Embeddings and one-hot labels; no step follows."""
        z = self.embed(support.x)
        yield {"z": z, "onehot": one_hot(support.y, self.episode.outputs, z.dtype)}

    def read(self, fast: Weights, z: Tensor) -> Tensor:
        """Cosines, by class."""
        return self.vote(cosine(z, fast["z"]), fast["onehot"])
