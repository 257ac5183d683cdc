"""learn2learn: `MAML.clone()` and `adapt()` for every task, `PrototypicalClassifier`, a `Taskset` of Omniglot."""

from __future__ import annotations

import random

import learn2learn as l2l
import torch
from PIL.Image import Resampling
from torch import Tensor, nn
from torchvision import datasets, transforms

from peers.omniglot import SHOTS, torchvision_root
from peers.torch_side import MLP, Conv4, Network, TorchContestant, criterion, load, tasks
from peers.worker import Arrays, serve


class Adapting(nn.Module):
    """What `MAML` clones. `adapt` changes every parameter that is registered here, so the normalisations are not.

    Its ANIL example keeps the feature extractor outside `MAML` for the same reason.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.layers = network.adapting()
        self.outside = [network.body]  # in a list, modules are not registered

    def forward(self, x: Tensor) -> Tensor:
        *layers, head = self.layers
        body = self.outside[0]
        if isinstance(body, Conv4):
            return head(body.features(x, layers))
        for layer in layers:
            x = torch.relu(layer(x))
        return head(x)


class Learn2Learn(TorchContestant):
    """Backward task by task, the gradient a mean over tasks."""

    def build(self, weights: Arrays) -> nn.Module:
        if self.workload.kind == "protonet":
            network: nn.Module = Conv4(self.workload)
        else:
            network = Network(self.workload)
        load(network, weights)
        return network

    def ready(self) -> None:
        self.loss = criterion(self.workload)
        if isinstance(self.module, Network):
            # A network without normalisations is wrapped as it is.
            inner = self.module if isinstance(self.module.body, MLP) else Adapting(self.module)
            self.maml = l2l.algorithms.MAML(inner, lr=self.workload.inner_lr)

    def meta_step(self, batch: dict[str, Tensor]) -> None:
        count = len(batch["support_x"])
        self.adam.zero_grad()
        for sx, sy, qx, qy in tasks(batch):
            loss = self.protonet(sx, sy, qx, qy) if self.workload.kind == "protonet" else self.adapted(sx, sy, qx, qy)
            (loss / count).backward()
        self.adam.step()

    def adapted(self, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
        learner = self.maml.clone()
        for _ in range(self.workload.inner_steps):
            learner.adapt(self.loss(learner(sx), sy))
        return self.loss(learner(qx), qy)

    def protonet(self, sx: Tensor, sy: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
        z = self.module(torch.cat([sx, qx]))
        classifier = l2l.nn.PrototypicalClassifier(support=z[: len(sx)], labels=sy)
        return self.loss(classifier(z[len(sx) :]), qy)

    def build_loader(self) -> None:
        """Its Omniglot benchmark, without the download and with every image in memory (`OnDeviceDataset`).

        torchvision wants the md5 of the original zips; the same drawings zipped anew, which metabench takes, are let
        through.
        """
        datasets.Omniglot._check_integrity = lambda self: True
        view = transforms.Compose(
            [transforms.Resize(28, interpolation=Resampling.LANCZOS), transforms.ToTensor(), lambda x: 1.0 - x]
        )
        whole = l2l.vision.datasets.FullOmniglot(root=str(torchvision_root()), transform=view, download=False)
        data = l2l.data.MetaDataset(l2l.data.OnDeviceDataset(whole, device=self.device))
        labels = list(range(1623))
        random.shuffle(labels)
        train = l2l.data.FilteredMetaDataset(data, labels=labels[:1100])
        steps = [
            l2l.data.transforms.FusedNWaysKShots(train, n=self.workload.ways, k=SHOTS + self.workload.queries),
            l2l.data.transforms.LoadData(train),
            l2l.data.transforms.RemapLabels(train),
            l2l.data.transforms.ConsecutiveLabels(train),
            l2l.vision.transforms.RandomClassRotation(train, [0.0, 90.0, 180.0, 270.0]),
        ]
        self.taskset = l2l.data.Taskset(train, task_transforms=steps)

    def draw(self) -> None:
        episodes = [l2l.data.partition_task(*self.taskset.sample(), shots=SHOTS) for _ in range(self.workload.tasks)]
        for parts in zip(*episodes, strict=True):
            torch.stack([x for x, _ in parts])
            torch.stack([y for _, y in parts])

    def versions(self) -> dict[str, str]:
        return {"learn2learn": l2l.__version__, **super().versions()}


if __name__ == "__main__":
    serve(Learn2Learn)
