"""A sweep goes on after a failure, says what failed and why, and run again runs only what is missing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from program import SINUSOID, run_metabench, start_metabench, summary, until
from user import write_package

from metabench.sweep.callback import SweepReport

SWEEP = ("-m", *SINUSOID, "algo=maml,protonet", "seed=0,1")


def outcomes(cwd: Path) -> dict[str, dict]:
    """Of the newest sweep, by the overrides in which its jobs differ."""
    newest = max(cwd.glob("outputs/sweeps/*"))
    found = [json.loads(path.read_text()) for path in newest.glob("*/outcome.json")]
    return {" ".join(o for o in outcome["overrides"] if o.lower() not in SINUSOID): outcome for outcome in found}


def finished(cwd: Path) -> int:
    return len(list(cwd.glob("outputs/*/*/*/summary.json")))


def test_a_failing_job_does_not_stop_the_others_and_is_said(tmp_path):
    done = run_metabench(*SWEEP, cwd=tmp_path)
    assert done.code == 1
    assert done.err == ""
    table = done.out[done.out.index("sweep of 4 jobs") :]
    assert table.count("complete  mse ") == 2
    assert table.count("failed    algo=ProtoNet: classification method; choose classification data") == 2
    assert "algo=protonet seed=1" in table
    assert "train.steps=20" not in table
    assert "2 of 4 jobs failed; the same command runs only what is missing" in table
    assert {name: outcome["status"] for name, outcome in outcomes(tmp_path).items()} == {
        "algo=maml seed=0": "complete",
        "algo=maml seed=1": "complete",
        "algo=protonet seed=0": "failed",
        "algo=protonet seed=1": "failed",
    }

    again = run_metabench(*SWEEP, cwd=tmp_path)
    assert again.code == 1
    assert again.out.count("finished before") == 2
    assert "meta-training" not in again.out
    assert "2 of 4 jobs failed" in again.out


def test_a_sweep_without_a_failure_exits_with_0_and_shares_directories_with_single_runs(tmp_path):
    assert run_metabench(*SINUSOID, "seed=1", cwd=tmp_path).code == 0
    done = run_metabench("-m", *SINUSOID, "seed=0,1", cwd=tmp_path, env={"METABENCH_SWEEPS": str(tmp_path / "sweeps")})
    assert (done.code, done.err) == (0, "")
    assert done.out.count("finished before") == 1
    assert finished(tmp_path) == 2
    assert not (tmp_path / "outputs/sweeps").exists()
    assert len(list(tmp_path.glob("sweeps/*/*/outcome.json"))) == 2


def test_a_job_that_raises_or_exits_does_not_stop_the_others(tmp_path):
    write_package(tmp_path)
    sweep = ("-m", "--config-dir=conf", *SINUSOID, "algo=raises,exits,diverges,maml")
    done = run_metabench(*sweep, cwd=tmp_path)
    assert done.code == 1
    found = {name.removeprefix("algo="): (o["status"], o["reason"]) for name, o in outcomes(tmp_path).items()}
    assert found == {
        "raises": ("failed", "ZeroDivisionError: for a test"),
        "exits": ("failed", "SystemExit: 5"),
        "diverges": ("nonfinite", "the loss is not finite at meta-step 1"),
        "maml": ("complete", None),
    }
    for name, (status, reason) in found.items():
        assert f"algo={name}" in done.out
        assert status == "complete" or reason in done.out
    assert "3 of 4 jobs failed" in done.out
    assert 'raise ZeroDivisionError("for a test")' in done.err
    assert finished(tmp_path) == 1


def test_a_job_that_raises_alone_exits_with_1_and_its_traceback(tmp_path):
    write_package(tmp_path)
    done = run_metabench("--config-dir=conf", *SINUSOID, "algo=raises", cwd=tmp_path)
    assert done.code == 1
    assert 'raise ZeroDivisionError("for a test")' in done.err
    assert "hydra" not in done.err
    (status,) = tmp_path.glob("outputs/sinusoid/raises/*/status.json")
    assert json.loads(status.read_text()) == {"status": "failed", "reason": "ZeroDivisionError: for a test"}


def test_a_glob_reaches_the_folders_of_a_group(tmp_path):
    chosen = ("experiment=glob(sinusoid/pretrain_k*,exclude=*k10)", "budget=smoke", "log.pictures=false", "device=cpu")
    done = run_metabench("-m", *chosen, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    names = {path: json.loads(path.read_text())["experiment"] for path in tmp_path.glob("outputs/*/*/*/summary.json")}
    assert set(names.values()) == {"sinusoid/pretrain_k5", "sinusoid/pretrain_k20"}


@pytest.mark.parametrize("choices", ["algo=maml,mamml", "data=sinusoid,sinus", "train.step=1,2", "seed=0,1 algo=[maml"])
def test_what_cannot_be_composed_is_refused_before_any_job(choices, tmp_path):
    done = run_metabench("-m", *SINUSOID, *choices.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("outputs/*/*/*/*"))


@pytest.mark.slow
def test_a_stopped_sweep_ends_and_continues(tmp_path):
    sweep = ("-m", *SINUSOID, "train.steps=400", "seed=0,1,2")
    started = start_metabench(*sweep, cwd=tmp_path)
    until(lambda: len(list(tmp_path.glob("outputs/*/*/*/metrics.jsonl"))) == 2)
    started.kill(signal.SIGTERM)
    done = started.wait()
    assert done.code == 143
    assert done.err == "metabench: stopped by SIGTERM; the same command continues\n"
    assert finished(tmp_path) == 1
    again = run_metabench(*sweep, cwd=tmp_path)
    assert again.code == 0
    assert again.out.count("finished before") == 1
    assert again.out.count("continuing at meta-step ") == 1
    assert finished(tmp_path) == 3


def test_two_sweeps_of_one_moment_keep_their_outcomes_apart(tmp_path):
    for _ in range(2):
        run_metabench("-m", *SINUSOID, "seed=0", cwd=tmp_path)
    assert len(list(tmp_path.glob("outputs/sweeps/*/0/outcome.json"))) == 2
    (run,) = tmp_path.glob("outputs/sinusoid/maml/*")
    assert summary(run)["status"] == "complete"


def test_a_job_that_ended_leaves_its_configuration_to_nobody(tmp_path):
    hydra = {"mode": "MULTIRUN", "job": {"num": 0}, "overrides": {"task": []}}
    config = OmegaConf.create({"hydra": {**hydra, "sweep": {"dir": str(tmp_path), "subdir": "0"}}})
    ended = JobReturn(cfg=config, hydra_cfg=config, status=JobStatus.COMPLETED, _return_value={"status": "complete"})
    SweepReport().on_job_end(config, ended)
    assert ended.cfg is ended.hydra_cfg is None  # 1,000 of them were 150 MB
    assert json.loads((tmp_path / "0" / "outcome.json").read_text())["status"] == "complete"
