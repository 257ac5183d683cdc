"""Plain torch, as its documentation shows it: `nn.LSTM` (one fused recurrence), and a neural process of `nn.Linear`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from peers.torch_side import OneLoss, load, stream
from peers.worker import Arrays, serve
from peers.workloads import Workload


class StreamLSTM(nn.Module):
    """Reads a stream step by step; `nn.LSTM` has metabench's gates in metabench's order.

    Of its two biases one is metabench's. The other is fixed: 1 for the forget gates, else 0.
    """

    def __init__(self, workload: Workload, inputs: int) -> None:
        super().__init__()
        self.ways, units = workload.ways, workload.sizes["units"]
        self.core = nn.LSTM(inputs, units, batch_first=True)
        self.readout = nn.Linear(units, self.ways)
        fixed = self.core.get_parameter("bias_hh_l0").requires_grad_(False)
        fixed.zero_()[units : 2 * units] = 1

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        inputs, y = stream(batch, self.ways)
        logits = self.readout(self.core(inputs)[0])  # [T, L, ways]
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())


class Perceptron(nn.Module):
    """Linear maps with ReLUs between them."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears[:-1]:
            x = F.relu(linear(x))
        return self.linears[-1](x)


class ConditionalNeuralProcess(nn.Module):
    """The support set is encoded; targets are support set and queries (Garnelo et al. 2018)."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        encoder, decoder = workload.sizes["encoder"], workload.sizes["decoder"]
        self.encoder = Perceptron([2, *encoder])
        self.decoder = Perceptron([encoder[-1] + 1, *decoder, 2])

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        sx, sy = batch["support_x"], batch["support_y"]
        x, y = torch.cat([sx, batch["query_x"]], dim=1), torch.cat([sy, batch["query_y"]], dim=1)  # [T, N, 1]
        r = self.encoder(torch.cat([sx, sy], dim=-1)).mean(1, keepdim=True)
        mean, s = self.decoder(torch.cat([r.expand(-1, x.shape[1], -1), x], dim=-1)).chunk(2, dim=-1)
        return -Normal(mean, 0.1 + 0.9 * F.softplus(s), validate_args=False).log_prob(y).mean()


class Torch(OneLoss):
    """One backward pass of the mean loss over tasks."""

    def build(self, weights: Arrays) -> nn.Module:
        lstm = self.workload.kind == "lstm"
        inputs = weights["given.weight"].shape[1] if lstm else 1
        network = StreamLSTM(self.workload, inputs) if lstm else ConditionalNeuralProcess(self.workload)
        load(network, weights)
        return network


if __name__ == "__main__":
    serve(Torch)
