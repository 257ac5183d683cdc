"""The residual network: what plain torch computes, under one set of weights and under one per task; DropBlock."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import build
from torch import Tensor
from torch.func import functional_call

from metabench.backbone.drop_block import block_keys, drop_block
from metabench.backbone.resnet12 import ResNet12
from metabench.errors import ConfigError

SETTINGS = {
    "readout": "mean", "norm": "batch", "norm_eps": 1e-5, "statistics": "batch", "drop": 0.0, "drop_block": 5
}  # fmt: skip


def small(**changed) -> ResNet12:
    return ResNet12((3, 20, 17), **{"widths": [4, 5, 6, 8], **SETTINGS, **changed})


def plain(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network in torch's own functions, of images `[N, C, H, W]` under one set of weights."""

    def normed(x: Tensor, block: int, layer: int) -> Tensor:
        w = weights[f"blocks.{block}.convs.{layer}.weight"]
        scale, shift = (weights[f"blocks.{block}.norms.{layer}.{name}"] for name in ("weight", "bias"))
        return F.batch_norm(F.conv2d(x, w, padding=w.shape[-1] // 2), None, None, scale, shift, training=True)

    for block in range(4):
        y = F.leaky_relu(normed(x, block, 0), 0.1)
        y = normed(F.leaky_relu(normed(y, block, 1), 0.1), block, 2)
        x = F.max_pool2d(F.leaky_relu(y + normed(x, block, 3), 0.1), 2)
    return x.mean((-1, -2))


def test_it_is_plain_torch_task_by_task_under_shared_and_own_weights():
    net, x = small().double(), torch.rand(3, 6, 3, 20, 17, dtype=torch.float64)
    weights = {name: w + 0.1 * torch.randn_like(w) for name, w in net.state_dict().items()}
    shared = functional_call(net, weights, (x,))
    torch.testing.assert_close(shared, torch.stack([plain(weights, one) for one in x]))
    own = {name: torch.stack([w + 0.1 * torch.randn_like(w) for _ in x]) for name, w in weights.items()}
    found = functional_call(net, own, (x,))
    torch.testing.assert_close(
        found, torch.stack([plain({n: w[t] for n, w in own.items()}, one) for t, one in enumerate(x)])
    )


def test_gradients_through_an_inner_step_are_plain_torchs():
    """Second order, through the 3x3 and the 1x1 convolutions."""
    net, x = small().double(), torch.rand(2, 4, 3, 20, 17, dtype=torch.float64)
    start = {name: w.clone().requires_grad_() for name, w in net.state_dict().items()}

    def meta_gradient(loss) -> list[Tensor]:
        """Of the loss after a step of `loss(weights, t)`, summed over tasks, by the initial weights."""
        return list(torch.autograd.grad(loss(), list(start.values())))

    def together() -> Tensor:
        own = {name: w.expand(2, *w.shape) for name, w in start.items()}
        inner = functional_call(net, own, (x,)).square().sum()
        steps = torch.autograd.grad(inner, list(own.values()), create_graph=True)
        moved = {name: w - 0.01 * g for (name, w), g in zip(own.items(), steps, strict=True)}
        return functional_call(net, moved, (x,)).pow(3).sum()

    def one_by_one() -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for one in x:
            steps = torch.autograd.grad(plain(start, one).square().sum(), list(start.values()), create_graph=True)
            moved = {name: w - 0.01 * g for (name, w), g in zip(start.items(), steps, strict=True)}
            total = total + plain(moved, one).pow(3).sum()
        return total

    for found, expected in zip(meta_gradient(together), meta_gradient(one_by_one), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_published_size():
    """12.4 million weights, 640 features of an 84x84 image, 5x5 maps."""
    net = ResNet12((3, 84, 84), widths=[64, 160, 320, 640], **SETTINGS)
    assert sum(p.numel() for p in net.parameters()) == 12_424_320
    assert (net.feature_size, net.map_shape) == (640, (640, 5, 5))
    assert small(readout="flatten").feature_size == 8


def test_images_that_are_too_small_or_no_images_are_refused():
    for shape in ((3, 15, 20), (1,)):
        with pytest.raises(ConfigError):
            ResNet12(shape, widths=[4, 5, 6, 8], **SETTINGS)


def test_drop_block_drops_squares_and_keeps_the_mean():
    keys = block_keys(torch.rand(2, 100, 3, 4, 4))
    dropped = drop_block(torch.ones(100, 2, 8, 10, 10), keys, 0, 0.1, 3)
    torch.testing.assert_close(dropped.mean((2, 3, 4)), torch.ones(100, 2))
    gone = (dropped == 0).float()
    assert 0.07 < gone.mean() < 0.11  # squares overlap
    whole = F.avg_pool2d(gone.flatten(0, 1), 3, stride=1) == 1
    covered = F.max_pool2d(F.pad(whole.float(), (2,) * 4), 3, stride=1)
    assert torch.equal(covered, gone.flatten(0, 1))  # every dropped pixel is in a dropped square


def test_drop_block_is_a_function_of_the_episode_and_of_training_alone():
    net, x = small(drop=0.2), torch.rand(3, 6, 3, 20, 17)
    whole = net.train()(x)
    torch.testing.assert_close(whole[1:], net(x[1:]))
    order = torch.randperm(6)
    torch.testing.assert_close(net(x[:, order]), whole[:, order], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(net(x[:, :5]), whole[:, :5], atol=1e-2)  # another set, other places


@pytest.mark.slow
@pytest.mark.parametrize("algo", ["maml", "protonet"])
def test_it_trains_with_what_adapts_it_and_what_does_not(algo):
    own = ("data=glyphs", "backbone=resnet12", "backbone.widths=[2,2,2,4]", "train.tasks=2", "data.train.ways=5")
    setup = build(f"algo={algo}", *own)
    before = [p.clone() for p in setup.algo.parameters()]
    setup.step(0, setup.tasks(count=2))
    assert all(p.isfinite().all() for p in setup.algo.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, setup.algo.parameters(), strict=True))
