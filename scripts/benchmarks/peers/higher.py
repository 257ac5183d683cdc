"""higher: `innerloop_ctx` around every task, as its own MAML example does."""

from __future__ import annotations

from importlib.metadata import version

import higher
import torch
from torch import Tensor, nn

from peers.torch_side import Network, TorchContestant, criterion, load, tasks
from peers.worker import Arrays, serve


class Higher(TorchContestant):
    """One patched copy of the network a task; backward task by task."""

    def build(self, weights: Arrays) -> nn.Module:
        network = Network(self.workload)
        load(network, weights)
        return network

    def ready(self) -> None:
        self.loss = criterion(self.workload)
        self.inner = torch.optim.SGD(self.module.adapting().parameters(), lr=self.workload.inner_lr)  # type: ignore[operator]

    def meta_step(self, batch: dict[str, Tensor]) -> None:
        count = len(batch["support_x"])
        self.adam.zero_grad()
        for sx, sy, qx, qy in tasks(batch):
            with higher.innerloop_ctx(self.module, self.inner, copy_initial_weights=False, track_higher_grads=True) as (
                fast,
                inner,
            ):
                for _ in range(self.workload.inner_steps):
                    inner.step(self.loss(fast(sx), sy))
                (self.loss(fast(qx), qy) / count).backward()
        self.adam.step()

    def versions(self) -> dict[str, str]:
        return {"higher": version("higher"), **super().versions()}


if __name__ == "__main__":
    serve(Higher)
