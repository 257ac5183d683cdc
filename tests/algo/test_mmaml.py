"""MMAML: a task encoder modulates every layer of the body, and inner steps adapt the weights under it."""

from __future__ import annotations

import pytest
import torch
from build import Setup, build, small
from references import Named, assert_is_maml, assert_same, unrolled
from torch import Tensor, nn

from metabench.algo.mmaml import TAU
from metabench.errors import ConfigError

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


def modulated(data: str, *options: str) -> Setup:
    return build(*small("mmaml", data), "algo.inner_lr=0.2", *options, dtype=torch.float64)


@DATA
def test_without_modulation_it_is_maml(data):
    setup = modulated(data, "algo.inner_clip=null")
    with torch.no_grad():
        for p in setup.algo.encoder.encoder.vector[-1].parameters():
            p.zero_()
    assert_is_maml(setup.algo, setup.tasks(), 0.2)


@DATA
def test_the_meta_gradient_is_that_of_a_loop(data):
    setup = modulated(data, "algo.inner_clip=0.05")
    algo = setup.algo

    def read(weights: Named, x: Tensor, y: Tensor) -> Named:
        rows = iter(algo.encoder(x[None], y[None])[0].view(-1, 2))
        found = dict(weights)
        for site, channels in algo.sites.items():
            scale, shift = torch.stack([next(rows) for _ in range(channels)]).unbind(-1)
            w, b = weights[f"backbone.{site}.weight"], weights[f"backbone.{site}.bias"]
            found[f"backbone.{site}.weight"] = torch.einsum("i,i...->i...", 1 + scale, w)
            found[f"backbone.{site}.bias"] = (1 + scale) * b + shift
        return found

    def step(fast: Named, gradient: Named, *_: object) -> Named:
        return {name: w - 0.2 * gradient[name].clamp(-0.05, 0.05) for name, w in fast.items()}

    expected = unrolled(algo, setup.tasks(), step, read)
    algo(setup.tasks())[0].backward()
    assert_same(setup.gradients(), expected)


@pytest.mark.parametrize(("data", "layers"), [("sinusoid", "linears"), ("glyphs", "norms")])
def test_every_layer_of_the_body_is_modulated_and_the_head_is_not(data, layers):
    algo = modulated(data).algo
    sites = [algo.backbone.get_submodule(name) for name in algo.sites]
    expected: nn.ModuleList = getattr(algo.backbone, layers)
    assert sites == list(expected)


@DATA
def test_the_modulation_is_of_the_support_set_and_no_inner_step_moves_it(data):
    setup = modulated(data)
    tasks = setup.tasks()
    first, *_, last = setup.algo.trajectory(tasks.support)
    torch.testing.assert_close(first[TAU], setup.algo.encoder(*tasks.support))
    assert torch.equal(first[TAU], last[TAU])
    assert not torch.isclose(first[TAU][0], first[TAU][1]).all()
    assert all((last[name] != w).flatten(1).any(1).all() for name, w in first.items() if name != TAU)


def test_labels_do_not_reach_the_encoder_and_targets_do():
    for data, reached in (("glyphs", False), ("sinusoid", True)):
        setup = modulated(data)
        (x, y), algo = setup.tasks().support, setup.algo
        assert torch.equal(algo.encoder(x, y), algo.encoder(x, y.flip(1))) != reached


def test_a_backbone_that_has_no_scale_is_refused():
    with pytest.raises(ConfigError, match=r"backbone\.norm_scale"):
        modulated("glyphs", "backbone.norm_scale=false")


def test_the_encoder_reads_points_as_they_are():
    """Vuorio et al. 2019: a regressor whose weights begin near 0 leaves its task encoder able to see x."""
    setup = build(*small("mmaml", "sinusoid"), "backbone.init_std=0.01", "backbone.head_init=0.01", dtype=torch.float64)
    (x, y), encoder = setup.tasks().support, setup.algo.encoder
    before, other_x, other_y = encoder(x, y), encoder(x.flip(0), y), encoder(x, y.flip(0))
    assert (other_x - before).norm() > 0.2 * (other_y - before).norm()
