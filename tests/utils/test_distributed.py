"""Several processes train as one: the same weights, buffers, metrics and files, each on its share of the tasks."""

from __future__ import annotations

import os
import signal
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from build import Setup, build, small
from program import (
    _FORK,
    GLYPHS,
    SINUSOID,
    Ended,
    only_run,
    records,
    run_fresh,
    run_metabench,
    signal_in,
    start_metabench,
)

from metabench.data.loader import TaskLoader
from metabench.engine.meta_step import MetaStep
from metabench.evaluation.evaluate import evaluate
from metabench.utils.distributed import SINGLE, Distributed, ProcessGroup
from metabench.utils.files import load_tensors, read_json

CASES = {
    "maml": ("maml", "sinusoid"),
    "clipped, in chunks": ("maml", "sinusoid", "train.clip=0.1", "chunk=1"),
    "running statistics": ("protonet", "glyphs", "backbone.statistics=running"),
    "batch statistics": ("maml", "glyphs"),
    "reptile": ("reptile", "sinusoid"),
    "mamlpp": ("mamlpp", "glyphs"),  # statistics of each inner step
    "leo": ("leo", "glyphs", "backbone.statistics=running"),  # draws latents
}
STEPS = 3


def environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun would tell."""
    return {"RANK": f"{rank}", "WORLD_SIZE": f"{size}", "LOCAL_RANK": f"{rank}", "LOCAL_WORLD_SIZE": f"{size}",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "TORCHELASTIC_RUN_ID": "test"}  # fmt: skip


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def trained(case: tuple[str, ...], ranks: Distributed) -> dict[str, Any]:
    """Weights, metrics and validation of a few meta-steps in float64."""
    setup: Setup = build(*small(*case), dtype=torch.float64)
    size, optimizer = setup.config.train.tasks, setup.optimizer
    assert optimizer is not None
    step = MetaStep(setup.algo, optimizer, setup.config.train, setup.config.device, setup.plan, ranks)
    feed = TaskLoader(setup.source, size, STEPS, ranks)
    metrics = [step(i, feed(i).to(torch.float64)) for i in range(STEPS)]
    sample = setup.source.sample
    setup.source.sample = lambda *where: sample(*where).to(torch.float64)  # type: ignore[method-assign]
    told: list[int] = []
    found = evaluate(setup.algo, setup.source, "test", 7, batch=2, ranks=ranks, tick=told.append)
    return {"state": setup.algo.state_dict(), "metrics": metrics, "evaluation": found, "ticks": told}


def _work(rank: int, size: int, port: int, folder: Path) -> None:
    os.environ.update(environment(rank, size, port))
    torch.set_num_threads(1)
    with ProcessGroup() as ranks:
        found: dict[str, Any] = {name: trained(case, ranks) for name, case in CASES.items()}
        assert ranks.all_max(rank) == size - 1
        assert ranks.gather(rank) == list(range(size))
        torch.save(found, folder / f"{rank}.pt")


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def found(request, tmp_path_factory) -> list[dict[str, Any]]:
    """What each of the ranks came to."""
    folder, port = tmp_path_factory.mktemp("ranks"), free_port()
    processes = [_FORK.Process(target=_work, args=(r, request.param, port, folder)) for r in range(request.param)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(request.param)]


@pytest.mark.parametrize("name", CASES)
def test_ranks_together_are_one_process(name, found):
    """Three tasks a meta-step: to two ranks one and two, to three ranks one each."""
    alone, (first, *others) = trained(CASES[name], SINGLE), [rank[name] for rank in found]
    for part in ("metrics", "state", "evaluation"):
        torch.testing.assert_close(first[part], alone[part], rtol=1e-9, atol=1e-9)
    for other in others:  # to the last bit, or ranks would drift apart
        torch.testing.assert_close(other, first, rtol=0, atol=0)
    assert first["ticks"][-1] == 7


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [0, 1, 5, 7, 25])
def test_shares_are_everything_once_and_even(size, count):
    shares = []
    for rank in range(size):
        ranks = Distributed()
        ranks.rank, ranks.size = rank, size
        shares.append(ranks.shard(count))
    assert [i for share in shares for i in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def run_ranks(*overrides: str, cwd: Path, size: int = 2, patches: dict[int, Any] | None = None) -> list[Ended]:
    """The program as torchrun starts it, once a rank."""
    port = free_port()
    started = [
        start_metabench("device=ddp", *overrides, cwd=cwd, env=environment(r, size, port), patch=(patches or {}).get(r))
        for r in range(size)
    ]
    return [one.wait() for one in started]


NO_DEVICE = [[o for o in of if o != "device=cpu"] for of in (SINUSOID, GLYPHS)]
LINES = ("train.steps=20", "train.tasks=5", "log.every=4", "validate.every=6", "checkpoint.every=7")


@pytest.mark.parametrize(
    "overrides",
    [
        (*NO_DEVICE[0], *LINES),
        pytest.param((*NO_DEVICE[1], *LINES, "algo=protonet"), marks=pytest.mark.slow),
    ],
)
def test_a_run_of_two_ranks_is_the_run_of_one_and_one_speaks(overrides, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    assert run_metabench("device=cpu", *overrides, cwd=tmp_path / "one").code == 0
    first, second = run_ranks(*overrides, cwd=tmp_path / "two")
    assert (first.code, first.err, second.code, second.out, second.err) == (0, "", 0, "", "")
    one, two = only_run(tmp_path / "one"), only_run(tmp_path / "two")
    assert first.out.count("meta-training 20/20") == 1
    for a, b in zip(records(one), records(two), strict=True):
        assert a.pop("split") == b.pop("split")
        assert a == pytest.approx(b, rel=1e-3)
    assert {p.name for p in one.rglob("*")} == {p.name for p in two.rglob("*")}
    where = read_json(two / "environment.json")
    assert where["ranks"] == 2
    assert where["command"].startswith("torchrun --nproc-per-node=2 -m metabench device=ddp ")
    again = run_ranks(*overrides, cwd=tmp_path / "two")
    assert [one.code for one in again] == [0, 0]
    assert "finished before" in again[0].out


@pytest.mark.slow
def test_the_tests_of_a_suite_are_made_by_the_same_ranks(tmp_path):
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite/mine.yaml").write_text(
        "# @package _global_\ntests: {points: [data.shots=4], steps: [algo.eval_inner_steps=2]}\n"
    )
    overrides = (f"--config-dir={tmp_path}", *NO_DEVICE[0], "suite=mine")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert run_metabench("device=cpu", *overrides, cwd=tmp_path / "one").code == 0
    for _ in range(2):  # made, then shown
        first, second = run_ranks(*overrides, cwd=tmp_path / "two")
        assert (first.code, first.err, second.code, second.out, second.err) == (0, "", 0, "", "")
    (one, two) = (
        {
            found["test_of"]["names"][0]: found["test"]["mean"]
            for found in map(read_json, folder.rglob("tests/*/summary.json"))
        }
        for folder in (tmp_path / "one", tmp_path / "two")
    )
    assert one == pytest.approx(two, rel=1e-3)
    assert len(one) == 2


@pytest.mark.parametrize("rank", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_signal_to_one_rank_stops_all_and_the_run_continues_bit_for_bit(rank, tmp_path):
    overrides = (*NO_DEVICE[0], *LINES)
    for name in ("straight", "stopped"):
        (tmp_path / name).mkdir()
    assert [r.code for r in run_ranks(*overrides, cwd=tmp_path / "straight")] == [0, 0]
    patches = {rank: partial(signal_in, "train", 9, signal.SIGTERM)}
    ended = run_ranks(*overrides, cwd=tmp_path / "stopped", patches=patches)
    assert [one.code for one in ended] == [143, 143]
    assert [one.err for one in ended] == ["metabench: stopped by SIGTERM; the same command continues\n", ""]
    run, straight = only_run(tmp_path / "stopped"), only_run(tmp_path / "straight")
    assert read_json(run / "status.json")["status"] == "stopped"
    again = run_ranks(*overrides, cwd=tmp_path / "stopped")
    assert "continuing at meta-step 9 of 20" in again[0].out
    assert (run / "checkpoints/best.pt").read_bytes() == (straight / "checkpoints/best.pt").read_bytes()
    assert records(run) == records(straight)
    a, b = (load_tensors(path / "checkpoints/last.pt") for path in (run, straight))
    torch.testing.assert_close([a["algo"], a["optim"], a["rng"]], [b["algo"], b["optim"], b["rng"]], rtol=0, atol=0)


def test_a_signal_in_the_test_stops_all(tmp_path):
    patches = {1: partial(signal_in, "test", 1, signal.SIGINT)}
    ended = run_ranks(*NO_DEVICE[0], cwd=tmp_path, patches=patches)
    assert [one.code for one in ended] == [130, 130]


@pytest.mark.slow
def test_a_run_may_go_on_with_another_number_of_ranks(tmp_path):
    overrides = (*NO_DEVICE[0], *LINES)
    run_ranks(*overrides, cwd=tmp_path, patches={0: partial(signal_in, "train", 9, signal.SIGTERM)})
    (ended,) = run_ranks(*overrides, cwd=tmp_path, size=1)
    assert ended.code == 0
    assert "continuing at meta-step 9 of 20" in ended.out


def one_line(ended: list[Ended], code: int) -> str:
    """What rank 0 said; the others said nothing."""
    assert [one.code for one in ended] == [code] * len(ended)
    assert [one.err for one in ended[1:]] == [""] * (len(ended) - 1)
    assert ended[0].err.count("\n") == 1
    return ended[0].err


@pytest.mark.slow
def test_what_ranks_cannot_do_is_said_once(tmp_path):
    assert "train.tasks=1: every one of 2 ranks needs a task" in one_line(
        run_ranks(*NO_DEVICE[0], "train.tasks=1", cwd=tmp_path), 2
    )
    assert "no such algo; did you mean maml" in one_line(run_ranks("algo=mamml", cwd=tmp_path), 2)
    assert "-m: torchrun starts the processes of one run" in one_line(run_ranks("-m", "seed=0,1", cwd=tmp_path), 2)
    diverged = one_line(run_ranks(*NO_DEVICE[0], "algo.inner_lr=1e30", cwd=tmp_path), 3)
    assert diverged == "metabench: the loss is not finite at meta-step 1\n"
    said = one_line(run_ranks(*NO_DEVICE[0], "device=cpu", cwd=tmp_path), 2)
    assert "device=cpu: torchrun starts several processes, and they need device=ddp" in said


def test_without_torchrun_its_command_is_said(tmp_path):
    done = run_metabench("device=ddp", cwd=tmp_path)
    assert done.code == 2
    assert done.err == (
        "metabench: device=ddp: is started by torchrun, one process a GPU: "
        "torchrun --nproc-per-node=2 -m metabench device=ddp …\n"
    )


@pytest.mark.slow
def test_torchrun_itself(tmp_path):
    env = {"CUDA_VISIBLE_DEVICES": ""}
    command = ("torchrun", "--standalone", "--nproc-per-node=2", "-m", "metabench", "device=ddp", *NO_DEVICE[0])
    done = run_fresh(*command, cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert done.out.count("written to outputs/sinusoid/maml/") == 1
    assert read_json(only_run(tmp_path) / "environment.json")["ranks"] == 2
