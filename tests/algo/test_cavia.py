"""CAVIA adapts a context vector, and nothing else."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from build import Setup, build, small
from references import Plain, PlainMLP, assert_same, each
from torch import nn

from metabench.errors import ConfigError


def double(data: str, *overrides: str) -> Setup:
    return build(*small("cavia", data), *overrides, dtype=torch.float64)


def test_on_points_it_is_a_plain_network_with_longer_inputs():
    """The whole of it in plain torch, one task after another."""
    setup = double("sinusoid", "algo.context=3", "algo.inner_steps=2", "algo.inner_lr=0.5")
    net = nn.ModuleDict({"backbone": PlainMLP(setup.algo.backbone), "head": nn.Linear(8, 1)}).double()
    net.load_state_dict(setup.algo.network.state_dict())
    tasks = setup.tasks()

    def run(x, context):
        return net["head"](net["backbone"](torch.cat([x, context.expand(len(x), 3)], dim=1)))

    for x, y, query_x, query_y in each(tasks):
        context = torch.zeros(3).double().requires_grad_()
        for _ in range(2):
            (found,) = torch.autograd.grad(F.mse_loss(run(x, context), y), context, create_graph=True)
            context = context - 0.5 * found
        (F.mse_loss(run(query_x, context), query_y) / 3).backward()
    setup.algo(tasks)[0].backward()
    expected = {name: p.grad for name, p in net.named_parameters()}
    assert_same({name.removeprefix("network."): g for name, g in setup.gradients().items()}, expected)


def test_on_images_the_context_scales_and_shifts_the_channels_of_the_block():
    """The same in plain torch, where a normalisation without parameters is followed by the modulation."""
    setup = double("glyphs", "algo.context=6", "algo.blocks=[2,3]", "algo.inner_steps=2", "algo.inner_lr=0.5")
    tasks = setup.tasks()
    net, films = Plain(setup.algo.network), {}
    names = iter(setup.algo.film)
    for block in (1, 2):
        films[block] = [w.detach().clone().requires_grad_() for w in (next(names), next(names))]

    def run(x, context):
        for i, (conv, norm) in enumerate(zip(net.backbone.convs, net.backbone.norms, strict=True)):
            h = conv(x)
            scale, shift = norm.weight, norm.bias
            if i in films:
                scale, shift = scale + films[i][0] @ context, shift + films[i][1] @ context
            h = F.batch_norm(h, None, None, training=True, eps=norm.eps)
            x = F.max_pool2d((h * scale[:, None, None] + shift[:, None, None]).relu(), 2)
        return net.head(x.flatten(1))

    for x, y, query_x, query_y in each(tasks):
        context = torch.zeros(6).double().requires_grad_()
        for _ in range(2):
            (found,) = torch.autograd.grad(F.cross_entropy(run(x, context), y), context, create_graph=True)
            context = context - 0.5 * found
        (F.cross_entropy(run(query_x, context), query_y) / 3).backward()
    setup.algo(tasks)[0].backward()
    expected = net.gradients()
    expected |= {f"film.{2 * (block - 1) + i}": w.grad for block in films for i, w in enumerate(films[block])}
    found = setup.gradients()
    assert_same(found, {name: expected[name] for name in found})


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_state_of_a_task_is_its_context(data):
    setup = double(data, "algo.context=4")
    tasks = setup.tasks()
    state = setup.algo.adapt(tasks.support)
    assert {name: w.shape for name, w in state.items()} == {"context": (3, 4)}
    assert state["context"].any()


def test_before_adaptation_all_tasks_are_one():
    setup = double("sinusoid")
    algo, tasks = setup.algo.eval(), setup.tasks("test")
    x = tasks.query.x[:1].expand_as(tasks.query.x)
    first = algo.outputs(tasks.support, x)
    assert torch.equal(first[0][0], first[0][1])
    assert not torch.isclose(first[-1][0], first[-1][1]).any()


def test_what_a_context_cannot_condition_is_refused():
    with pytest.raises(ConfigError, match=r"algo\.condition.*mlp"):
        build(*small("cavia", "glyphs"), "algo.condition=input")
    with pytest.raises(ConfigError, match=r"algo\.blocks.*\[1, 2, 3, 4\]"):
        build(*small("cavia", "glyphs"), "algo.blocks=[5]")
    with pytest.raises(ConfigError, match=r"algo\.blocks"):
        build(*small("cavia", "glyphs"), "backbone.norm_scale=false")
    with pytest.raises(ConfigError, match=r"algo\.blocks"):
        build(*small("cavia", "sinusoid"), "algo.condition=film")
