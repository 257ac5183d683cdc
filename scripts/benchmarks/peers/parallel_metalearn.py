"""parallel-metalearn: its `MAML` over `torch.func.vmap`, its `PrototypicalNetwork`, its `MetaTaskDataset`.

Its own batch normalisation is used, as in the networks it ships: torch's under vmap has a wrong second-order gradient
where the scale adapts. Its ProtoNet embeds support and query in two passes, so batch statistics, and with them the
gradient, are not those of the paper's code.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch.nn.functional as F
from metalearn.algorithms.MAML import MAML
from metalearn.algorithms.PrototypicalNet import PrototypicalNetwork
from metalearn.dataset import FewShotSampler, MetaTaskDataset
from metalearn.inner_optimizers import InnerSGD
from metalearn.loss import BaseLoss, CategoricalAccuracy, CrossEntropy
from metalearn.model_wrappers.MAMLWrapper import MAML_Model
from metalearn.model_wrappers.PrototypicalWrapper import ProtoNet_Model
from metalearn.nn_models.basic_layers.BatchNormalization import BatchNorm
from torch import Tensor, nn
from torch.utils.data import DataLoader

from peers.omniglot import SHOTS, packed
from peers.torch_side import FILTERS, HIDDEN, MLP, Conv4, TorchContestant, load
from peers.worker import Arrays, serve


class Flags(nn.Module):
    """It passes `training` and `num_step` to every part; plain modules do not take them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor, **flags: Any) -> Tensor:
        return self.inner(x)


class Head(nn.Linear):
    """A linear layer that takes the flags."""

    def forward(self, input: Tensor, **flags: Any) -> Tensor:
        return super().forward(input)


class SquaredError(BaseLoss):
    """Mean squared error, which the library leaves to its users."""

    def forward(self, out_dict: Any, targets: Any, model_states: Any = None, **kwargs: Any) -> tuple[Tensor, Tensor]:
        loss = F.mse_loss(out_dict["logits"], targets["labels"])
        return loss, loss.detach()


class ParallelMetaLearn(TorchContestant):
    """All tasks in one vmap, its default for up to 80 tasks."""

    def build(self, weights: Arrays) -> nn.Module:
        workload = self.workload
        body = Flags(MLP() if workload.regression else Conv4(workload, norm=BatchNorm))
        if workload.kind == "protonet":
            model = ProtoNet_Model(backbone=body, max_classes=workload.ways, latent_dim=FILTERS)
        else:
            head = Head(HIDDEN if workload.regression else FILTERS, workload.ways)
            model = MAML_Model(backbone=body, head=head)
            model.fast_weights = [n for n, _ in model.named_parameters() if "norms" not in n]
        load(model, weights)
        return model

    def ready(self) -> None:
        loss = SquaredError() if self.workload.regression else CrossEntropy(metric_fn=CategoricalAccuracy())
        common = {"model": self.module, "optimizer": self.adam, "device": self.device}
        if self.workload.kind == "protonet":
            self.algorithm = PrototypicalNetwork(loss_fn=loss, **common)
            return
        inner = InnerSGD(
            self.module.get_fast_weights(),  # type: ignore[operator]
            inner_lr=self.workload.inner_lr, first_order=False, learn_lr=False,
        )  # fmt: skip
        self.algorithm = MAML(
            inner_optimizer=inner, support_loss_fn=loss, inner_steps=self.workload.inner_steps, **common
        )

    def meta_step(self, batch: dict[str, Tensor]) -> None:
        def batches() -> Iterator[Any]:
            yield (
                batch["support_x"], {"labels": batch["support_y"]}, batch["query_x"], {"labels": batch["query_y"]}
            )  # fmt: skip

        self.algorithm.step(batches(), training=True)

    def build_loader(self) -> None:
        """Its sampler over images in memory, without loader processes."""
        images, names = packed()
        labels = dict(enumerate(sorted(set(names.tolist()))))
        sampler = FewShotSampler(images, names, labels)
        data = MetaTaskDataset(
            sampler, way=self.workload.ways, support_shot=SHOTS, query_shot=self.workload.queries,
            max_classes=len(labels),
        )  # fmt: skip
        self.loader = iter(DataLoader(data, batch_size=self.workload.tasks, num_workers=0))

    def draw(self) -> None:
        next(self.loader)

    def versions(self) -> dict[str, str]:
        return {"parallel-metalearn": version("parallel-metalearn"), **super().versions()}


if __name__ == "__main__":
    serve(ParallelMetaLearn)
