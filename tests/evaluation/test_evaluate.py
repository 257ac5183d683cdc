"""Statistics over tasks: the interval is Student's, and a figure does not depend on how tasks were batched."""

from __future__ import annotations

import math

import pytest
import torch
from build import build, small
from scipy import stats

from metabench.evaluation.evaluate import Estimate, estimate, evaluate, summarise


@pytest.fixture
def setup():
    return build(*small("maml", "sinusoid"))


@pytest.mark.parametrize("n", [2, 5, 1000])
def test_the_interval_is_students(n):
    values = torch.randn(n, dtype=torch.float64)
    found = estimate(values)
    low, high = stats.t.interval(0.95, n - 1, loc=values.mean().item(), scale=stats.sem(values.numpy()))
    assert (found.mean - found.ci95, found.mean + found.ci95) == pytest.approx((low, high))
    assert found.episodes == n


def test_one_task_has_no_interval():
    found = estimate(torch.tensor([0.5]))
    assert (found.mean, found.episodes) == (0.5, 1)
    assert math.isnan(found.ci95)


def test_equal_values_have_an_interval_of_zero():
    assert estimate(torch.ones(10)) == Estimate(1.0, 0.0, 10)


def test_95_of_100_intervals_hold_the_mean():
    draws = torch.randn(1000, 6, generator=torch.Generator().manual_seed(0))
    held = sum(abs(e.mean) <= e.ci95 for e in map(estimate, draws))
    low, high = stats.binom.interval(0.999, 1000, 0.95)
    assert low <= held <= high


def test_float32_values_are_summed_in_double():
    values = torch.full((100_000,), 0.1)
    assert estimate(values).mean == pytest.approx(float(values[0]), abs=1e-12)


def test_a_summary_has_every_inner_step_and_ends_with_the_last():
    values = torch.rand(50, 4)
    found = summarise(values)
    assert [entry["step"] for entry in found["per_step"]] == [0, 1, 2, 3]
    assert (found["mean"], found["ci95"]) == (found["per_step"][-1]["mean"], found["per_step"][-1]["ci95"])
    assert found["per_step"][1]["mean"] == estimate(values[:, 1]).mean
    assert found["episodes"] == 50


def test_batches_do_not_change_the_figures(setup):
    whole = evaluate(setup.algo, setup.source, "test", 10, batch=10)
    pieces = evaluate(setup.algo, setup.source, "test", 10, batch=3)
    assert whole.keys() == pieces.keys() == {"mse", "loss"}
    for name, value in whole.items():
        assert value.shape == (10, setup.algo.eval_inner_steps + 1)
        torch.testing.assert_close(pieces[name], value)
    assert torch.equal(evaluate(setup.algo, setup.source, "test", 7, batch=10)["mse"].isfinite(), torch.ones(7, 4) > 0)


def test_progress_is_told_after_every_batch(setup):
    told = []
    evaluate(setup.algo, setup.source, "validation", 7, batch=3, tick=told.append)
    assert told == [3, 6, 7]


def test_a_stopped_evaluation_leaves_the_model_in_training(setup):
    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(setup.algo.train(), setup.source, "test", 7, batch=3, tick=stop)
    assert all(module.training for module in setup.algo.modules())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_tasks_that_are_not_finite_are_counted_in_their_column_and_have_no_mean(value):
    values = torch.rand(5, 3)
    values[1, 0] = values[3, 0] = value
    found = summarise(values)
    assert "nonfinite" not in found
    assert math.isfinite(found["mean"])
    assert found["per_step"][0]["nonfinite"] == 2
    assert math.isnan(found["per_step"][0]["mean"])
    assert "nonfinite" not in found["per_step"][1]
    values[4, 2] = value
    found = summarise(values)
    assert found["nonfinite"] == 1
    assert math.isnan(found["mean"])
    assert math.isnan(found["ci95"])
    assert found["episodes"] == 5
