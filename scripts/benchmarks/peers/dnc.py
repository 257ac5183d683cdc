"""dnc (pytorch-dnc): its `DNC` with one LSTM layer and one memory, whose output layer gives the classes.

A model of its own: keys and what is written pass through tanh, the usage has a gradient, and a step is not given what
the step before read. So gradients are not compared.
"""

from __future__ import annotations

from importlib.metadata import version

import torch.nn.functional as F
from dnc import DNC
from torch import Tensor, nn

from peers.torch_side import OneLoss, stream
from peers.worker import Arrays, serve
from peers.workloads import Workload


class Computer(nn.Module):
    """Reads a stream step by step."""

    def __init__(self, workload: Workload, inputs: int, gpu: int) -> None:
        super().__init__()
        sizes, self.ways = workload.sizes, workload.ways
        self.dnc = DNC(
            inputs, sizes["units"], num_layers=1, num_hidden_layers=1,
            nr_cells=sizes["slots"], cell_size=sizes["width"], read_heads=sizes["heads"], gpu_id=gpu,
        )  # fmt: skip
        self.dnc.output = nn.Linear(self.dnc.nn_output_size, self.ways)  # in place of as many outputs as inputs

    def loss(self, batch: dict[str, Tensor]) -> Tensor:
        inputs, y = stream(batch, self.ways)
        logits, _ = self.dnc(inputs, reset_experience=True)  # [T, L, ways]
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())


class Dnc(OneLoss):
    """One backward pass of the mean loss over streams."""

    other_equations = True

    def build(self, weights: Arrays) -> nn.Module:
        gpu = 0 if self.device.type == "cuda" else -1
        return Computer(self.workload, weights["given.weight"].shape[1], gpu)

    def versions(self) -> dict[str, str]:
        return {"dnc": version("dnc"), **super().versions()}


if __name__ == "__main__":
    serve(Dnc)
