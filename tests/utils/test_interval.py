"""Intervals: closed forms at their ends, never narrower than their parts, and as often right as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from metabench.utils.interval import added, crossed, half_width, over, over_seeds

# Standard deviations of seeds, tasks and the rest: which of them dominates the error of a mean over 100 tasks.
CASES = {
    "tasks": (0.0, 1.0, 0.3),
    "both": (0.1, 1.0, 0.5),
    "more seeds": (0.3, 1.0, 0.5),
    "seeds": (0.5, 1.0, 0.5),
    "seeds alone": (1.0, 0.1, 0.1),
    "rest": (0.0, 0.0, 1.0),
    "all": (0.03, 0.3, 1.0),
}


def table(random: np.random.Generator, seeds: int, tasks: int, sd: tuple[float, float, float]) -> np.ndarray:
    """Values `[S, T]` of true mean 0."""
    normal = random.normal
    return sd[0] * normal(size=(seeds, 1)) + sd[1] * normal(size=tasks) + sd[2] * normal(size=(seeds, tasks))


def coverage(seeds: int, sd: tuple[float, float, float], trials: int, groups: int = 1) -> dict[str, float]:
    """How often intervals of 100 tasks hold the true value."""
    random = np.random.default_rng(0)
    held = {"crossed": 0, "added": 0, "seeds alone": 0}
    for _ in range(trials):
        values = [table(random, seeds, 100, sd) for _ in range(groups)]
        far = abs(values[0].mean() - (values[1].mean() if groups > 1 else 0.0))
        means, halves = values[0].mean(1), [half_width(one) for one in values[0]]
        held["crossed"] += far <= crossed(*values).half_width()
        held["added"] += far <= added(means, halves, 100).half_width()
        held["seeds alone"] += far <= half_width(means)
    return {name: count / trials for name, count in held.items()}


@pytest.mark.parametrize("case", ["tasks", "both", "seeds"])
def test_three_seeds_cover_the_true_mean_as_often_as_said(case):
    found = coverage(3, CASES[case], 400)
    assert 0.915 < found["crossed"] < 0.985  # three standard errors of 400 trials around 0.95
    assert found["added"] >= found["crossed"] - 0.01


def test_an_interval_over_seeds_alone_leaves_out_the_tasks():
    assert coverage(5, CASES["tasks"], 200)["seeds alone"] < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("case", CASES)
def test_coverage_is_92_to_97_percent_from_three_seeds_on(seeds, case):
    found = coverage(seeds, CASES[case], 4000)
    assert 0.92 < found["crossed"] < 0.98
    assert found["added"] >= found["crossed"] - 0.005


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("case", CASES)
def test_coverage_of_a_difference_between_two_groups_of_seeds(seeds, case):
    assert 0.93 < coverage(seeds, CASES[case], 3000, groups=2)["crossed"] < 0.99


def test_one_way_it_is_students_t():
    values = np.random.default_rng(0).normal(size=20)
    expected = stats.t.interval(0.95, 19, loc=values.mean(), scale=stats.sem(values))
    assert half_width(values) == pytest.approx((expected[1] - expected[0]) / 2)
    assert over(values).p(abs(values.mean() - 0.3)) == pytest.approx(stats.ttest_1samp(values, 0.3).pvalue)
    assert math.isnan(half_width([1.0]))
    assert math.isnan(half_width([1.0, math.inf]))


def test_the_variance_is_that_of_the_analysis_of_variance():
    values = table(np.random.default_rng(1), 4, 30, (1.0, 1.0, 1.0))
    seeds, tasks = values.shape
    grand, rows, columns = values.mean(), values.mean(1), values.mean(0)
    ms_seeds = tasks * ((rows - grand) ** 2).sum() / (seeds - 1)
    ms_tasks = seeds * ((columns - grand) ** 2).sum() / (tasks - 1)
    ms_rest = ((values - rows[:, None] - columns + grand) ** 2).sum() / ((seeds - 1) * (tasks - 1))
    expected = (ms_seeds + ms_tasks - ms_rest) / values.size
    assert crossed(values).standard_error ** 2 == pytest.approx(expected)


def test_where_seeds_agree_it_is_the_interval_over_tasks():
    tasks = np.random.default_rng(2).normal(size=50)
    assert crossed(np.tile(tasks, (3, 1))).half_width() == pytest.approx(half_width(tasks))


def test_where_tasks_agree_it_is_the_interval_over_seeds():
    means = np.array([0.8, 0.9, 0.7])
    assert crossed(np.repeat(means[:, None], 40, axis=1)).half_width() == pytest.approx(half_width(means))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seeds", [2, 3, 7])
def test_no_standard_error_is_below_what_tasks_or_seeds_alone_give(case, seeds):
    random = np.random.default_rng(3)
    for _ in range(50):
        values = table(random, seeds, 30, CASES[case])
        means, halves = values.mean(1), [half_width(one) for one in values]
        alone = [over(values.mean(0)), over(means)]
        assert crossed(values).standard_error >= max(one.standard_error for one in alone) * (1 - 1e-9)
        assert crossed(values).half_width() >= half_width(values.mean(0)) * (1 - 1e-9)
        both = added(means, halves, 30)
        assert both.half_width() == pytest.approx(math.hypot(half_width(means), np.mean(halves)))
        assert both.half_width() >= max(half_width(values.mean(0)), half_width(means)) * (1 - 1e-9)


def test_neither_the_order_of_seeds_nor_of_tasks_matters_and_units_scale():
    values = table(np.random.default_rng(4), 3, 20, CASES["both"])
    expected = crossed(values).half_width()
    assert crossed(values[::-1, ::-1]).half_width() == pytest.approx(expected)
    assert crossed(5 - 100 * values).half_width() == pytest.approx(100 * expected)


def test_where_common_tasks_are_not_known_it_is_over_the_means():
    assert over_seeds([1.0, 2.0, 4.0], [0.1, 0.1, 0.1], None) == half_width([1.0, 2.0, 4.0])
    assert over_seeds([1.0, 2.0, 4.0], [0.1, math.nan, 0.1], 10) == half_width([1.0, 2.0, 4.0])
    assert over_seeds([1.0, 2.0, 4.0], [0.1, 0.1, 0.1], 10) > half_width([1.0, 2.0, 4.0])
