"""Sweeps whose jobs are processes of their own: killed ones go on by themselves, and every ending is an outcome."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf
from program import SINUSOID, run_fresh, run_metabench, start_metabench, until

from metabench.sweep import launcher as module
from metabench.sweep.launcher import SubmititLauncher
from metabench.utils.files import read_json
from metabench.utils.install import pip_install

errors: Any = pytest.importorskip("submitit.core.utils")
LAUNCHER = ("-m", "hydra/launcher=submitit_local")


class Job:
    """One that has ended as `ending` says."""

    def __init__(self, ending: Any) -> None:
        self.ending, self.paths = ending, type("Paths", (), {"stdout": Path("log.out")})

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        if isinstance(self.ending, Exception):
            raise self.ending
        return self.ending

    def cancel(self) -> None:
        raise AssertionError("nothing is left to cancel")


class Executor:
    """Ends each job as was planned, one ending a try."""

    def __init__(self, plan: dict[int, list[Any]]) -> None:
        self.plan, self.most = plan, 0

    def submit(self, work: Any, overrides: list[str], number: int) -> Job:
        return Job(self.plan[number].pop(0))


@pytest.fixture
def launcher(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 0)
    made = SubmititLauncher("local", str(tmp_path), parallel=2, retries=2, parameters=OmegaConf.create({}))
    made.work = None
    return made


def test_a_job_that_dies_is_submitted_again_and_one_that_fails_is_not(launcher, monkeypatch, capsys):
    died, done = errors.UncompletedJobError("died"), {"status": "complete"}
    plan = {
        4: [died, died, JobReturn(status=JobStatus.COMPLETED, _return_value=done)],
        5: [errors.FailedJobError("Traceback\n  line\nValueError: no")],
        6: [died, died, died],
    }
    monkeypatch.setattr(launcher, "_executor", lambda: Executor(plan))
    found = launcher.launch([["seed=0"], ["seed=1"], ["seed=2"]], 4)
    assert [one.return_value["status"] for one in found] == ["complete", "failed", "killed"]
    assert found[1].return_value["reason"] == "ValueError: no"
    assert not any(plan.values())
    said = capsys.readouterr().out
    assert "job 6: ended without a word; submitted again, 2 of 2\n" in said
    assert said.endswith("job 6: killed\n")
    assert [one.return_value for one in found[1:]] == [
        {"status": "failed", "reason": "ValueError: no"},
        {"status": "killed", "reason": "ended without a word"},
    ]


def another_plugin() -> None:
    """A patch: hydra-submitit-launcher is installed, and stores its launchers in Hydra."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()
    for name in ("submitit_local", "submitit_slurm"):
        node = {
            "_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
            "submitit_folder": "x",
        }
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=node, provider="submitit_launcher")


def test_our_launcher_is_chosen_beside_a_plugin_that_has_the_name_too(tmp_path):
    chosen = run_metabench(LAUNCHER[1], "--cfg", "hydra", "-p", "hydra.launcher", cwd=tmp_path, patch=another_plugin)
    assert (chosen.code, chosen.err) == (0, "")
    assert "_target_: metabench.sweep.launcher.SubmititLauncher" in chosen.out
    assert "submitit_folder" not in chosen.out


def without(name: str) -> None:
    sys.modules[name] = None  # type: ignore[assignment]


def test_what_is_missing_is_said_in_one_line(tmp_path):
    done = run_metabench(*LAUNCHER, "seed=0,1", cwd=tmp_path, patch=partial(without, "submitit"))
    assert done.err == f"metabench: hydra/launcher=submitit_…: needs {pip_install('submitit')}\n"
    assert done.code == 2
    done = run_metabench("-m", "hydra/launcher=submitit_slurm", "seed=0,1", cwd=tmp_path, env={"PATH": ""})
    assert done.code == 2
    assert done.err.startswith("metabench: hydra.launcher: ")
    assert "slurm" in done.err
    assert done.err.count("\n") == 1
    assert not list(tmp_path.glob("outputs/sinusoid"))


def owners(cwd: Path) -> list[int]:
    """The processes of runs that have a checkpoint."""
    begun = [run for run in cwd.glob("outputs/sinusoid/maml/*") if (run / "checkpoints/previous.pt").exists()]
    return [read_json(run / ".owner")["pid"] for run in begun if (run / ".owner").exists()]


@pytest.mark.slow
def test_a_killed_job_of_a_sweep_continues_by_itself_and_so_does_one_that_its_machine_is_taken_from(tmp_path):
    every = ("engine=eager", "validate.every=500", "checkpoint.every=100", "log.every=100")
    sweep = (*LAUNCHER, *SINUSOID, "seed=0,1", "train.steps=8000", *every)
    started = start_metabench(*sweep, cwd=tmp_path)
    until(lambda: len(owners(tmp_path)) == 2, timeout=240)
    for pid, number in zip(owners(tmp_path), (signal.SIGKILL, signal.SIGUSR2), strict=True):
        os.kill(pid, number)
    done = started.wait(timeout=400)
    assert (done.code, done.err) == (0, "")
    assert done.out.count("ended without a word; submitted again, 1 of 2") == 1
    assert "sweep of 2 jobs" in done.out
    logs = [path.read_text() for path in tmp_path.glob("outputs/sweeps/*/submitit/*_log.out")]
    assert sum("continuing at meta-step" in log for log in logs) == 2
    assert len(list(tmp_path.glob("outputs/*/*/*/summary.json"))) == 2
    (environment, *_) = tmp_path.glob("outputs/*/*/*/environment.json")
    assert read_json(environment)["command"].startswith("metabench -m hydra/launcher=submitit_local ")


@pytest.mark.slow
def test_jobs_run_on_ray(tmp_path):
    pytest.importorskip("ray")
    pytest.importorskip("hydra_plugins.hydra_ray_launcher")
    done = run_fresh("metabench", "-m", "hydra/launcher=ray", *SINUSOID, "seed=0,1", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "sweep of 2 jobs" in done.out
    assert len(list(tmp_path.glob("outputs/*/*/*/summary.json"))) == 2
