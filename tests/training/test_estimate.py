"""Estimates of the time of a run, and of a sweep over a board before it starts."""

from __future__ import annotations

import pytest

from metabench.cli import estimate as of_sweeps
from metabench.cli.estimate import expect
from metabench.config.compose import compose, composition
from metabench.training import estimate as of_runs
from metabench.training.estimate import estimate
from metabench.training.execute import execute

SMALL = ("data=sinusoid", "engine=eager", "device=cpu", "log.pictures=false")


@pytest.fixture
def one_second_each(monkeypatch):
    """Every meta-step, and every test task, takes a second; a validation task half."""
    monkeypatch.setattr(of_runs, "_seconds", lambda once: 1.0)
    monkeypatch.setattr(of_runs, "_task", lambda components, mode, last=False: 0.5 if last else 1.0)


def test_meta_steps_validations_tests_and_further_tests_are_summed(one_second_each):
    lengths = ("train.steps=100", "validate.every=20", "validate.episodes=10", "test.episodes=40")
    found = estimate(compose(*SMALL, *lengths))
    assert (found.train, found.test) == (100, 5 * 10 / 2 + 40)
    config = compose(*SMALL, *lengths)
    more = config.model_copy(update={"tests": {"wide": ["data.shots=30"], "half": ["test.episodes=20"]}})
    assert estimate(more).test == 5 * 10 / 2 + 40 * (1 + 2 + 0.5)  # 10 and 10 points, 30 and 10


def test_a_query_predicted_alone_counts_with_its_support_set(one_second_each):
    given = ("data=glyphs", "algo=maml", "data.train.ways=5", "backbone.statistics=batch", "engine=eager", "device=cpu")
    config = compose(*given, "train.steps=100", "validate.every=20", "validate.episodes=10", "test.episodes=40")
    tests = {"wide": ["data.ways=20", "data.queries=5", "test.inductive_queries=1"]}
    found = estimate(config.model_copy(update={"tests": tests})).test
    queries = config.data["queries"]
    natural, alone = 20 * 6 / (5 * (1 + queries)), 20 * 1 * 21 / (5 * queries * 6)
    assert found == pytest.approx(5 * 10 / 2 + 40 * (1 + natural) + 40 * (1 + alone))


def test_a_method_without_training_takes_its_tests_alone(one_second_each):
    assert estimate(compose(*SMALL, "algo=scratch", "test.episodes=40")).train == 0


def test_measured_for_real_it_is_above_nothing():
    assert estimate(compose(*SMALL, "train.steps=3", "train.tasks=2", "test.episodes=4")).total > 0


def test_a_job_of_a_sweep_that_cannot_be_done_says_why(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = expect(["data=sinusoid", "algo=protonet"])
    assert found.word.startswith("skipped: algo=protonet: classification method")
    assert expect(["data=sinusoid", "algo.inner_lr=0"]).word.startswith("fails: algo.inner_lr=0")
    assert expect(["algo=nonsense"]).word.startswith("fails: algo=nonsense: no such algo")


@pytest.mark.parametrize("more", ["seed=1", "name=try", "run_dir=here"])
def test_a_run_that_is_there_is_finished_before_however_it_is_named(more, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = [*SMALL, "train.steps=1", "train.tasks=2", "test.episodes=2", "validate.episodes=2", "validate.every=1", more]
    assert expect(job).seconds
    execute(*composition(*job), command=job)
    assert expect(job).word == "finished before"


def test_jobs_that_differ_in_the_seed_alone_are_measured_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    jobs = [["data=sinusoid", "train.tasks=2", "test.episodes=4", f"seed={seed}"] for seed in (0, 1)]
    a, b = of_sweeps._all([*jobs, ["data=sinusoid", "algo=protonet", "seed=1"]], None)[:2]
    assert a.seconds == b.seconds > 0
    assert (a.overrides, b.overrides) == tuple(jobs)
