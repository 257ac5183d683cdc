"""BOIL adapts the body and nothing else: what ANIL leaves alone."""

from __future__ import annotations

import pytest
import torch
from build import build, small
from references import Named, as_maml, assert_same, unrolled

from metabench.errors import ConfigError

DATA = pytest.mark.parametrize("data", ["sinusoid", "glyphs"])


@DATA
def test_what_adapts_is_what_does_not_in_anil(data):
    boil, anil = (build(*small(algo, data), "algo.adapt_norm=true").algo for algo in ("boil", "anil"))
    head = {f"head.{name}" for name in anil.adapted()}
    assert boil.adapted().keys() == as_maml(boil, 0.1).adapted().keys() - head


@DATA
def test_the_meta_gradient_is_that_of_a_loop(data):
    setup = build(*small("boil", data), "algo.inner_lr=0.2", dtype=torch.float64)

    def step(fast: Named, gradient: Named, *_: object) -> Named:
        return {name: w - 0.2 * gradient[name] for name, w in fast.items()}

    expected = unrolled(setup.algo, setup.tasks(), step)
    setup.algo(setup.tasks())[0].backward()
    assert_same(setup.gradients(), expected)
    assert {"network.head.weight", "network.head.bias"} <= expected.keys()


@DATA
def test_features_change_and_the_head_does_not(data):
    setup = build(*small("boil", data), dtype=torch.float64)
    algo, tasks = setup.algo.eval(), setup.tasks("test")
    with torch.no_grad():
        state = algo.adapt(tasks.support)
        body = {name.removeprefix("backbone."): w for name, w in state.items()}
        features = torch.func.functional_call(algo.backbone, body, (tasks.query.x,))
        torch.testing.assert_close(algo.predict(state, tasks.query.x), algo.network.head(features))
        assert (features != algo.backbone(tasks.query.x)).flatten(1).any(1).all()


def test_one_step_of_body_and_one_of_head_are_one_of_maml():
    """MAML's step is both, from the same point."""
    steps = {a: build(*small(a, "sinusoid"), "algo.eval_inner_steps=1", dtype=torch.float64) for a in ("maml", "boil")}
    steps["anil"] = build(*small("anil", "sinusoid"), "algo.eval_inner_steps=1", dtype=torch.float64)
    tasks = steps["maml"].tasks("test")
    for setup in steps.values():
        setup.algo.load_state_dict(steps["maml"].algo.state_dict())
    with torch.no_grad():
        maml, boil, anil = (steps[a].algo.eval().adapt(tasks.support) for a in ("maml", "boil", "anil"))
    both = {**boil, **{f"head.{name}": w for name, w in anil.items()}}
    assert_same({name: both[name] for name in maml}, maml, tolerance=1e-12)


def test_a_backbone_without_layers_is_refused():
    with pytest.raises(ConfigError, match=r"backbone\.hidden"):
        build("algo=boil", "data=glyphs", "backbone=mlp_pixels")
