"""Every engine computes the gradient of a plain loop over tasks, for every algorithm and backbone, in float64."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from build import ALGOS, Setup, build, class_of, small
from cases import CASES, NOT_TRAINED, over
from references import LOSS, Plain, adapting, each
from torch import Tensor

from metabench.backbone.batch_norm import batch_norm
from metabench.backbone.bilinear import Convolution, Product
from metabench.engine import compiled
from metabench.engine.compiled import Compiled, CompileError
from metabench.engine.cuda_graph import CudaGraphStep, GraphError
from metabench.engine.meta_step import MetaStep

READERS = [algo for algo in ALGOS if "sequence" in class_of(algo).settings]
STREAMS = [(algo, "glyphs_sequence", "data.shots=1", "data.train.shots=1") for algo in READERS]
TRAINED = [case for case in CASES if case[0] not in NOT_TRAINED]
INNER = ["maml", "anil", "boil", "metasgd", "metacurvature", "mamlpp", "alfa", "cavia", "mtnet", "mmaml", "protomaml"]
SECOND_ORDER = [case for case in TRAINED if case[0] in INNER]
BACKBONES = [
    (f"backbone.pool={pool}", f"backbone.readout={readout}", f"backbone.norm={norm}", f"backbone.norm_scale={scale}")
    for pool, readout, norm, scale in itertools.product(
        ("max", "stride"), ("flatten", "mean"), ("batch", "group", "layer", "none"), ("true", "false")
    )
]


def double(case: tuple[str, ...], *overrides: str) -> Setup:
    return build(*small(*case, *overrides), dtype=torch.float64)


def same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance, msg=name)


def result(setup: Setup, index: int, chunk: int = 3) -> dict[str, Tensor]:
    """Gradients, buffers and metrics of one batch."""
    setup.algo.zero_grad()
    chunk = 3 if setup.algo.coupled else chunk  # which is never taken in parts
    metrics = setup.step.accumulate(setup.tasks(index=index), chunk)
    found = {**setup.gradients(), **dict(setup.algo.named_buffers()), **metrics}
    return {name: value.detach().clone() for name, value in found.items()}


@pytest.fixture
def uncompiled(monkeypatch):
    """What is recorded runs as it is: the compiler itself takes most of a minute a case."""
    monkeypatch.setattr(compiled.torch, "compile", lambda recorded, **_: recorded)


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("case", [*TRAINED, *STREAMS], ids="-".join)
def test_what_is_recorded_is_the_loop_over_tasks_for_other_weights_and_tasks_too(case):
    setup = double(case)
    loop = copy.deepcopy(setup)
    record = Compiled(setup.algo, setup.step.precision)
    for index in (0, 3):  # recorded on the first
        setup.algo.zero_grad()
        metrics = record(setup.tasks(index=index), 1.0)
        found = {**setup.gradients(), **dict(setup.algo.named_buffers()), **metrics}
        same(found, result(loop, index, chunk=1))
        with torch.no_grad():
            for a, b in zip(setup.algo.parameters(), loop.algo.parameters(), strict=True):
                a.mul_(1.25)
                b.mul_(1.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chunk", "case"),
    [
        (2, ("maml", "sinusoid")),  # chunks of two sizes
        (3, ("reptile", "sinusoid")),
        (3, ("protonet", "glyphs")),  # buffers that move
        (3, ("mtnet", "sinusoid")),  # noise from a hash of the support set
    ],
)
def test_what_is_compiled_is_the_loop_over_tasks(chunk, case):
    setup = double(case, "engine=compile", f"chunk={chunk}")
    loop = double(case, "engine=eager", "chunk=1")
    step, reference = setup.step, loop.step
    for i in range(3):
        tasks = setup.tasks(index=3 * i)
        torch.testing.assert_close(step(i, tasks), reference(i, tasks), rtol=1e-9, atol=1e-9)
    same(setup.algo.state_dict(), loop.algo.state_dict(), tolerance=1e-7)


@pytest.mark.parametrize("options", BACKBONES, ids="-".join)
def test_the_gradient_is_that_of_torchs_own_modules_for_every_backbone(options):
    """MAML by torch.nn, one task after another, with `torch.autograd` through two inner steps."""
    scale = ("algo.adapt_norm=true",) if "backbone.norm=none" not in options else ()
    setup = double(("maml", "glyphs", *options, *scale, "algo.inner_lr=0.2"))
    tasks, loss = setup.tasks(), LOSS[setup.source.spec.objective]
    net = Plain(setup.algo.network)
    names = {id(p): name for name, p in net.named_parameters()}
    moving = [names[id(p)] for p in adapting(setup.algo, net)]
    for x, y, query_x, query_y in each(tasks):
        fast = {name: p for name, p in net.named_parameters() if name in moving}
        for _ in range(setup.algo.inner_steps):
            inner = loss(torch.func.functional_call(net, fast, (x,)), y)
            found = torch.autograd.grad(inner, list(fast.values()), create_graph=True)
            fast = {name: w - 0.2 * g for (name, w), g in zip(fast.items(), found, strict=True)}
        (loss(torch.func.functional_call(net, fast, (query_x,)), query_y) / len(tasks)).backward()
    setup.algo(tasks)[0].backward()
    found, expected = setup.gradients(), net.gradients()
    assert found.keys() == {name for name in expected if name in dict(setup.algo.named_parameters())}
    for name, value in found.items():
        error = (value - expected[name]).norm() / expected[name].norm().clamp_min(1e-12)
        assert error < 1e-9, f"{name}: relative error {error:.1e}"


@pytest.mark.slow
@pytest.mark.parametrize("maps", [Product(), Convolution(1), Convolution(2)], ids=["product", "conv", "strided"])
@pytest.mark.parametrize("own", [True, False], ids=["own weights", "one set, expanded"])
def test_bilinear_maps_agree_with_finite_differences_to_second_order(maps, own):
    torch.manual_seed(0)
    if isinstance(maps, Product):
        x, w = torch.randn(3, 4, 2).double(), torch.randn(3, 5, 2).double()
    else:
        x, w = torch.randn(2, 3, 2, 5, 4).double(), torch.randn(3, 4, 2, 3, 3).double()
    w = w if own else w[0]

    def apply(x, w):
        return maps(x, w if own else w.expand(3, *w.shape))

    given = (x.requires_grad_(), w.requires_grad_())
    assert torch.autograd.gradcheck(apply, given)
    assert torch.autograd.gradgradcheck(apply, given)
    with torch.no_grad():
        without = apply(*given)
    torch.testing.assert_close(apply(*given), without)


def test_batch_norm_agrees_with_finite_differences_to_second_order_and_says_that_it_ends_there():
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(s, dtype=torch.float64).requires_grad_() for s in ((4, 3, 2, 3), (3,), (3,)))

    def apply(x, weight, bias):
        return batch_norm(x, weight, bias, 1e-3)[0]

    assert torch.autograd.gradcheck(apply, (x, weight, bias))
    assert torch.autograd.gradgradcheck(apply, (x, weight, bias))
    (first,) = torch.autograd.grad(apply(x, weight, bias).pow(3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.pow(2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()


@over(SECOND_ORDER)
@pytest.mark.parametrize("steps", [1, pytest.param(4, marks=pytest.mark.slow), 5])
def test_rematerialisation_changes_no_gradient(case, steps):
    kept, again = (double(case, f"algo.inner_steps={steps}", f"remat={remat}") for remat in ("false", "true"))
    same(result(again, 0), result(kept, 0), tolerance=1e-11)


def test_rematerialisation_changes_no_gradient_where_the_meta_step_decides_its_order():
    """MAML++'s second meta-step is the first with second derivatives; its backward pass comes after the count."""
    kept, again = (double(("mamlpp", "glyphs"), "algo.first_order_steps=2", f"remat={r}") for r in ("false", "true"))
    for index in range(4):
        same(result(again, index), result(kept, index), tolerance=1e-11)


def test_an_algorithm_that_cannot_be_compiled_falls_back_only_where_the_engine_was_automatic(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no such thing\nat all")

    monkeypatch.setattr(compiled.torch, "compile", fail)
    options = ("engine=auto", "train.steps=100000")
    auto, eager, strict = (
        build(*small("maml", "sinusoid"), *o) for o in (options, ("engine=eager",), ("engine=compile",))
    )
    assert auto.plan.engine == "compile"
    with pytest.warns(UserWarning, match="RuntimeError: no such thing"):
        found = auto.train(2)
    assert all(torch.equal(a, b) for a, b in zip(found, eager.train(2), strict=True))
    with pytest.raises(CompileError, match=r"no such thing\); use engine=eager"):
        strict.train(1)


def test_a_graphed_step_replays_on_new_tasks_and_undoes_its_warm_up(monkeypatch):
    """With a stand-in for CUDA whose graph runs the captured function; test_cuda.py has the real one."""

    class Stand:
        def __init__(self, *_, **__):
            self.again = lambda: None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def wait_stream(self, _):
            pass

        def replay(self):
            fresh = engine.update(engine.tasks)
            for name, value in engine.metrics.items():
                value.copy_(fresh[name])

    captured = []

    class Capture(Stand):  # a capture records and runs nothing: what it changes is put back
        def __enter__(self):
            captured.append([t.clone() for t in state()])

        def __exit__(self, *_):
            for tensor, value in zip(state(), captured.pop(), strict=True):
                tensor.copy_(value)

    for name in ("CUDAGraph", "Stream", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Stand)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    setup, plain = (build(*small("reptile", "sinusoid")) for _ in range(2))

    def state() -> list[Tensor]:
        return [p.data for p in (*setup.algo.parameters(), *setup.algo.buffers())] + list(engine._state())

    engine = CudaGraphStep(setup.step._update, setup.algo, setup.optimizer)
    found = [engine(setup.tasks(index=3 * i))["loss"] for i in range(4)]
    expected = plain.train(4)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
    same(setup.algo.state_dict(), plain.algo.state_dict(), tolerance=1e-6)


@pytest.mark.parametrize("leaving", [True, False], ids=["leaving the capture fails too", "it does not"])
def test_a_step_that_cannot_be_captured_falls_back_only_where_the_engine_was_automatic(monkeypatch, leaving):
    class Refuses:
        def __init__(self, *_, **__):
            pass

        def __enter__(self):
            torch.Tensor.add_ = refuse

        def __exit__(self, *_):
            torch.Tensor.add_ = add
            if leaving:
                raise RuntimeError("operation failed due to a previous error during capture")

    def refuse(*_, **__):
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    add = torch.Tensor.add_
    monkeypatch.setattr(torch.cuda, "graph", Refuses)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Refuses)
    monkeypatch.setattr(torch.cuda, "Stream", Refuses)
    monkeypatch.setattr(CudaGraphStep, "_warm_up", lambda *_: None)
    cases = (small("maml", "sinusoid"), "optim=sgd", "optim.momentum=0.9")
    auto, strict, eager = (build(*cases[0], *cases[1:]) for _ in range(3))
    plan = replace(eager.plan, engine="graph")
    steps = [
        MetaStep(setup.algo, setup.optimizer, setup.config.train, setup.config.device, replace(plan, fallback=fallback))
        for setup, fallback in ((auto, True), (strict, False))
    ]
    with pytest.warns(UserWarning, match=r"engine=graph failed \(operation not permitted when stream is capturing\)"):
        first = steps[0](0, auto.tasks())["loss"]
    assert torch.equal(first, eager.step(0, eager.tasks())["loss"])
    assert isinstance(auto.optimizer.param_groups[0]["lr"], float)
    with pytest.raises(GraphError, match="use engine=eager"):
        steps[1](0, strict.tasks())


def test_eager_adds_to_the_gradient_what_its_share_is():
    setup = double(("maml", "sinusoid"))
    whole = result(setup, 0)
    setup.algo.zero_grad()
    for _ in range(4):
        setup.step.eager(setup.tasks(), 0.25)
    same(setup.gradients(), {name: whole[name] for name in setup.gradients()}, tolerance=1e-12)
