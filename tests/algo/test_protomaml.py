"""ProtoMAML starts as a prototypical network, or as a ridge regression, and goes on as MAML."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from build import Setup, build, small
from references import LOSS, assert_same, each

from metabench.algo.protomaml import ridge_head

NETWORKS = (("backbone.statistics=batch",), ("backbone.statistics=running",), ("backbone.norm=layer",))


def double(algo: str, data: str, *overrides: str) -> Setup:
    return build(*small(algo, data), *overrides, dtype=torch.float64)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_it_starts_at_the_predictions_of_a_prototypical_network(network):
    ours = double("protomaml", "glyphs", *network)
    theirs = double("protonet", "glyphs", *network)
    theirs.algo.backbone.load_state_dict(ours.algo.backbone.state_dict())
    support, query = ours.tasks("test")[:2]
    with torch.no_grad():
        z = ours.algo.eval().backbone(query.x)
        found = ours.algo.outputs(support, query.x)[0]
        expected = theirs.algo.eval().predict(theirs.algo.adapt(support), query.x)
    torch.testing.assert_close(found, expected + z.square().sum(-1, keepdim=True), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.softmax(-1), expected.softmax(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("examples", [3, 30], ids=["fewer points than features", "more"])
def test_on_regression_it_starts_at_the_solution_of_a_library(examples):
    """numpy's least squares on the points and, for λ, one more equation for each weight."""
    torch.manual_seed(0)
    z, y = torch.randn(2, examples, 6).double(), torch.randn(2, examples, 2).double()
    weight, bias = ridge_head(z, y, 0.1)
    for i in range(2):
        x = np.concatenate([z[i].numpy(), np.ones((examples, 1))], axis=1) / np.sqrt(examples)
        rows = np.concatenate([x, np.sqrt(0.1) * np.eye(7)])
        expected = np.linalg.lstsq(rows, np.concatenate([y[i].numpy() / np.sqrt(examples), np.zeros((7, 2))]))[0]
        np.testing.assert_allclose(
            torch.cat([weight[i], bias[i, :, None]], 1).numpy(), expected.T, rtol=1e-9, atol=1e-9
        )


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_meta_gradient_goes_through_the_start_and_the_steps(data):
    """Task after task, by autograd on the network as a function."""
    setup = double("protomaml", data, "algo.inner_lr=0.1")
    algo, tasks = setup.algo, setup.tasks()
    loss = LOSS[setup.source.spec.objective]
    weights = {k: p for k, p in algo.network.named_parameters() if "head" not in k}
    moving = [k for k in weights if "norms" not in k]
    for x, y, query_x, query_y in each(tasks):
        z = algo.backbone(x[None])[0]
        if data == "glyphs":
            c = torch.stack([z[y == way].mean(0) for way in range(4)])
            head = {"head.weight": 2 * c, "head.bias": -(c * c).sum(1)}
        else:
            design = torch.cat([z, torch.ones(len(z), 1).double()], 1)
            both = torch.linalg.inv(design.T @ design / len(z) + algo.ridge * torch.eye(9).double()) @ design.T @ y
            head = {"head.weight": both[:-1].T / len(z), "head.bias": both[-1] / len(z)}
        fast = {**{k: weights[k].clone() for k in moving}, **head}  # the start of the head is no part of a step
        for _ in range(2):
            output = torch.func.functional_call(algo.network, fast, (x[None],))[0]
            found = torch.autograd.grad(loss(output, y), list(fast.values()), create_graph=True)
            fast = {k: w - 0.1 * g for (k, w), g in zip(fast.items(), found, strict=True)}
        (loss(torch.func.functional_call(algo.network, fast, (query_x[None],))[0], query_y) / 3).backward()
    expected = setup.gradients()
    algo.zero_grad()
    algo(tasks)[0].backward()
    assert_same(setup.gradients(), expected, tolerance=1e-8)


def test_inner_steps_fit_the_support_set():
    setup = double("protomaml", "sinusoid", "algo.inner_lr=1e-4")
    algo, (x, y) = setup.algo.eval(), setup.tasks("test").support
    with torch.no_grad():
        losses = [LOSS["mse"](output, y) for output in algo.outputs(setup.tasks("test").support, x)]
    assert (torch.stack(losses).diff(dim=0) < 0).all()


def test_training_and_test_may_have_different_ways():
    setup = build(*small("protomaml", "glyphs"), "data.train.ways=6")
    assert setup.train(1)[0].isfinite().all()
    tasks = setup.tasks("test")
    assert setup.algo.eval().solve(tasks.support, tasks.query.x).shape[-1] == 4


def test_first_order_takes_inner_gradients_for_constants_and_keeps_the_start():
    setups = {first: double("protomaml", "glyphs", f"algo.first_order={first}") for first in ("true", "false")}
    losses = [setup.algo(setup.tasks())[0] for setup in setups.values()]
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    for loss in losses:
        loss.backward()
    name = "backbone.convs.0.weight"
    first, second = (setup.gradients()[name] for setup in setups.values())
    assert first.any()
    assert not torch.allclose(first, second)
