"""Tasks that came one after the other: how well and how fast each was learned, by one method or several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray

from metabench.errors import UserError
from metabench.figures.palette import PALETTE
from metabench.plots.curves import UNITS, column
from metabench.plots.groups import DASHES
from metabench.plots.named import Group, title
from metabench.plots.theme import GREY, WIDTH, legend_above
from metabench.runs.reader import RunReader
from metabench.utils.files import DamagedError

Test = dict[str, Any]  # of a summary
SMOOTH = 10  # parts of a run, over each of which curves are means


def beside(run: Path, protocol: str) -> dict[str, list[Test]]:
    """The tests of other finished runs of that protocol in the folders beside that of `run`, by method."""
    found: dict[str, list[Test]] = {}
    for path in sorted(run.resolve().parent.parent.glob("*/*/summary.json")):
        try:
            other = RunReader(path.parent, named=False)
            name = str(other.config["algo"].get("_target_")).rpartition(".")[2]
            if other.path != run.resolve() and other.protocol == protocol:
                names = (name if i == 1 else f"{name} {i}" for i in count(1))
                found[next(name for name in names if name not in found)] = [test_of(other)]
        except (DamagedError, UserError):  # another program's files
            continue
    return found


def rounds_of(groups: Sequence[Group]) -> Figure:
    """`rounds` of finished runs, which must have met the same stream."""
    first = groups[0].runs[0]
    for run in (run for g in groups for run in g.runs):
        test_of(run)
        if run.protocol != first.protocol:
            raise UserError(f"{run.path}: is of protocol {run.protocol}, {first.path} of {first.protocol}")
    named = {g.label: [test_of(run) for run in g.runs] for g in groups}
    return rounds(named, f"{title(groups)}, protocol {first.protocol}")


def test_of(run: RunReader) -> Test:
    """The test of a finished run, as its summary has it; raises `UserError` where it has no rounds."""
    if run.summary.test.online is None:
        raise UserError(f"{run.path}: has no rounds: its tasks did not come one after the other")
    return run.summary.test.model_dump()


def rounds(named: dict[str, list[Test]], words: str | None = None) -> Figure:
    """The metric after each shot, and over the rounds the final one, the examples needed, and the error so far.

    Tests of one name are of several seeds, and drawn as their mean. Of the first name the regret is drawn too.
    """
    name, tests = next(iter(named.items()))
    metric, shots = tests[0]["metric"], [entry["step"] for entry in tests[0]["per_step"]]
    unit, scale = UNITS.get(metric, (metric, 1))
    each, threshold = (tests[0]["online"][key] for key in ("examples_of_a_shot", "threshold"))
    picture = Figure(figsize=(WIDTH, 5.6), layout="constrained")
    panels = picture.subplots(2, 2)
    (shot, final), (needed, error) = panels
    for i, (label, own) in enumerate(named.items()):
        look = {"color": PALETTE[i % len(PALETTE)], "linestyle": DASHES[(i + i // len(PALETTE)) % len(DASHES)]}
        look |= {"linewidth": 2.0 if i == 0 else 1.4, "zorder": 3 if i == 0 else 2}
        by_shot = np.mean([column(test["per_step"], "mean") for test in own], axis=0)
        shot.plot(shots, scale * by_shot, label=label, **look)
        for axes, values in (
            (final, running(scale * _mean(own, "final"))),
            (needed, running(_mean(own, "examples_to_threshold", shots[-1] * each))),
            (error, _mean(own, "cumulative_error")),
        ):
            axes.plot(np.arange(1, len(values) + 1), values, **look)
    regret = _mean(tests, "regret")
    low = min(0, *regret[np.isfinite(regret)], 0)
    label = f"{fill(name, 40)},\nless the error of its last weights"
    error.plot(
        np.arange(1, len(regret) + 1), regret, color=PALETTE[0], linestyle=(0, (1, 1.5)), linewidth=1.4, label=label
    )
    for axes in (shot, final):
        axes.axhline(scale * threshold, color=GREY, linewidth=1, linestyle=(0, (3, 2)), zorder=1)
        axes.set_ylabel(unit)
    if metric != "accuracy":
        shot.set_yscale("log")
        final.set_ylim(bottom=0)
    examples = "examples" if each == 1 else "examples of each class"
    shot.set(title="as examples come, mean over rounds", xlabel=examples)
    final.set(title=f"after all {shots[-1]}", xlabel="round")
    needed.set(title="examples to the threshold (all, where never)", xlabel="round", ylim=(0, 1.05 * shots[-1] * each))
    error.set(title="error so far, summed over rounds", xlabel="round")
    error.set_ylim(low, low + 1.35 * (error.get_ylim()[1] - low))  # room for the legend
    error.legend(loc="upper left")
    for axes in panels.flat:
        heading = axes.get_title()
        axes.set_title("")
        axes.set_title(heading, fontsize=9, loc="left")
    handles, labels = shot.get_legend_handles_labels()
    lines = legend_above(picture, handles, labels, words)
    picture.set_figheight(5.2 + 0.17 * lines)
    return picture


def running(values: ndarray) -> ndarray:
    """Means over the last tenth of all rounds, or over what there is of it."""
    sums, ends = np.concatenate([[0.0], values.cumsum()]), np.arange(1, len(values) + 1)
    starts = np.maximum(ends - max(1, len(values) // SMOOTH), 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _mean(tests: list[Test], name: str, missing: float = np.nan) -> ndarray:
    """The mean over seeds of one number per round; `missing` where a seed has none."""
    lists = [test["online"][name] for test in tests]
    return np.mean([[missing if value is None else value for value in values] for values in lists], axis=0, dtype=float)
