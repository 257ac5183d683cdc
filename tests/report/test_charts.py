"""Axes of charts: accuracies near 100 stand apart, and nothing is drawn outside."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

from metabench.report.charts import ACCURACIES, scale_metric


def axis(values: list[float]):
    axes = Figure().add_subplot()
    axes.scatter(range(len(values)), values)
    scale_metric(axes, "accuracy", np.array(values), "test")
    return axes


@pytest.mark.parametrize("values", [[20.0, 60.0, 98.0, 99.0, 99.5], [20.0, 99.97, 100.0], [0.0, 50.0, 99.0]])
def test_where_errors_differ_much_half_the_error_is_one_step(values):
    axes = axis(values)

    def height(accuracy: float) -> float:
        return axes.transAxes.inverted().transform(axes.transData.transform((0, accuracy)))[1]

    assert [0 <= height(value) <= 1 for value in values] == [True] * len(values)
    assert height(98) - height(96) == pytest.approx(height(60) - height(20), rel=0.05)
    assert set(axes.get_yticks()) <= set(ACCURACIES)
    assert all(height(a) < height(b) for a, b in pairwise(values))


def test_accuracies_that_lie_together_have_an_even_axis():
    axes = axis([90.0, 92.0, 97.0])
    assert axes.get_yscale() == "linear"
    assert axes.get_ylim()[1] <= 100.5
