"""What algorithms are compared with: the same network in plain torch.nn for one task, and a problem in closed form."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metabench.algo.fast_weights import FastWeights, Network
from metabench.algo.maml import MAML
from metabench.algo.metric import MetricLearner
from metabench.backbone.conv4 import Conv4
from metabench.backbone.mlp import MLP
from metabench.backbone.norm import GroupNorm
from metabench.config.build import arguments
from metabench.tasks import Episode, Examples, Tasks, TaskSpec

Named = dict[str, Tensor]
LOSS = {"cross_entropy": F.cross_entropy, "mse": F.mse_loss}


class Plain(nn.Module):
    """`network` for one task, with the same weights under the same names, from torch's own modules."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone = (PlainConv4 if isinstance(network.backbone, Conv4) else PlainMLP)(network.backbone)
        self.head = _linear(network.head)
        self.to(network.head.weight.dtype)
        assert not self.load_state_dict(network.state_dict(), strict=False).unexpected_keys

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))

    def gradients(self) -> dict[str, Tensor]:
        """Under the algorithm's names."""
        grads = {name: p.grad.clone() for name, p in self.named_parameters() if p.grad is not None}
        return {name.replace("head.", "network.head."): g for name, g in grads.items()}


class PlainMLP(nn.Module):
    def __init__(self, ours: MLP) -> None:
        super().__init__()
        self.linears = nn.ModuleList(_linear(linear) for linear in ours.linears)

    def forward(self, x: Tensor) -> Tensor:
        for linear in self.linears:
            x = linear(x).relu()
        return x


class PlainConv4(nn.Module):
    def __init__(self, ours: Conv4) -> None:
        super().__init__()
        self.pool, self.readout = ours.pool, ours.readout
        self.convs = nn.ModuleList(_conv(conv) for conv in ours.convs)
        self.norms = nn.ModuleList(_norm(norm) for norm in ours.norms)

    def forward(self, x: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x))
            x = x if self.readout == "linear" and conv is self.convs[-1] else x.relu()
            x = F.max_pool2d(x, 2) if self.pool == "max" else x
        return x.mean((-1, -2)) if self.readout == "mean" else x.flatten(1)


def _linear(ours: nn.Module) -> nn.Linear:
    return nn.Linear(ours.weight.shape[1], ours.weight.shape[0])


def _conv(ours: nn.Module) -> nn.Conv2d:
    outputs, inputs = ours.weight.shape[:2]
    return nn.Conv2d(inputs, outputs, 3, ours.stride, padding=1, bias=ours.bias is not None)


def _norm(ours: nn.Module) -> nn.Module:
    if isinstance(ours, nn.Identity):
        return nn.Identity()
    if isinstance(ours, GroupNorm):
        norm = nn.GroupNorm(ours.groups, len(ours.bias), ours.eps)
        norm.weight.requires_grad_(ours.weight is not None)
        return norm
    norm = nn.BatchNorm2d(len(ours.bias), ours.eps, track_running_stats=ours.running)
    norm.weight.requires_grad_(ours.weight is not None)
    return norm


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    """Equal keys, and a relative error below `tolerance` for every tensor."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name] - value).norm() / value.norm().clamp_min(1e-12)
        assert error < tolerance, f"{name}: relative error {error:.1e}"


def each(tasks: Tasks) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(x, y) of the support set and (x, y) of the queries, task by task."""
    return list(zip(*tasks.support, *tasks.query, strict=True))


def unrolled(
    algo: FastWeights,
    tasks: Tasks,
    step: Callable[[Named, Named, int, Tensor, Tensor], Named],
    read: Callable[[Named, Tensor, Tensor], Named] = lambda weights, x, y: weights,
) -> Named:
    """The outer gradient of every parameter by plain torch, one task after another.

    `step` gives the weights after an inner step from those before, their gradient, the step's number and the support
    set; `read` those that the network runs under, of all weights and the support set.
    """
    net, loss = Plain(algo.network), LOSS[algo.spec.objective]
    own, total = dict(algo.network.named_parameters()), torch.zeros(())
    for x, y, query_x, query_y in each(tasks):

        def value(fast: Named, inputs: Tensor, targets: Tensor, x: Tensor = x, y: Tensor = y) -> Tensor:
            return loss(functional_call(net, read({**own, **fast}, x, y), (inputs,)), targets)

        fast: Named = dict(algo.adapted())
        for number in range(algo.inner_steps):
            found = torch.autograd.grad(value(fast, x, y), list(fast.values()), create_graph=True)
            fast = step(fast, dict(zip(fast, found, strict=True)), number, x, y)
        total = total + value(fast, query_x, query_y) / len(tasks)
    named = {name: p for name, p in algo.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, found, strict=True) if g is not None}


def as_maml(algo: FastWeights, inner_lr: float) -> MAML:
    """MAML with the network of another method, and its steps."""
    steps = {name: getattr(algo, name) for name in ("inner_steps", "eval_inner_steps", "adapt_norm")}
    maml = MAML(algo.spec, copy.deepcopy(algo.backbone), inner_lr=inner_lr, **steps).to(algo.network.head.weight.dtype)
    maml.load_state_dict(algo.state_dict(), strict=False)
    return maml


def assert_is_maml(algo: FastWeights, tasks: Tasks, inner_lr: float) -> None:
    """The same predictions after each inner step, and the same outer gradient of the network."""
    maml = as_maml(algo, inner_lr)
    for a, b in zip(*(one.outputs(tasks.support, tasks.query.x) for one in (algo, maml)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    for one in (algo, maml):
        one.zero_grad()
        one(tasks)[0].backward()
    expected = {name: p.grad for name, p in maml.named_parameters() if p.grad is not None}
    assert_same({name: p.grad for name, p in algo.named_parameters() if name in expected}, expected)


def adapting(algo: FastWeights, net: Plain) -> list[nn.Parameter]:
    """The parameters of `net` that the inner loop is to move: all, but normalisations' only with `adapt_norm`."""
    ours = dict(algo.network.named_parameters())
    return [p for name, p in net.named_parameters() if name in ours and (algo.adapt_norm or "norms." not in name)]


def identity(size: int) -> MLP:
    """A backbone that gives what it is given."""
    return MLP(
        (size,),
        hidden=[],
        norm="none",
        norm_scale=True,
        norm_eps=1e-5,
        statistics="batch",
        init_std=None,
        readout=None,
    )


def on_points(algo_class: type[MetricLearner], ways: int, size: int = 2, **values: object) -> MetricLearner:
    """A metric method that compares points as they are."""
    torch.manual_seed(0)
    spec = TaskSpec((size,), "cross_entropy", Episode(ways, 1, 1), Episode(ways, 1, 1))
    return algo_class(spec, identity(size), **values).double()


class LinearRegression:
    """T tasks of fitting a linear map with bias from 4 to 2 numbers, where every gradient is a formula.

    With the map as Θ `[2, 5]`, inputs as X `[N, 5]` (a last column of ones) and targets Y `[N, 2]`, the mean squared
    error has gradient (Θ Xᵀ - Yᵀ) X / N.
    """

    def __init__(self, algo_class: type[FastWeights], **values: object) -> None:
        torch.manual_seed(0)
        spec = TaskSpec((4,), "mse", Episode(2, 6, 7), Episode(2, 6, 7))
        if "adapt_norm" in arguments(algo_class):
            values["adapt_norm"] = False  # there is none
        self.algo = algo_class(spec, identity(4), **{"eval_inner_steps": 0, **values}).double()
        support, query = (Examples(torch.randn(3, n, 4).double(), torch.randn(3, n, 2).double()) for n in (6, 7))
        self.tasks = Tasks(support, query, {})
        self.head = self.algo.network.head

    @property
    def theta(self) -> Tensor:
        return _joined(self.head.weight.detach(), self.head.bias.detach())

    def meta_gradient(self) -> Tensor:
        """What the algorithm finds for Θ."""
        self.algo.zero_grad()
        self.algo(self.tasks)[0].backward()
        return _joined(self.head.weight.grad, self.head.bias.grad)

    @staticmethod
    def gradient(theta: Tensor, part: Examples) -> Tensor:
        """The formula, `[T, 2, 5]`, at one Θ or at one a task."""
        x = LinearRegression.inputs(part)
        return (theta @ x.mT - part.y.mT) @ x / x.shape[1]

    @staticmethod
    def inputs(part: Examples) -> Tensor:
        return torch.cat([part.x, torch.ones_like(part.x[..., :1])], dim=-1)


def _joined(weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([weight, bias.unsqueeze(-1)], dim=-1)
