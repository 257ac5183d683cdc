"""The table over seeds after a sweep: the same figures as in the report of its runs."""

from __future__ import annotations

import numpy as np
import pytest
from made_runs import write_run

from metabench.cli.seeds import seeds_table
from metabench.utils.console import format_metric
from metabench.utils.interval import crossed

SETS = [[0.90, 0.92, 0.93], [0.91, 0.95, 0.92], [0.88, 0.96, 0.94]]


@pytest.mark.parametrize(
    "earlier", [(), ({"step": 0, "mean": 2.0, "ci95": 0.1}, {"step": 1, "mean": 0.9, "ci95": 0.1})]
)
def test_a_sweep_and_its_report_have_one_interval(earlier, tmp_path):
    runs = {
        write_run(tmp_path / str(seed), f"seed={seed}", values=values, per_step=earlier): [f"seed={seed}"]
        for seed, values in enumerate(SETS)
    }
    table = seeds_table(runs)
    assert table is not None
    (shown,) = table.columns[1].cells
    half = crossed(np.array(SETS)).half_width()
    assert str(shown) == f"mse {format_metric('mse', float(np.mean(SETS)), half)}"
