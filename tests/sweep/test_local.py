"""Jobs side by side: the same numbers as one after the other, a share of the machine by rule, one end for all."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from program import GLYPHS, SINUSOID, records, run_metabench, start_metabench, summary, until

from metabench.sweep.share import JOB_MEMORY, share_machine
from metabench.utils.memory import free_memory, resident, total_memory

TWO = "hydra.launcher.parallel=2"
PLENTY = 100 * JOB_MEMORY


@pytest.mark.parametrize(
    ("jobs", "cores", "memory", "side", "threads"),
    [
        (12, 2, PLENTY, 2, [1] * 12),
        (3, 2, PLENTY, 2, [1, 1, 2]),  # the last is alone, and has both cores
        (1, 8, PLENTY, 1, [8]),
        (3, 8, PLENTY, 3, [2, 2, 2]),
        (11, 8, PLENTY, 8, [1] * 8 + [2] * 3),
        (4, 8, 2 * JOB_MEMORY, 2, [4] * 4),  # memory holds two
        (4, 8, JOB_MEMORY // 2, 1, [8] * 4),
        (2, 2, None, 2, [1, 1]),
        (3, 1, PLENTY, 1, [1] * 3),
    ],
)
def test_a_machine_is_shared_out_by_rule(jobs, cores, memory, side, threads):
    share = share_machine(range(5, 5 + jobs), cores, memory)
    assert share.side_by_side == side
    assert list(share.threads.values()) == threads
    assert list(share.threads) == list(range(5, 5 + jobs))
    assert side * threads[0] <= cores


def found(cwd: Path) -> dict[str, tuple]:
    """All that runs found, but for clocks, by their folders."""
    return {
        run.name: (
            records(run), (run / "episodes.json").read_bytes(), summary(run)["test"] | {"seconds": 0},
        )
        for run in (path.parent for path in cwd.glob("outputs/*/*/*/summary.json"))
    }  # fmt: skip


@pytest.mark.parametrize("base", [SINUSOID, (*GLYPHS, "algo=protonet")], ids=["sinusoid", "glyphs"])
def test_jobs_side_by_side_find_what_they_find_one_after_the_other(base, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for name, parallel in (("one", 1), ("two", 2)):
        done = run_metabench("-m", *base, "seed=0,1,2", f"hydra.launcher.parallel={parallel}", cwd=tmp_path / name)
        assert (done.code, done.err) == (0, "")
    assert len(found(tmp_path / "one")) == 3
    assert found(tmp_path / "one") == found(tmp_path / "two")
    assert "3 jobs, 2 side by side" in done.out
    assert done.out.count(": protocol ") == 1  # once for all of them
    assert done.out.rstrip().endswith(" 3")
    assert "over seeds" in done.out
    logs = [log.read_text() for log in (tmp_path / "two").glob("outputs/sweeps/*/*/job.log")]
    assert len(logs) == 3
    assert all("meta-training 20/20" in log for log in logs)


def test_two_jobs_that_are_one_run_do_not_get_in_each_others_way(tmp_path):
    done = run_metabench("-m", *SINUSOID, "algo.inner_lr=0.01,0.010", TWO, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("finished before") == 1
    assert done.out.count("complete  mse ") == 2


def test_a_signal_stops_all_jobs_and_the_same_command_continues(tmp_path):
    sweep = ("-m", *SINUSOID, "train.steps=600", "seed=0,1", TWO)
    started = start_metabench(*sweep, cwd=tmp_path)
    until(lambda: len(list(tmp_path.glob("outputs/*/*/*/checkpoints/last.pt"))) == 2)
    started.kill(signal.SIGTERM)
    done = started.wait()
    assert (done.code, done.err) == (143, "metabench: stopped by SIGTERM; the same command continues\n")
    told = [json.loads(path.read_text())["status"] for path in tmp_path.glob("outputs/sweeps/*/*/outcome.json")]
    assert told == ["stopped", "stopped"]
    assert run_metabench(*sweep, cwd=tmp_path).code == 0


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "two", "true"])
def test_a_number_of_jobs_that_is_none_is_refused(value, tmp_path):
    done = run_metabench("-m", *SINUSOID, "seed=0,1", f"hydra.launcher.parallel={value}", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        f"metabench: hydra.launcher.parallel={value.title() if value == 'true' else value}: should"
    )
    assert not list(tmp_path.iterdir())


def test_memory_is_what_the_system_says():
    import os

    total, free = total_memory(), free_memory()
    assert total is not None
    assert free is not None
    assert 0 < free < total
    assert 0 < resident(os.getpid()) < total
    assert resident(2**30) == 0
