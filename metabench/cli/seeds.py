"""The runs of a sweep averaged over their seeds, as a report averages them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from metabench.report.cells import figure_of, over_seeds
from metabench.runs.groups import gather
from metabench.runs.reader import RunReader
from metabench.utils.console import format_metric
from metabench.utils.files import DamagedError


def seeds_table(jobs: Mapping[Path, Sequence[str]]) -> Table | None:
    """A row for each group of runs that differ in nothing but their seed, named by overrides.

    `jobs` has the overrides of each run by its folder. None where every run stands alone.
    """
    found = {}
    for path in jobs:
        run = RunReader(path)
        try:
            if run.finished and figure_of(run, run.summary.test.prediction, None) is not None:
                found[path] = run
        except DamagedError:  # the report says why
            continue
    groups, _ = gather(sorted(found.values(), key=lambda run: run.seed))
    if not any(len(group) > 1 for group in groups):
        return None
    shared = set.intersection(*(set(jobs[path]) for path in found))
    table = Table(title="over seeds", title_justify="left", box=None, pad_edge=False)
    for heading in ("overrides", "result", "seeds"):
        table.add_column(heading)
    for group in groups:
        runs = tuple(group.values())
        test = runs[0].summary.test
        figures = tuple(figure for run in runs if (figure := figure_of(run, test.prediction, None)) is not None)
        mean = over_seeds(runs, figures, test.prediction)
        own = " ".join(o for o in jobs[runs[0].path] if o not in shared and not o.startswith("seed="))
        result = f"{test.metric} {format_metric(test.metric, mean.mean, mean.ci95)}"
        table.add_row(*map(Text, (own, result, str(len(runs)))))
    return table
