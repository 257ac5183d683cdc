"""What the torch peers share: the networks in plain torch, the batches as tensors, Adam and its first gradient."""

from __future__ import annotations

from abc import abstractmethod
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peers.worker import Arrays, Contestant, Job
from peers.workloads import OUTER_LR, Workload

FILTERS, BLOCKS, HIDDEN = 64, 4, 40


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, batch normalisation, ReLU and halving.

    No bias in the convolutions: batch statistics cancel it, and metabench has none. MAML's network (strides, mean of
    the last map) always normalises by the batch; its scale is fixed at one. ProtoNet's (max-pooling) has a scale and
    keeps running statistics.
    """

    def __init__(self, workload: Workload, conv: Any = nn.Conv2d, norm: Any = nn.BatchNorm2d) -> None:
        super().__init__()
        self.pool = workload.kind == "protonet"
        sizes = [1] + [FILTERS] * BLOCKS
        stride = 1 if self.pool else 2
        self.convs = nn.ModuleList(
            conv(sizes[i], sizes[i + 1], 3, stride=stride, padding=1, bias=False) for i in range(BLOCKS)
        )
        eps = 1e-5 if self.pool else 1e-3
        self.norms = nn.ModuleList(norm(FILTERS, eps=eps, track_running_stats=self.pool) for _ in range(BLOCKS))
        if not self.pool:
            for layer in self.norms:
                layer.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x, self.convs)

    def features(self, x: Tensor, convs: Any) -> Tensor:
        for conv, norm in zip(convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
            if self.pool:
                x = F.max_pool2d(x, 2)
        return x.flatten(1) if self.pool else x.mean((-1, -2))


class MLP(nn.Module):
    """1-40-40, ReLU."""

    def __init__(self, linear: Any = nn.Linear) -> None:
        super().__init__()
        self.linears = nn.ModuleList([linear(1, HIDDEN), linear(HIDDEN, HIDDEN)])

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears:
            x = F.relu(linear(x))
        return x


class Network(nn.Module):
    """A body and a linear head."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.body = MLP() if workload.regression else Conv4(workload)
        self.head = nn.Linear(HIDDEN if workload.regression else FILTERS, workload.ways)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def adapting(self) -> nn.ModuleList:
        """The layers that the inner loop changes: all but the normalisations, as in MAML's own code."""
        layers = self.body.linears if isinstance(self.body, MLP) else self.body.convs
        return nn.ModuleList([*layers, self.head])


def criterion(workload: Workload) -> Any:
    return F.mse_loss if workload.regression else F.cross_entropy


LAYERS = (
    *("convs", "norms", "linears", "head"),
    *("given", "kept", "interface", "readout"),  # of a recurrent network: its gates by inputs and by state
    *("encoder", "decoder"),
)
LSTM = {
    "weight_ih_l0": "given.weight", "bias_ih_l0": "given.bias",
    "weight_hh_l0": "kept.weight", "bias_hh_l0": "kept.bias",
}  # fmt: skip


def plain_name(name: str) -> str:
    """metabench's name of a weight, whatever a library puts before it; nn.LSTM's weights have names of their own."""
    parts = name.split(".")
    if parts[-1] in LSTM:
        return LSTM[parts[-1]]
    first = next(i for i, part in enumerate(parts) if part in LAYERS)
    return ".".join(parts[first:])


def load(module: nn.Module, weights: Arrays) -> None:
    """Copy `weights` into `module`; what is not among them (a scale fixed at one) stays as it was built."""
    own = {plain_name(name): tensor for name, tensor in module.state_dict().items()}
    missing = set(weights) - set(own)
    if missing:
        raise ValueError(f"nowhere to put {sorted(missing)}")
    with torch.no_grad():
        for name, array in weights.items():
            own[name].copy_(torch.from_numpy(array))


class TorchContestant(Contestant):
    """A peer on torch: it builds a module for Adam and says what its meta-step is."""

    def prepare(self, job: Job) -> None:
        self.job, self.workload = job, job.workload
        self.device = torch.device(job.device)
        # float32 is what is compared
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        if self.workload.kind == "sampling":
            self.build_loader()
            return
        weights = job.weights()
        self.batches = [{k: torch.from_numpy(v).to(self.device) for k, v in batch.items()} for batch in job.batches()]
        torch.manual_seed(0)
        self.module = self.build(weights).to(self.device)
        self.module.train()
        parameters = [p for p in self.module.parameters() if p.requires_grad]
        self.adam = torch.optim.Adam(parameters, lr=OUTER_LR)
        self.ready()

    @abstractmethod
    def build(self, weights: Arrays) -> nn.Module:
        """The module that Adam trains, with `weights` in it."""

    def ready(self) -> None:
        """What can only be made once the module is on its device and Adam is there."""

    @abstractmethod
    def meta_step(self, batch: dict[str, Tensor]) -> None:
        """One meta-step, Adam included."""

    def build_loader(self) -> None:
        """Make what `draw` needs, where the library has a loader."""

    def draw(self) -> None:
        """Draw one batch of episodes."""

    def step(self, index: int) -> None:
        if self.workload.kind == "sampling":
            self.draw()
        else:
            self.meta_step(self.batches[index])
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def gradient(self) -> Arrays:
        return first_gradient(self.adam, dict(self.module.named_parameters()))

    def memory(self) -> int:
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else super().memory()

    def versions(self) -> dict[str, str]:
        return {"torch": version("torch")}


class OneLoss(TorchContestant):
    """A peer whose module has the `loss` of a whole batch, a mean over its tasks."""

    def meta_step(self, batch: dict[str, Tensor]) -> None:
        loss = self.module.loss(batch)  # type: ignore[operator]
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


def stream(batch: dict[str, Tensor], ways: int) -> tuple[Tensor, Tensor]:
    """Inputs `[T, L, pixels + ways]`, each drawing with the label of the one before, and the labels `[T, L]`."""
    x, y = batch["query_x"].flatten(2), batch["query_y"]
    before = F.pad(F.one_hot(y[:, :-1], ways), (0, 0, 1, 0))
    return torch.cat([x, before.to(x.dtype)], dim=-1), y


def first_gradient(adam: torch.optim.Optimizer, named: dict[str, Any]) -> Arrays:
    """What Adam was given in its only step so far: its first moment is then a tenth of the gradient."""
    found: Arrays = {}
    for name, parameter in named.items():
        if "exp_avg" in adam.state.get(parameter, {}):
            moment = adam.state[parameter]["exp_avg"].detach().cpu().numpy().astype(np.float64)
            found[plain_name(name)] = moment / (1 - adam.param_groups[0]["betas"][0])
    return found


def tasks(batch: dict[str, Tensor]) -> Any:
    """Task by task: support x and y, query x and y."""
    return zip(batch["support_x"], batch["support_y"], batch["query_x"], batch["query_y"], strict=True)
