"""Sinusoid tasks have the family's ranges and its two analytic anchors."""

from __future__ import annotations

import math

import pytest
import torch
from build import build
from scipy import stats

from metabench.data.sinusoid import sine
from metabench.errors import ConfigError
from metabench.tasks import SPLITS

MANY = 5000
POWER = (5**3 - 0.1**3) / (3 * 4.9)  # E[A²]


def source(*overrides: str):
    return build("data=sinusoid", *overrides).source


@pytest.fixture(scope="module")
def tasks():
    return source().sample("test", 0, MANY)


def mean_within(values: torch.Tensor, expected: float, errors: float = 3) -> bool:
    return abs(values.mean().item() - expected) < errors * values.std().item() / len(values) ** 0.5


def test_amplitude_phase_and_inputs_are_uniform_over_their_ranges(tasks):
    ranges = {"amplitude": (0.1, 5), "phase": (0, math.pi), "support": (-5, 5), "query": (-5, 5)}
    drawn = {**tasks.truth, "support": tasks.support.x, "query": tasks.query.x}
    for name, (low, high) in ranges.items():
        values = drawn[name].double().flatten().numpy()
        assert low <= values.min() <= values.max() <= high
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3, name
    assert (tasks.truth["frequency"] == 1).all()


def test_targets_are_the_true_function(tasks):
    assert tasks.support.x.shape == tasks.support.y.shape == (MANY, 10, 1)
    for x, y in tasks[:2]:
        torch.testing.assert_close(y.squeeze(-1).double(), sine(tasks.truth, x.squeeze(-1).double()), atol=3e-6, rtol=0)


def test_predicting_zero_has_mse_4_25(tasks):
    assert mean_within(tasks.query.y.square().mean((1, 2)), POWER / 2)


def test_the_best_single_function_has_mse_3_01(tasks):
    slope = -2.55 * 2 / math.pi
    assert slope == pytest.approx(-1.62, abs=0.005)
    assert mean_within((tasks.query.y - slope * tasks.query.x.cos()).square().mean((1, 2)), 3.01)


def covariance(apart: torch.Tensor) -> torch.Tensor:
    """E[y y'] of the BMAML family at two points so far apart: ½ E[A²] E[cos(ω r)], ω uniform in [½, 2]."""
    r = apart.abs().clamp_min(1e-9)
    return POWER / 2 * ((2 * r).sin() - (r / 2).sin()) / (1.5 * r)


@pytest.mark.parametrize(("shots", "least"), [(5, 1.074), (10, 0.122), (20, 0.0091)])
def test_no_prediction_linear_in_the_targets_is_better_than_that_of_the_covariance(shots, least):
    """The floor of R2-D2 and its like on BMAML's sinusoids: a Gaussian process of this covariance."""
    tasks = source("data=sinusoid_bmaml", f"data.shots={shots}", "data.functions=null").sample("test", 0, MANY)
    x, query = tasks.support.x.double(), tasks.query.x.double()
    noise = 1e-4 * POWER * torch.eye(shots)
    across = covariance(query - x.mT)
    weights = torch.linalg.solve(covariance(x - x.mT) + noise, across.mT).mT
    expected = POWER / 2 + 1e-4 * POWER - (weights * across).sum(-1)
    error = (weights @ tasks.support.y.double() - tasks.query.y).square().squeeze(-1)
    assert mean_within((error - expected).mean(1), 0.0)
    assert mean_within(expected.mean(1), least)


def test_five_points_are_the_first_of_ten():
    few, more = (source(f"data.shots={shots}").sample("test", 3, 4) for shots in (5, 10))
    assert torch.equal(few.support.x, more.support.x[:, :5])
    assert torch.equal(few.support.y, more.support.y[:, :5])
    assert torch.equal(few.query.x, more.query.x)


def test_seeds_change_training_tasks_only():
    a, b = source(), source("seed=1")
    for split in SPLITS:
        same = torch.equal(a.sample(split, 0, 3).support.x, b.sample(split, 0, 3).support.x)
        assert same == (split != "train")
    other = source("data.eval_seed=1").sample("test", 0, 3)
    assert not torch.equal(a.sample("test", 0, 3).support.x, other.support.x)


def test_splits_and_parts_share_no_point():
    drawn = [part.x.flatten() for split in SPLITS for part in source().sample(split, 0, 50)[:2]]
    points = torch.cat(drawn)
    assert len(points.unique()) > len(points) - 5  # float32 repeats one now and then


@pytest.mark.parametrize("name", ["amplitude", "frequency", "phase", "x_range"])
@pytest.mark.parametrize("interval", ["[1.0]", "[2.0,1.0]"])
def test_an_interval_has_two_ends_in_order(name, interval):
    with pytest.raises(ConfigError, match=rf"data\.{name}"):
        source(f"data.{name}={interval}")
