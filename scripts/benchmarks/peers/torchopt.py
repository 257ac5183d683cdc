"""TorchOpt: `MetaSGD` with the state extracted before and recovered after every task, as its MAML example does."""

from __future__ import annotations

import torch
import torchopt
from torch import Tensor, nn

from peers.torch_side import Network, TorchContestant, criterion, load, tasks
from peers.worker import Arrays, serve


class TorchOpt(TorchContestant):
    """One backward pass of the mean loss over tasks."""

    def build(self, weights: Arrays) -> nn.Module:
        network = Network(self.workload)
        load(network, weights)
        return network

    def ready(self) -> None:
        self.loss = criterion(self.workload)
        self.inner = torchopt.MetaSGD(self.module.adapting(), lr=self.workload.inner_lr)  # type: ignore[operator]

    def meta_step(self, batch: dict[str, Tensor]) -> None:
        self.adam.zero_grad()
        network = torchopt.extract_state_dict(self.module, by="reference", detach_buffers=True)
        inner = torchopt.extract_state_dict(self.inner, by="reference")
        losses = []
        for sx, sy, qx, qy in tasks(batch):
            for _ in range(self.workload.inner_steps):
                self.inner.step(self.loss(self.module(sx), sy))
            losses.append(self.loss(self.module(qx), qy))
            torchopt.recover_state_dict(self.module, network)
            torchopt.recover_state_dict(self.inner, inner)
        torch.stack(losses).mean().backward()
        self.adam.step()

    def versions(self) -> dict[str, str]:
        return {"torchopt": torchopt.__version__, **super().versions()}


if __name__ == "__main__":
    serve(TorchOpt)
