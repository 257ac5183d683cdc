"""The outer gradient of the first batch in float64, in plain torch, task by task: what every contestant is held to.

Nothing is shared with metabench or with a peer, and batch normalisation is written out, so that no library's kernel
decides what is right.

    python -m peers.reference WORKLOAD FOLDER [DEVICE]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from peers.reference_memory import dnc, lstm
from peers.worker import Arrays, Job
from peers.workloads import WORKLOADS, Kind, Workload

Weights = dict[str, Tensor]


def normalise(x: Tensor, weights: Weights, name: str, eps: float) -> Tensor:
    var, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    y = (x - mean) / (var + eps).sqrt()
    if f"{name}.weight" in weights:
        y = y * weights[f"{name}.weight"].view(1, -1, 1, 1)
    return y + weights[f"{name}.bias"].view(1, -1, 1, 1)


def convolve(x: Tensor, kernel: Tensor, stride: int) -> Tensor:
    """As a matrix product: torch's float64 convolution is several times slower."""
    columns = F.unfold(x, 3, padding=1, stride=stride)
    side = (x.shape[-1] + 1) // stride if stride > 1 else x.shape[-1]
    return (kernel.flatten(1) @ columns).unflatten(-1, (side, side))


def features(workload: Workload, weights: Weights, x: Tensor) -> Tensor:
    if workload.regression:
        for i in range(2):
            x = F.relu(F.linear(x, weights[f"linears.{i}.weight"], weights[f"linears.{i}.bias"]))
        return x
    pool = workload.kind == "protonet"
    for i in range(4):
        x = convolve(x, weights[f"convs.{i}.weight"], 1 if pool else 2)
        x = F.relu(normalise(x, weights, f"norms.{i}", 1e-5 if pool else 1e-3))
        x = F.max_pool2d(x, 2) if pool else x
    return x.flatten(1) if pool else x.mean((-1, -2))


def maml(workload: Workload, weights: Weights, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
    def loss(w: Weights, x: Tensor, y: Tensor) -> Tensor:
        out = F.linear(features(workload, w, x), w["head.weight"], w["head.bias"])
        return F.mse_loss(out, y) if workload.regression else F.cross_entropy(out, y)

    fast = {name: w for name, w in weights.items() if not name.startswith("norms")}
    for _ in range(workload.inner_steps):
        slopes = torch.autograd.grad(loss({**weights, **fast}, xs, ys), list(fast.values()), create_graph=True)
        fast = {name: w - workload.inner_lr * g for (name, w), g in zip(fast.items(), slopes, strict=True)}
    return loss({**weights, **fast}, xq, yq)


def protonet(workload: Workload, weights: Weights, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
    z = features(workload, weights, torch.cat([xs, xq]))
    support, query = z[: len(xs)], z[len(xs) :]
    prototypes = torch.stack([support[ys == n].mean(0) for n in range(workload.ways)])
    return F.cross_entropy(-(query.unsqueeze(1) - prototypes).square().sum(-1), yq)


def perceptron(weights: Weights, name: str, count: int, x: Tensor) -> Tensor:
    for i in range(count):
        x = F.linear(F.relu(x) if i else x, weights[f"{name}.linears.{i}.weight"], weights[f"{name}.linears.{i}.bias"])
    return x


def cnp(workload: Workload, weights: Weights, xs: Tensor, ys: Tensor, xq: Tensor, yq: Tensor) -> Tensor:
    """Garnelo et al. 2018: mean negative log-likelihood of support set and queries, given the support set."""
    x, y = torch.cat([xs, xq]), torch.cat([ys, yq])
    layers = {name: len(widths) for name, widths in workload.sizes.items()}
    r = perceptron(weights, "encoder", layers["encoder"], torch.cat([xs, ys], dim=1)).mean(0)
    out = perceptron(weights, "decoder", layers["decoder"] + 1, torch.cat([r.repeat(len(x), 1), x], dim=1))
    mean, std = out[:, :1], 0.1 + 0.9 * F.softplus(out[:, 1:])
    return (((y - mean) / std).square() / 2 + std.log() + math.log(2 * math.pi) / 2).mean()


LOSSES: dict[Kind, Callable[..., Tensor]] = {
    "maml": maml,
    "start": maml,
    "protonet": protonet,
    "lstm": lstm,
    "dnc": dnc,
    "cnp": cnp,
}


def gradients(job: Job) -> Arrays:
    """The gradient of the mean loss over the tasks of the first batch, by the names of the weights."""
    workload, device = job.workload, job.device
    weights = {
        name: torch.from_numpy(array).to(device).double().requires_grad_()
        for name, array in job.weights().items()
        if "running" not in name
    }
    batch = {name: torch.from_numpy(array).to(device) for name, array in job.batches()[0].items()}
    batch = {name: t.double() if t.is_floating_point() else t for name, t in batch.items()}
    count = len(batch["support_x"])
    for i in range(count):
        parts = [batch[name][i] for name in ("support_x", "support_y", "query_x", "query_y")]
        (LOSSES[workload.kind](workload, weights, *parts) / count).backward()
    return {name: w.grad.cpu().numpy() for name, w in weights.items() if w.grad is not None}


def main(key: str, folder: Path, device: str = "cpu") -> None:
    found = gradients(Job(WORKLOADS[key], folder, device))
    np.savez(folder / "reference.npz", **found)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
