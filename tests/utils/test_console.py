"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from metabench.utils.console import format_metric


@pytest.mark.parametrize(
    ("metric", "mean", "ci95", "text"),
    [
        ("accuracy", 0.98765, 0.00123, "98.77 ± 0.12%"),
        ("mse", 0.0089, 0.0007, "0.0089 ± 0.0007"),
        ("mse", 0.000331, 0.00004, "0.00033 ± 0.00004"),
        ("mse", 0.0000062, None, "0.000006"),
        ("mse", 1e-20, 1e-21, "0.0000 ± 0.0000"),
        ("mse", 516.64, 1293.44, "516.6400 ± 1293.4400"),
        ("mse", math.nan, 0.1, "n/a"),
        ("mse", 3.16e37, 6.2e37, "3.2e+37 ± 6.2e+37"),
        ("mse", 0.5, math.nan, "0.5000"),
    ],
)
def test_a_metric_has_as_many_decimals_as_its_interval_begins_at(metric, mean, ci95, text):
    assert format_metric(metric, mean, ci95) == text
