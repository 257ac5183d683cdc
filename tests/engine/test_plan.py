"""The automatic engine, chunk and threads follow from the configuration and the machine, and nothing else."""

from __future__ import annotations

import pytest
import torch
from build import build, small

from metabench.data.loader import TaskLoader
from metabench.engine import plan
from metabench.engine.cost import saved_bytes, work
from metabench.errors import ConfigError
from metabench.tasks import Tasks

LONG = ("engine=auto", "train.steps=10000")


def planned(*overrides: str) -> plan.Plan:
    return build(*overrides).plan


def test_small_networks_are_compiled_for_long_runs_and_use_one_thread():
    assert planned("data=sinusoid", *LONG) == plan.Plan("compile", 25, threads=1, fallback=True)
    assert planned("data=sinusoid", "engine=auto", "train.steps=1000").engine == "eager"
    assert planned("data=sinusoid", *LONG, "remat=true").engine == "eager"
    assert planned("data=sinusoid", *LONG, "algo.inner_steps=80").engine == "eager"  # hours of compiling
    assert planned("data=sinusoid", *LONG, "device.threads=2").threads is None


def test_convolutions_are_not_compiled_and_use_every_thread():
    chosen = planned("data=glyphs", *LONG)
    assert (chosen.engine, chosen.threads) == ("eager", None)


def test_what_is_asked_for_is_done():
    assert planned("data=sinusoid", "engine=compile", "train.steps=1").engine == "compile"
    assert planned("data=sinusoid", "engine=eager", "train.steps=100000").engine == "eager"
    assert planned("data=glyphs", "chunk=7").chunk == 7


def test_a_graph_needs_a_gpu_and_compiling_a_compiler(monkeypatch):
    with pytest.raises(ConfigError, match="needs a CUDA device"):
        planned("engine=graph")
    monkeypatch.setattr(plan.shutil, "which", lambda _: None)
    assert planned("data=sinusoid", *LONG).engine == "eager"
    with pytest.raises(ConfigError, match="needs a C\\+\\+ compiler"):
        planned("engine=compile")


def test_compiling_and_rematerialising_exclude_each_other():
    with pytest.raises(ConfigError, match="remat"):
        planned("engine=compile", "remat=true")


def test_automatic_chunks_are_even(monkeypatch):
    one = saved_bytes((setup := build(*small("maml", "glyphs"), "train.tasks=32")).algo, setup.tasks(count=1))
    monkeypatch.setattr(plan, "CPU_BUDGET", 20 * one)
    assert setup.plan.chunk == 16  # two of 16, not 20 and 12


def test_work_counts_the_arithmetic():
    """A layer of 40 to 40 on 10 points is 2 * 10 * 40 * 40; each further pass over it as much again."""
    setup = build("data=sinusoid")
    tasks = setup.tasks(count=1)
    before = torch.get_rng_state()
    layer = 2 * 10 * 40 * 40
    ends = 2 * 10 * 40 * 2
    assert 12 * layer <= work(setup.algo, tasks).flops <= 12 * layer + 12 * ends
    assert torch.equal(before, torch.get_rng_state())


def test_peak_memory_is_flat_in_the_tasks_at_a_fixed_chunk():
    def peak(tasks: int) -> int:
        """Of what a whole meta-step keeps for its backward passes."""
        setup = build(*small("maml", "glyphs"), f"train.tasks={tasks}", "chunk=2")

        class Accumulate(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.algo = setup.algo

            def forward(self, batch: Tasks):
                setup.step.accumulate(batch, 2)
                return torch.zeros(()), {}

        batch = setup.tasks(count=tasks)
        return saved_bytes(Accumulate(), batch) - sum(t.nbytes for part in batch[:2] for t in part)

    assert peak(4) == peak(16)


@pytest.mark.slow
def test_rematerialised_memory_grows_with_the_root_of_the_inner_steps():
    def kept(steps: int, remat: str) -> int:
        overrides = (f"algo.inner_steps={steps}", f"remat={remat}", "engine=eager")
        setup = build(*small("maml", "glyphs"), *overrides)
        return saved_bytes(setup.algo, setup.tasks(count=1))

    assert kept(64, "false") > 3.9 * kept(16, "false")
    assert kept(64, "true") < 2.1 * kept(16, "true")
    assert kept(64, "true") < kept(64, "false") / 6


@pytest.mark.parametrize("data", ["sinusoid", "glyphs"])
def test_the_feed_gives_each_step_its_tasks_from_any_start(data):
    setup = build(*small("maml", data))
    for start in (0, 5):
        feed = TaskLoader(setup.source, 3, steps=40)
        for step in range(start, 40):
            expected = setup.tasks("train", 3 * step, 3).tensors()
            assert all(torch.equal(a, b) for a, b in zip(feed(step).tensors(), expected, strict=True))
        assert feed.block > 1


def test_the_feed_draws_no_more_than_a_block_of_memory(monkeypatch):
    setup = build(*small("maml", "glyphs"))
    monkeypatch.setattr("metabench.data.loader.CPU_BLOCK", 1)
    feed = TaskLoader(setup.source, 3, steps=40)
    for step in range(3):
        feed(step)
    assert feed.block == 1
