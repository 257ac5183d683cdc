"""neuralprocesses: the conditional process of `construct_gnp(likelihood="het")`, trained as its README does.

A model of its own: it sums over the context where the paper takes the mean, predicts a variance and not a standard
deviation, and computes the likelihood in float64. So gradients are not compared.
"""

from __future__ import annotations

from importlib.metadata import version

import neuralprocesses.torch as nps
import torch
from torch import Tensor, nn

from peers.torch_side import OneLoss
from peers.worker import Arrays, serve
from peers.workloads import Workload


class Process(nn.Module):
    """The support set is encoded; targets are support set and queries."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        *encoder, embedding = workload.sizes["encoder"]
        decoder = workload.sizes["decoder"]
        assert {*encoder, *decoder} == {embedding}, "its layers have one width"
        self.model = nps.construct_gnp(
            dim_x=1, dim_y=1, likelihood="het", dim_embedding=embedding, width=embedding,
            num_enc_layers=len(encoder), num_dec_layers=len(decoder),
        )  # fmt: skip

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        sx, sy, qx, qy = (batch[name].mT for name in ("support_x", "support_y", "query_x", "query_y"))  # [T, 1, N]
        x, y = torch.cat([sx, qx], dim=-1), torch.cat([sy, qy], dim=-1)
        return -torch.mean(nps.loglik(self.model, sx, sy, x, y, normalise=True))


class NeuralProcesses(OneLoss):
    """One backward pass of the mean loss over tasks."""

    other_equations = True

    def build(self, weights: Arrays) -> nn.Module:
        return Process(self.workload)

    def versions(self) -> dict[str, str]:
        return {"neuralprocesses": version("neuralprocesses"), **super().versions()}


if __name__ == "__main__":
    serve(NeuralProcesses)
