"""Layers for T tasks are T ordinary layers: values, gradients and second-order gradients, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from metabench.backbone.base import batch_statistics, running_statistics
from metabench.backbone.dense import Dense, dense
from metabench.backbone.layers import Conv2d, Linear
from metabench.backbone.norm import BatchNorm, GroupNorm, make_norm

T, N, C = 3, 4, 4


def both_orders(f, inputs: list[Tensor]) -> list[Tensor]:
    """A value of f, its gradient, and the gradient of that gradient's square."""
    value = f(*inputs)
    scale = torch.linspace(-1, 2, value.numel(), dtype=value.dtype).view(value.shape)
    first = torch.autograd.grad((scale * value.square()).sum(), inputs, create_graph=True)
    second = torch.autograd.grad(sum(g.square().sum() for g in first), inputs)
    return [value, *first, *second]


def same(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def conv(stride):
    return lambda x, weight, bias: F.conv2d(x, weight, bias, stride, padding=1)


def batch_norm(x, weight, bias):
    return F.batch_norm(x, None, None, weight, bias, training=True, eps=1e-3)


def group_norm(groups):
    return lambda x, weight, bias: F.group_norm(x, groups, weight, bias, eps=1e-3)


NORM = {"scale": True, "eps": 1e-3}
CONVS = {
    "conv": (lambda: Conv2d(C, 5, stride=1, bias=True), conv(1)),
    "conv, stride 2": (lambda: Conv2d(C, 5, stride=2, bias=True), conv(2)),
    "batch norm": (lambda: BatchNorm(C, **NORM, statistics="batch"), batch_norm),
    "group norm": (lambda: GroupNorm(C, 2, **NORM), group_norm(2)),
    "layer norm": (lambda: GroupNorm(C, 1, **NORM), group_norm(1)),
}
LAYERS = {"linear": (lambda: Linear(C, 5), F.linear), **CONVS}


@pytest.mark.parametrize("own", [True, False], ids=["own weights", "shared weights"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_for_all_tasks_is_a_loop_over_tasks(name, own):
    torch.manual_seed(0)
    make, plain = LAYERS[name]
    layer = make().double()
    names = [key for key, _ in layer.named_parameters()]
    x = torch.randn(T, N, C, *(() if name == "linear" else (7, 6))).double().requires_grad_()
    shapes = [(T, *p.shape) if own else p.shape for p in layer.parameters()]
    weights = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
    tasks_first = (lambda y: y) if name == "linear" else (lambda y: y.transpose(0, 1))

    def together(x, *weights):
        return tasks_first(functional_call(layer, dict(zip(names, weights, strict=True)), (tasks_first(x),)))

    def loop(x, *weights):
        return torch.stack([plain(x[t], *(w[t] if own else w for w in weights)) for t in range(T)])

    same(both_orders(together, [x, *weights]), both_orders(loop, [x, *weights]))


@pytest.mark.parametrize("name", ["batch", "group", "layer"])
def test_norms_take_vectors_and_may_lack_a_scale(name):
    layer = make_norm(name, 16, scale=False, eps=1e-3, statistics="batch").double()
    assert [key for key, _ in layer.named_parameters()] == ["bias"]
    x = torch.randn(N, T, 16, dtype=torch.float64, requires_grad=True)
    plain = batch_norm if name == "batch" else group_norm(2 if name == "group" else 1)
    ones = torch.ones(16, dtype=torch.float64)
    same(
        both_orders(layer, [x]),
        both_orders(lambda x: torch.stack([plain(x[:, t], ones, layer.bias) for t in range(T)], dim=1), [x]),
    )


@pytest.mark.parametrize("channels", [4, 12, 28, 40, 64])
def test_any_number_of_channels_can_be_grouped(channels):
    groups = make_norm("group", channels, **NORM, statistics="batch").groups
    assert channels % groups == 0
    assert channels % 8 or channels // groups == 8
    assert channels // groups >= min(8, channels)


def test_one_task_moves_the_running_statistics_as_torch_does():
    ours, torchs = BatchNorm(C, **NORM, statistics="running").double(), nn.BatchNorm2d(C, eps=1e-3).double()
    for _ in range(3):
        x = 2 * torch.randn(N, C, 5, 5).double() + 1
        same([ours(x.unsqueeze(1)).squeeze(1)], [torchs(x)])
        same([ours.running_mean, ours.running_var], [torchs.running_mean, torchs.running_var])
    ours.eval(), torchs.eval()
    before = ours.running_mean.clone()
    same([ours(x.unsqueeze(1)).squeeze(1)], [torchs(x)])
    assert torch.equal(ours.running_mean, before)


def test_many_tasks_move_the_running_statistics_by_the_mean_of_their_moves():
    x = torch.randn(N, T, C, 5, 5, dtype=torch.float64)
    layer = BatchNorm(C, **NORM, statistics="running").double()
    alone = [BatchNorm(C, **NORM, statistics="running").double() for _ in range(T)]
    layer(x)
    for t, one in enumerate(alone):
        one(x[:, t : t + 1])
    for name in ("running_mean", "running_var"):
        same([getattr(layer, name)], [torch.stack([getattr(one, name) for one in alone]).mean(0)])


def test_pooled_tasks_are_one_batch_in_training_and_apart_outside():
    x = 2 * torch.randn(N, T, C, 5, 5, dtype=torch.float64) + 1
    ours, torchs = BatchNorm(C, **NORM, statistics="pooled").double(), nn.BatchNorm2d(C, eps=1e-3).double()
    flat = x.flatten(0, 1)
    same(both_orders(ours, [x.requires_grad_()]), [v.view_as(x) for v in both_orders(torchs, [flat.requires_grad_()])])
    ours.eval(), torchs.eval()
    same([ours.running_mean, ours.running_var], [torchs.running_mean, torchs.running_var])
    same([ours(x)], [torchs(flat).view_as(x)])
    ours.frozen = False  # as for transductive predictions
    apart = BatchNorm(C, **NORM, statistics="batch").double()
    same([ours(x)], [apart(x)])


def test_a_dense_layer_is_torch_s_batch_norm_of_each_task():
    torch.manual_seed(0)
    ours = Dense(5, C, "running").double()
    torchs = nn.Sequential(nn.Linear(5, C, bias=False), nn.BatchNorm1d(C), nn.ELU()).double()
    torchs[0].weight = ours.linear.weight
    x = 2 * torch.randn(T, 7, 5, dtype=torch.float64) + 1
    same([ours(x)], [torch.stack([torchs(one) for one in x])])
    assert [type(layer) for layer in dense([5, C, C, 2], "running")] == [Dense, Dense, Linear]


def test_running_statistics_are_used_and_stay_in_training_too_and_batch_statistics_outside():
    x = 2 * torch.randn(N, T, C, 5, 5, dtype=torch.float64) + 1
    layer = BatchNorm(C, **NORM, statistics="running").double()
    trained = layer(x)  # moves them
    before = layer.running_mean.clone()
    with running_statistics(layer):
        used = layer(x)
    assert not layer.frozen
    assert torch.equal(layer.running_mean, before)
    assert torch.equal(used, layer.eval()(x))
    with batch_statistics(layer):
        assert torch.equal(layer(x), trained)
    assert layer.frozen
    assert torch.equal(layer.running_mean, before)
    always = BatchNorm(C, **NORM, statistics="batch").double()
    with running_statistics(always):  # it keeps none
        assert torch.equal(always(x), trained)


def test_batch_statistics_have_no_running_ones():
    layer = BatchNorm(C, **NORM, statistics="batch")
    x = torch.randn(N, T, C, 5, 5)
    assert not layer.state_dict().keys() - {"weight", "bias"}
    assert torch.equal(layer(x), layer.eval()(x))


def test_initial_weights_are_torchs_or_truncated_normal_or_xavier():
    torch.manual_seed(0)
    ours = Linear(30, 20)
    torch.manual_seed(0)
    torchs = nn.Linear(30, 20)
    assert torch.equal(ours.weight, torchs.weight)
    assert torch.equal(ours.bias, torchs.bias)
    normal = Linear(300, 200, 0.01)
    assert normal.weight.abs().max() <= 0.02
    assert normal.weight.std().item() == pytest.approx(0.0088, rel=0.02)  # 0.88: of a normal cut at two deviations
    assert not normal.bias.any()
    glorot = Linear(300, 200, "glorot")
    torch.testing.assert_close(glorot.weight.abs().max().item(), (6 / 500) ** 0.5, rtol=1e-3, atol=0)
    assert not glorot.bias.any()
    kernel = Conv2d(16, 64, stride=1, bias=True)
    bound = (6 / (9 * (16 + 64))) ** 0.5
    assert 0.99 * bound < kernel.weight.abs().max() <= bound
    assert not kernel.bias.any()


def test_initial_convolutions_are_xavier_or_he():
    """Uniform within √(6 / (9 I + 9 O)), or normal with a variance of 2 / (9 O)."""
    torch.manual_seed(0)
    xavier, he = (Conv2d(40, 60, stride=1, bias=False, init=name).weight.detach() for name in (None, "he"))
    torch.testing.assert_close(xavier.abs().max(), torch.tensor((6 / 900) ** 0.5), rtol=1e-3, atol=0)
    torch.testing.assert_close(he.std(), torch.tensor((2 / 540) ** 0.5), rtol=0.02, atol=0)
    torch.testing.assert_close((he.abs() < he.std()).float().mean(), torch.tensor(0.683), rtol=0.02, atol=0)


def test_vmap_over_torchs_batch_norm_is_wrong_to_second_order():
    """Why layers are batched by hand. When this fails, torch has been mended and its vmap may be used.

    The fault needs a scale that is adapted with the rest: with a constant scale vmap is right.
    """
    torch.manual_seed(0)
    tasks = torch.randn(T, 6, C, dtype=torch.float64)
    weights = (torch.randn(C, C, dtype=torch.float64), torch.ones(C, dtype=torch.float64))

    def loss(weights, x):
        matrix, scale = weights
        return F.batch_norm(x @ matrix, None, None, scale, training=True).tanh().pow(3).mean()

    def adapted_loss(weights, x):
        gradient = torch.func.grad(loss)(weights, x)
        return loss(tuple(w - 0.5 * g for w, g in zip(weights, gradient, strict=True)), x)

    def meta_gradient(total):
        return torch.cat([g.flatten() for g in torch.func.grad(total)(weights)])

    loop = meta_gradient(lambda w: sum(adapted_loss(w, x) for x in tasks))
    vmapped = meta_gradient(lambda w: torch.vmap(adapted_loss, in_dims=(None, 0))(w, tasks).sum())
    error = ((vmapped - loop).norm() / loop.norm()).item()
    assert error > 1e-4, f"upstream mended: vmap over F.batch_norm is now right to second order (error {error:.0e})"
