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

from metabench.sweep.callback import FreeConfigs

SWEEP = ("-m", *SINUSOID, "algo=maml,protonet", "seed=0,1")


def outcomes(cwd: Path) -> dict[str, dict]:
    """Of the newest sweep, by the overrides in which its jobs differ."""
    newest = max(cwd.glob("outputs/sweeps/*"))
    found = [json.loads(path.read_text()) for path in newest.glob("*/outcome.json")]
    return {" ".join(o for o in outcome["overrides"] if o.lower() not in SINUSOID): outcome for outcome in found}


def finished(cwd: Path) -> int:
    return len(list(cwd.glob("outputs/*/*/*/summary.json")))


def test_a_failing_job_does_not_stop_the_others_and_is_said(tmp_path):
    write_package(tmp_path)
    sweep = ("-m", "--config-dir=conf", *SINUSOID, "algo=diverges,maml", "seed=0,1")
    done = run_metabench(*sweep, cwd=tmp_path)
    assert (done.code, done.err) == (1, "")
    table = done.out[done.out.index("sweep of 4 jobs") :]
    assert table.count("complete   mse ") == 2
    assert table.count("nonfinite  the loss is not finite at meta-step 1") == 2
    assert "algo=diverges seed=1" in table
    assert "train.steps=20" not in table
    assert "2 of 4 jobs failed; the same command runs only what is missing" in table
    assert {name: outcome["status"] for name, outcome in outcomes(tmp_path).items()} == {
        "algo=diverges seed=0": "nonfinite",
        "algo=diverges seed=1": "nonfinite",
        "algo=maml seed=0": "complete",
        "algo=maml seed=1": "complete",
    }

    again = run_metabench(*sweep, cwd=tmp_path)
    assert again.code == 1
    assert again.out.count("finished before") == 2
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


@pytest.mark.parametrize(
    ("choices", "said"),
    {
        "algo=maml,mamml": "algo=mamml: no such algo; did you mean maml?",
        "data=sinusoid,sinus": "data=sinus: no such data; did you mean sinusoid?",
        "train.step=1,2": "train.step: no such key; did you mean steps?",
        "seed=0,1 algo=[maml": "algo=[maml: ",
        "train.steps=20,abc": "train.steps=abc: should be a whole number",
        "data.train.queries=5,0": "data.train.queries=0: should be greater than or equal to 1",
        "algo.inner_steps=1,-1 seed=0,1": "algo.inner_steps=-1: should be greater than or equal to 0",
        "optim.lr=0.1,x": "optim.lr=x: should be a number",
        "engine=eager,egaer": "engine=egaer: ",
        "train.tasks=4,???": "train.tasks=???: a value is needed",
        "bench=sinusoid data=sinusoid,sinusoid_mixture": "data=sinusoid_mixture: bench=sinusoid is a test",
    }.items(),
)
def test_what_is_wrong_with_any_job_is_refused_before_the_first(choices, said, tmp_path):
    done = run_metabench("-m", *SINUSOID, *choices.split(), cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"metabench: {said}")
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
    newest = max(tmp_path.glob("outputs/sweeps/*"))
    assert sum("continuing at meta-step " in log.read_text() for log in newest.glob("*/job.log")) == 1
    assert finished(tmp_path) == 3


def test_two_sweeps_of_one_moment_keep_their_outcomes_apart(tmp_path):
    for _ in range(2):
        run_metabench("-m", *SINUSOID, "seed=0", cwd=tmp_path)
    assert len(list(tmp_path.glob("outputs/sweeps/*/0/outcome.json"))) == 2
    (run,) = tmp_path.glob("outputs/sinusoid/maml/*")
    assert summary(run)["status"] == "complete"


def test_a_job_that_ended_leaves_its_configuration_to_nobody():
    ended = JobReturn(cfg=OmegaConf.create(), hydra_cfg=OmegaConf.create(), status=JobStatus.COMPLETED)
    FreeConfigs().on_job_end(OmegaConf.create(), ended)
    assert ended.cfg is ended.hydra_cfg is None  # 1,000 of them were 150 MB


def test_a_method_that_does_not_read_the_tasks_is_skipped_in_a_sweep_and_refused_alone(tmp_path):
    done = run_metabench(*SWEEP, cwd=tmp_path)
    assert (done.code, done.err) == (0, "")
    table = done.out[done.out.index("sweep of 4 jobs") :]
    reason = "algo=protonet: classification method; choose classification data"
    assert table.count(f"skipped   {reason}") == 2
    assert "2 of 4 jobs skipped: the method does not read such tasks\n" in table
    assert "failed" not in done.out
    assert outcomes(tmp_path)["algo=protonet seed=1"]["status"] == "skipped"
    for alone in (("algo=protonet",), ("-m", "algo=protonet", "seed=0,1")):
        assert run_metabench(*SINUSOID, *alone, cwd=tmp_path).code == 2  # nothing that was asked for could be done


LAYOUTS = {
    "the overrides": ("hydra.sweep.subdir=${hydra.job.override_dirname}",),
    "nested": ("hydra.sweep.subdir=a/b/${hydra.job.num}",),
    "one for all": ("hydra.sweep.subdir=x",),
    "the folder itself": ("hydra.sweep.subdir=.",),
    "absolute": ('hydra.sweep.dir="{cwd}/é sweeps"', 'hydra.sweep.subdir="job ${hydra.job.num}"'),
    "of a key": ("hydra.sweep.dir=sweeps/${train.steps}", "hydra.sweep.subdir=${seed}/${hydra.job.num}"),
    "its own working directory": ("hydra.job.chdir=true",),
    "used before": ("hydra.sweep.dir=old",),
}


@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=[pytest.mark.slow] if i % 3 else []) for i, name in enumerate(LAYOUTS)]
)
def test_a_sweep_counts_its_own_jobs_whatever_the_folders(layout, tmp_path):
    old = tmp_path / "old/5/outcome.json"
    old.parent.mkdir(parents=True)
    old.write_text('{"status": "complete"}')
    places = [place.replace("{cwd}", str(tmp_path)) for place in LAYOUTS[layout]]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    write_package(tmp_path)
    failing = ("--config-dir=conf", *SINUSOID, "algo=diverges,maml")
    done = run_metabench("-m", *failing, *places, cwd=tmp_path, env=plain)
    assert (done.code, done.err) == (1, "")
    table = done.out[done.out.index("sweep of 2 jobs") :].splitlines()
    assert [line.split()[:3] for line in table[2:4]] == [
        ["0", "algo=diverges", "nonfinite"],
        ["1", "algo=maml", "complete"],
    ]
    assert table[4] == "1 of 2 jobs failed; the same command runs only what is missing"
    written = [json.loads(path.read_text()) for path in tmp_path.rglob("outcome.json") if path != old]
    assert len(written) == (1 if layout in ("one for all", "the folder itself") else 2)
    assert "complete" in [outcome["status"] for outcome in written]


def report_fails() -> None:
    from metabench.sweep.record import SweepRecord

    def fails(self: SweepRecord) -> int:
        raise ValueError("for a test")

    SweepRecord.report = fails  # type: ignore[method-assign]


def no_outcome_is_written() -> None:
    from metabench.sweep.record import JobRecord

    JobRecord._write = lambda *_: Path("/proc/none").mkdir()  # type: ignore[method-assign, assignment]


def test_an_error_in_the_report_of_a_sweep_is_a_failure(tmp_path):
    done = run_metabench("-m", *SINUSOID, "seed=0", cwd=tmp_path, patch=no_outcome_is_written)
    assert done.code == 1
    assert "FileNotFoundError: " in done.out
    assert "1 of 1 job failed" in done.out
    done = run_metabench("-m", *SINUSOID, "seed=0", cwd=tmp_path, patch=report_fails)
    assert done.code == 1
    assert "ValueError: for a test" in done.err


def test_a_folder_that_cannot_be_made_ends_a_sweep_as_a_failure_and_shows_what_is_known(tmp_path):
    (tmp_path / "file").write_text("")
    done = run_metabench("-m", *SINUSOID, "seed=0,1", "hydra.sweep.dir=file/below", cwd=tmp_path)
    assert done.code in (1, 2)
    assert done.err.count("\n") == 1
    done = run_metabench("-m", *SINUSOID, "seed=0,1", "hydra.sweep.subdir=${seed}" + 300 * "x", cwd=tmp_path)
    assert done.code == 1
    assert "sweep of 2 jobs" in done.out
    assert "2 of 2 jobs failed" in done.out
    assert done.out.count("File name too long") == 4  # as each ends, and in the table


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_outcome_of_a_job_that_was_stopped_says_so(number, tmp_path):
    started = start_metabench("-m", *SINUSOID, "train.steps=100000", "engine=eager", "seed=0,1", cwd=tmp_path)
    until(lambda: list(tmp_path.glob("outputs/*/*/*/metrics.jsonl")))
    started.kill(number)
    done = started.wait()
    assert done.code == 128 + number
    assert done.err == f"metabench: stopped by {number.name}; the same command continues\n"
    (outcome,) = tmp_path.glob("outputs/sweeps/*/*/outcome.json")
    told = json.loads(outcome.read_text())
    assert (told["status"], told["reason"]) == ("stopped", f"stopped by {number.name}")
    (status,) = tmp_path.glob("outputs/*/*/*/status.json")
    assert json.loads(status.read_text())["status"] == "stopped"


def test_a_sweep_of_nothing_is_refused_in_one_line(tmp_path):
    done = run_metabench("-m", "seed=range(0,0)", cwd=tmp_path)
    assert (done.code, done.err) == (
        2, "metabench: a sweep without jobs: a key such as seed=range(0,0) has no value\n"
    )  # fmt: skip
    assert not list(tmp_path.rglob("status.json"))
