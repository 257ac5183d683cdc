"""torchmeta: a `MetaModule` and `gradient_update_parameters`, its prototypes, its `BatchMetaDataLoader`.

Two things that it needs have gone since: helpers of Google Drive downloads in torchvision, and a `Subset` in torch that
may override `__getitem__` alone. Stand-ins let it run.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
import torch.nn.functional as F
import torchvision.datasets.utils as torchvision_utils
from torch import Tensor, nn

from peers.omniglot import SHOTS, torchmeta_root
from peers.torch_side import BLOCKS, FILTERS, HIDDEN, Conv4, TorchContestant, criterion, load, tasks
from peers.worker import Arrays, serve
from peers.workloads import Workload

for helper in ("_get_confirm_token", "_save_response_content"):
    if not hasattr(torchvision_utils, helper):
        setattr(torchvision_utils, helper, None)

import torchmeta  # noqa: E402
from torchmeta.datasets.helpers import omniglot  # noqa: E402
from torchmeta.modules import MetaConv2d, MetaLinear, MetaModule  # noqa: E402
from torchmeta.utils.data import BatchMetaDataLoader  # noqa: E402
from torchmeta.utils.data.task import SubsetTask  # noqa: E402
from torchmeta.utils.gradient_based import gradient_update_parameters  # noqa: E402
from torchmeta.utils.prototype import get_prototypes, prototypical_loss  # noqa: E402

SubsetTask.__getitems__ = lambda self, indices: [self[index] for index in indices]


class MetaConv4(MetaModule):
    """The convolutions and the head are meta-modules; plain `BatchNorm2d`s are meta-learned and do not adapt."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        plain = Conv4(workload, conv=MetaConv2d)
        self.convs, self.norms = plain.convs, plain.norms
        self.head = MetaLinear(FILTERS, workload.ways)

    def forward(self, x: Tensor, params: Any = None) -> Tensor:
        for i in range(BLOCKS):
            x = F.relu(self.norms[i](self.convs[i](x, params=self.get_subdict(params, f"convs.{i}"))))
        return self.head(x.mean((-1, -2)), params=self.get_subdict(params, "head"))


class MetaMLP(MetaModule):
    """1-40-40-1."""

    def __init__(self) -> None:
        super().__init__()
        self.linears = nn.ModuleList([MetaLinear(1, HIDDEN), MetaLinear(HIDDEN, HIDDEN)])
        self.head = MetaLinear(HIDDEN, 1)

    def forward(self, x: Tensor, params: Any = None) -> Tensor:
        for i, linear in enumerate(self.linears):
            x = F.relu(linear(x, params=self.get_subdict(params, f"linears.{i}")))
        return self.head(x, params=self.get_subdict(params, "head"))


class TorchMeta(TorchContestant):
    """One backward pass of the mean loss over tasks, as in its MAML example."""

    def build(self, weights: Arrays) -> nn.Module:
        if self.workload.kind == "protonet":
            network: nn.Module = Conv4(self.workload)
        else:
            network = MetaMLP() if self.workload.regression else MetaConv4(self.workload)
        load(network, weights)
        return network

    def meta_step(self, batch: dict[str, Tensor]) -> None:
        loss = self.protonet(batch) if self.workload.kind == "protonet" else self.maml(batch)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def maml(self, batch: dict[str, Tensor]) -> Tensor:
        criterion_ = criterion(self.workload)
        total = torch.zeros((), device=self.device)
        for sx, sy, qx, qy in tasks(batch):
            params: OrderedDict[str, Tensor] | None = None
            for _ in range(self.workload.inner_steps):
                inner = criterion_(self.module(sx, params=params), sy)
                params = gradient_update_parameters(
                    self.module, inner, params=params, step_size=self.workload.inner_lr, first_order=False
                )
            total = total + criterion_(self.module(qx, params=params), qy)
        return total / len(batch["support_x"])

    def protonet(self, batch: dict[str, Tensor]) -> Tensor:
        """Support and query in one pass, as the paper's code embeds them; torchmeta's example takes two."""
        x = torch.cat([batch["support_x"], batch["query_x"]], dim=1)
        z = self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        support = batch["support_x"].shape[1]
        prototypes = get_prototypes(z[:, :support], batch["support_y"], self.workload.ways)
        return prototypical_loss(prototypes, z[:, support:], batch["query_y"])

    def build_loader(self) -> None:
        """Its helper for Omniglot, without loader processes: they would work while another contestant is timed."""
        data = omniglot(
            str(torchmeta_root()), shots=SHOTS, ways=self.workload.ways, test_shots=self.workload.queries,
            meta_train=True, shuffle=True,
        )  # fmt: skip
        self.loader = iter(BatchMetaDataLoader(data, batch_size=self.workload.tasks, num_workers=0))

    def draw(self) -> None:
        next(self.loader)

    def versions(self) -> dict[str, str]:
        return {"torchmeta": torchmeta.__version__, **super().versions()}


if __name__ == "__main__":
    serve(TorchMeta)
