"""The two objectives, per task, by hand."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from metabench.objective import OBJECTIVES, accuracy, classes, cross_entropy, mse


def test_accuracy_is_the_share_of_largest_logits_that_are_right():
    logits = torch.tensor([[[3.0, 1.0], [0.0, 2.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    labels = torch.tensor([[0, 1, 1], [0, 0, 1]])
    torch.testing.assert_close(accuracy(logits, labels), torch.tensor([2 / 3, 1 / 3]))


def test_cross_entropy_is_a_mean_over_the_queries_of_each_task():
    logits, labels = torch.randn(3, 5, 4), torch.randint(4, (3, 5))
    expected = torch.stack([F.cross_entropy(a, b) for a, b in zip(logits, labels, strict=True)])
    torch.testing.assert_close(cross_entropy(logits, labels), expected)
    torch.testing.assert_close(cross_entropy(torch.zeros(3, 5, 4), labels), torch.full((3,), math.log(4)))


def test_mse_is_a_mean_over_the_points_and_dimensions_of_each_task():
    values, targets = torch.randn(3, 5, 2), torch.randn(3, 5, 2)
    expected = torch.stack([F.mse_loss(a, b) for a, b in zip(values, targets, strict=True)])
    torch.testing.assert_close(mse(values, targets), expected)


@pytest.mark.parametrize(("name", "better", "worse"), [("cross_entropy", 0.9, 0.8), ("mse", 0.1, 0.2)])
def test_better_is_higher_accuracy_or_lower_error(name, better, worse):
    objective = OBJECTIVES[name]
    assert objective.better(better, worse)
    assert not objective.better(worse, better)
    assert not objective.better(better, better)
    assert objective.better(worse, math.nan)
    assert not objective.better(math.nan, worse)


TARGETS = {
    "cross_entropy": torch.tensor([[0, 1, 0, 1]] * 3),
    "strings": torch.tensor([[[0, 1], [1, 0], [0, 0], [1, 1]]] * 3),
    "mse": torch.zeros(3, 4, 4),
    "gaussian": torch.zeros(3, 4, 2),
}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_prediction_that_is_not_finite_makes_its_tasks_metric_nan_and_no_others(name, place, value):
    prediction = torch.rand(3, 4, 4) + 0.5
    before = OBJECTIVES[name].metric(prediction, TARGETS[name])
    prediction[1, 2, place] = value
    after = OBJECTIVES[name].metric(prediction, TARGETS[name])
    assert before.isfinite().all()
    assert after.isnan().tolist() == [False, True, False]
    assert torch.equal(after[::2], before[::2])


def test_a_class_is_never_chosen_from_logits_that_are_not_finite():
    logits = torch.tensor([[0.0, 1.0], [math.nan, 1.0], [math.nan, math.nan], [math.inf, 0.0], [2.0, -math.inf]])
    assert classes(logits).tolist() == [1, -1, -1, -1, -1]
