"""The outer update: schedules, clipping, and a chunk size that is a fact of the configuration.

That every chunk gives the same gradient is proven for every algorithm in test_contract.py.
"""

from __future__ import annotations

import math

import pytest
import torch
from build import build, composed, pairs, small
from cases import ONE_OF_EACH_FAMILY, over

from metabench.engine.cost import saved_bytes
from metabench.engine.plan import pick_chunk
from metabench.optim import schedule, set_learning_rate


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25, 0]),
        ("cosine", [1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0]),
        ("halve", [1, 0.5, 0.25, 0.125, 0.0625]),
    ],
)
def test_schedules(name, expected):
    train = composed("train.steps=400", f"train.schedule={name}", "train.halve_every=100").train
    assert [schedule(train, step) for step in range(0, 401, 100)] == pytest.approx(expected)


def test_the_learning_rate_is_the_configured_one_times_the_schedule():
    setup = build(*small("maml", "sinusoid"), "train.steps=4", "train.schedule=linear", "optim.lr=0.02")
    step = setup.step
    for i, factor in enumerate((1, 0.75, 0.5, 0.25)):
        step(i, setup.tasks())
        assert setup.optimizer.param_groups[0]["lr"] == pytest.approx(0.02 * factor)


def test_a_graph_reads_its_learning_rate_from_one_tensor_on_the_device_of_the_weights():
    weight = torch.nn.Parameter(torch.zeros(2, device="meta"))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1)  # as a checkpoint of a graphed run is loaded: on the CPU
    set_learning_rate(optimizer, 0.1, graphed=True)
    first = optimizer.param_groups[0]["lr"]
    assert (first.device, first.dtype, first.shape) == (weight.device, torch.float32, ())
    set_learning_rate(optimizer, 0.05, graphed=True)
    assert optimizer.param_groups[0]["lr"] is first
    set_learning_rate(optimizer, 0.05, graphed=False)
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_a_step_is_the_optimisers_on_the_mean_gradient():
    setup = build(*small("maml", "sinusoid"), "optim=sgd", "optim.lr=0.1", dtype=torch.float64)
    before = [p.detach().clone() for p in setup.algo.parameters()]
    tasks = setup.tasks()
    gradient = torch.autograd.grad(setup.algo(tasks)[0], list(setup.algo.parameters()))
    for _ in range(2):  # old gradients do not linger
        for p, value in zip(setup.algo.parameters(), before, strict=True):
            p.data.copy_(value)
        setup.step(0, tasks)
    for p, value, g in zip(setup.algo.parameters(), before, gradient, strict=True):
        torch.testing.assert_close(p.data, value - 0.1 * g, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3])
def test_clipping_bounds_the_norm_of_the_whole_gradient(chunk):
    options = (*small("maml", "sinusoid"), "optim=sgd", "optim.lr=1.0", f"chunk={chunk}")
    moved = {}
    for clip in ("null", "0.01"):
        setup = build(*options, f"train.clip={clip}", dtype=torch.float64)
        before = torch.nn.utils.parameters_to_vector(setup.algo.parameters()).detach()
        setup.step(0, setup.tasks())
        moved[clip] = torch.nn.utils.parameters_to_vector(setup.algo.parameters()).detach() - before
    assert moved["null"].norm() > 0.01
    assert moved["0.01"].norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.cosine_similarity(moved["null"], moved["0.01"], dim=0).item() == pytest.approx(1)


def test_metrics_come_in_the_order_of_tasks():
    setup = build(*small("maml", "sinusoid"), "chunk=2")
    with torch.enable_grad():
        expected = setup.algo(setup.tasks())[1]
    for name, value in setup.step(0, setup.tasks()).items():
        torch.testing.assert_close(value, expected[name])


@over([case for case in pairs() if case[1] == "glyphs"], quick=ONE_OF_EACH_FAMILY)
def test_the_chunk_does_not_depend_on_the_state_of_memory(case):
    setup = build(*small(*case))
    tasks, before = setup.tasks(), {k: v.clone() for k, v in setup.algo.state_dict().items()}
    sizes, litter = set(), []
    for i in range(10):
        sizes.add(saved_bytes(setup.algo, tasks))
        litter = [torch.empty(977 * j) for j in range(i)]
    assert len(litter) == 9
    assert len(sizes) == 1
    assert all(torch.equal(value, before[name]) for name, value in setup.algo.state_dict().items())


def test_memory_grows_with_tasks_and_with_second_order():
    def kept(algo: str, count: int) -> int:
        setup = build(*small(algo, "glyphs"))
        return saved_bytes(setup.algo, setup.tasks(count=count))

    assert kept("maml", 6) == pytest.approx(2 * kept("maml", 3), rel=0.1)
    assert kept("maml", 3) > 2 * kept("fomaml", 3)


def test_a_chunk_is_what_is_set_or_as_many_tasks_as_fit(monkeypatch):
    setup = build(*small("maml", "glyphs"))
    tasks = setup.tasks()
    one = saved_bytes(setup.algo, tasks.tasks(0, 1))
    monkeypatch.setattr("metabench.engine.plan.CPU_BUDGET", 5 * one)
    assert pick_chunk(7, setup.algo, tasks) == 7
    assert pick_chunk("auto", setup.algo, tasks) == 5
    monkeypatch.setattr("metabench.engine.plan.CPU_BUDGET", one // 2)
    assert pick_chunk("auto", setup.algo, tasks) == 1


def test_an_automatic_chunk_trains_as_a_set_one(monkeypatch):
    monkeypatch.setattr("metabench.engine.plan.CPU_BUDGET", 0)  # one task at a time
    auto, whole = (build(*small("maml", "glyphs"), f"chunk={n}", dtype=torch.float64) for n in ("auto", 3))
    for a, b in zip(auto.train(2), whole.train(2), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("algo", "modules"), [("relationnet", ("backbone", "relation")), ("mmaml", ("network", "encoder"))]
)
def test_each_module_may_be_clipped_by_itself(algo, modules):
    """By their codes: encoder and relation module (Sung et al. 2018), network and task encoder (Vuorio et al. 2019)."""
    options = (*small(algo, "glyphs"), "optim=sgd", "optim.lr=1.0", "train.clip=0.001")
    setup = build(*options, "train.clip_each=module", dtype=torch.float64)
    parts = [setup.algo.get_submodule(name) for name in modules]
    before = [torch.nn.utils.parameters_to_vector(part.parameters()).detach().clone() for part in parts]
    setup.train(1)
    for part, old in zip(parts, before, strict=True):
        moved = torch.nn.utils.parameters_to_vector(part.parameters()).detach() - old
        torch.testing.assert_close(moved.norm().item(), 0.001, rtol=1e-3, atol=0)
