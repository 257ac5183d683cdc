"""The same program on a GPU: the same tasks and the same gradient as on the CPU, and every precision."""

from __future__ import annotations

import io

import pytest
import torch
from build import pairs, small
from cases import NOT_TRAINED

from metabench.config.compose import compose
from metabench.runs.run_dir import RunDirectory
from metabench.training.components import Components
from metabench.training.loop import Training
from metabench.utils.console import Display
from metabench.utils.oom import OutOfMemoryError
from metabench.utils.signals import SignalHandler

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
SMALL = ("train.tasks=3", "log.pictures=false")
CASES = [
    ("data=sinusoid", "algo=maml"),
    ("data=glyphs", "algo=maml", "backbone.filters=8"),
    ("data=glyphs", "algo=protonet", "backbone.filters=8", "data.train.ways=5"),
    ("data=glyphs", "algo=reptile", "backbone.filters=8"),
]
TRAINED = [case for case in pairs() if case[0] not in NOT_TRAINED]


def pair(*overrides: str) -> tuple[Components, Components]:
    cpu, gpu = (Components(compose(*overrides, *SMALL, f"device={device}"), Display()) for device in ("cpu", "cuda"))
    gpu.algo.load_state_dict(cpu.algo.state_dict())
    return cpu, gpu


@pytest.mark.parametrize("overrides", CASES)
def test_tasks_are_those_of_the_cpu(overrides):
    cpu, gpu = pair(*overrides)
    for split in ("train", "validation", "test"):
        ours, theirs = cpu.source.sample(split, 5, 4), gpu.source.sample(split, 5, 4)
        for part in ("support", "query"):
            for a, b in zip(getattr(ours, part), getattr(theirs, part), strict=True):
                torch.testing.assert_close(b.cpu(), a, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("overrides", CASES)
def test_the_gradient_is_that_of_the_cpu(overrides):
    cpu, gpu = pair(*overrides)
    for run in (cpu, gpu):
        run.algo.train().double()
        run.meta_step.accumulate(run.source.sample("train", 0, 3).to(torch.float64), 2)
    for (name, a), b in zip(cpu.algo.named_parameters(), gpu.algo.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=1e-7, atol=1e-9, msg=name)


@pytest.mark.parametrize("overrides", CASES)
@pytest.mark.parametrize("engine", ["graph", "compile"])
def test_every_engine_trains_as_the_eager_one(overrides, engine):
    eager, other = (
        Components(compose(*overrides, *SMALL, "device=cuda", f"engine={e}"), Display()) for e in ("eager", engine)
    )
    other.algo.load_state_dict(eager.algo.state_dict())
    for step in range(5):
        found, expected = (run.meta_step(step, run.loader(step))["loss"] for run in (other, eager))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("case", TRAINED, ids="-".join)
def test_every_algorithm_is_captured_and_evaluated(case):
    """By engine=graph alone: engine=auto would fall back to the eager one."""
    options = (*small(*case), *SMALL, "device=cuda")
    eager, graph = (Components(compose(*options, f"engine={e}"), Display()) for e in ("eager", "graph"))
    graph.algo.load_state_dict(eager.algo.state_dict())
    for step in range(3):
        found, expected = (run.meta_step(step, run.loader(step))["loss"] for run in (graph, eager))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert graph.evaluate("test", 3)["loss"].isfinite().all()


@pytest.mark.parametrize(
    "optim", [("optim=sgd", "optim.lr=0.01"), ("optim=sgd", "optim.momentum=0.9"), ("optim=adam",)]
)
def test_a_graph_follows_the_schedule_and_a_resumed_run_goes_on(optim):
    options = (*CASES[0], *SMALL, *optim, "device=cuda", "train.steps=8", "train.schedule=linear", "train.clip=1.0")
    eager, graph, resumed = (
        Components(compose(*options, f"engine={e}"), Display()) for e in ("eager", "graph", "graph")
    )
    graph.algo.load_state_dict(eager.algo.state_dict())
    for step in range(4):
        for run in (eager, graph):
            run.meta_step(step, run.loader(step))
    file = io.BytesIO()
    torch.save([graph.algo.state_dict(), graph.optimizer.state_dict()], file)
    file.seek(0)
    weights, state = torch.load(file, map_location="cpu", weights_only=True)
    resumed.algo.load_state_dict(weights)
    resumed.optimizer.load_state_dict(state)
    for step in range(4, 8):
        losses = [run.meta_step(step, run.loader(step))["loss"] for run in (eager, graph, resumed)]
        torch.testing.assert_close(losses[1], losses[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(losses[2], losses[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("overrides", CASES)
def test_a_graphed_step_never_waits_for_the_device(overrides):
    run = Components(compose(*overrides, *SMALL, "device=cuda", "engine=graph"), Display())
    metrics = [run.meta_step(0, run.loader(0))]
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 4):
            metrics.append(run.meta_step(step, run.loader(step)))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("engine", ["eager", "compile", "graph"])
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_every_precision_trains(precision, engine):
    options = (f"device.precision={precision}", f"engine={engine}")
    gpu = Components(
        compose("data=glyphs", "algo=maml", "backbone.filters=8", *SMALL, "device=cuda", *options), Display()
    )
    for step in range(3):
        metrics = gpu.meta_step(step, gpu.source.sample("train", 3 * step, 3))
        assert metrics["loss"].isfinite().all()


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_a_device_without_room_is_said_with_the_chunk_to_try(engine, tmp_path):
    large = ("data=glyphs", "data.characters=40", "algo=maml", "train.tasks=256", "chunk=256", "train.steps=1")
    run = Components(compose(*large, "device=cuda", f"engine={engine}"), Display())
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.01)
    try:
        with RunDirectory(tmp_path, "id") as directory, SignalHandler() as stop:
            directory.begin("", {})
            with pytest.raises(OutOfMemoryError, match=r"out of memory with 256 tasks .* chunk=128 holds half"):
                Training(run, directory, stop).run()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
