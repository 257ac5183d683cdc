"""Several configurations in one picture: a line each, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metabench.axis import AXES, INNER_STEPS
from metabench.errors import UserError
from metabench.evaluation.evaluate import estimate
from metabench.plots.curves import HEIGHT, UNITS, Lines, band, column, columns, limit, meta_steps, open_axes
from metabench.plots.theme import GREY
from metabench.runs.reader import Group, RunReader, title
from metabench.utils.console import format_metric

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#222222")  # Okabe & Ito
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
LEVEL = (0, (1, 2))
MARKERS = "osD^vPX"
LETTERS = 105  # in the width of a picture


@dataclass(frozen=True)
class Series:
    """The line of a group: `step`, `mean` and `ci95` at each point."""

    group: Group
    metric: str
    points: Lines
    flat: bool = False  # a single figure

    @property
    def label(self) -> str:
        """The group, its seeds, and where the line ends."""
        last = self.points[-1]
        value = math.nan if last["mean"] is None else last["mean"]
        return f"{self.group.label}: {format_metric(self.metric, value, last['ci95'])}"

    def level(self, first: int, last: int) -> Series:
        """The series; a single point as a level from `first` to `last`."""
        if len(self.points) > 1:
            return self
        return replace(self, points=[{**self.points[0], "step": step} for step in (first, last)], flat=True)


def learning_curves(groups: Sequence[Group], split: str) -> Figure:
    """The metric of `split` against meta-steps, at the steps that all seeds of a group have reached."""
    series = [_over_seeds(g, *_of_split(g.runs, split)) for g in groups]
    picture, axes = _lines(series, f"{split} tasks")
    meta_steps(axes)
    return picture


def along_axes(groups: Sequence[Group]) -> Figure:
    """The metric on test tasks after each inner step; a dotted level where there is nothing but the end."""
    axis, first = AXES[_axis(groups[0].runs[0])], groups[0].runs[0]
    for run in (run for g in groups for run in g.runs):
        if _axis(run) != axis.name:
            raise UserError(f"{run.path}: is tested along the {_axis(run)}s, {first.path} along the {axis.name}s")
    tests = [[run.summary["test"] for run in g.runs] for g in groups]
    series = [_over_seeds(g, of[0]["metric"], [t["per_step"] for t in of]) for g, of in zip(groups, tests, strict=True)]
    last = max([axis.first + 1, *(line.points[-1]["step"] for line in series)])
    counts = sorted({test["episodes"] for of in tests for test in of})
    tasks = f"{' or '.join(f'{n:,}' for n in counts)} test tasks"
    picture, axes = _lines([line.level(axis.first, last) for line in series], tasks)
    columns(axes, axis.name, axis.first, last)
    return picture


def _lines(series: Sequence[Series], tasks: str) -> tuple[Figure, Axes]:
    """Every series as a line with its band; above what is drawn, in as many rows as it needs, below what it is over."""
    metric = series[0].metric
    for other in series:
        if other.metric != metric:
            first, second = (line.group.runs[0].path for line in (series[0], other))
            raise UserError(f"{second}: is measured by {other.metric}, {first} by {metric}; draw them apart")
    picture, axes = open_axes()
    for number, line in enumerate(series):
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        style = LEVEL if line.flat else DASHES[(number + number // len(COLOURS)) % len(DASHES)]
        look = {"color": colour, "linestyle": style, **({"marker": ""} if line.flat else {"marker": marker})}
        band(axes, line.points, "mean", metric, line.label, **look)
    limit(axes, metric, np.concatenate([column(line.points, "mean") for line in series]))
    across = max(1, min(3, LETTERS // (8 + max(len(line.label) for line in series))))
    words, note = ", ".join(part for part in (title([line.group for line in series]), tasks) if part), _note(series)
    picture.set_figheight(HEIGHT + 0.5 + 0.17 * math.ceil(len(series) / across) + 0.14 * note.count("\n"))
    picture.legend(loc="outside upper left", ncols=across, title=words, alignment="left", borderpad=0.1)
    picture.supxlabel(note, fontsize=7.5, color=GREY, x=0.01, ha="left")
    return picture, axes


def _axis(run: RunReader) -> str:
    return run.summary["test"].get("axis", INNER_STEPS.name)  # older summaries have no other


def _of_split(runs: Sequence[RunReader], split: str) -> tuple[str, list[Lines]]:
    """The metric and the lines of each run."""
    lines = [run.lines(split) for run in runs]
    metric = next((name for name in UNITS if name in lines[0][0]), "")
    for run, own in zip(runs, lines, strict=True):
        if not all(metric in line for line in own):
            raise UserError(f"{run.path / 'metrics.jsonl'}: has lines without {metric or ' or '.join(UNITS)}")
    return metric, [[{**line, "mean": line[metric]} for line in own] for own in lines]


def _over_seeds(group: Group, metric: str, lines: list[Lines]) -> Series:
    """Mean and 95% interval over seeds; of a single seed, that over tasks."""
    if len(lines) == 1:
        return Series(group, metric, [{"ci95": None, **line} for line in lines[0]])
    by_step = [{line["step"]: line["mean"] for line in own} for own in lines]
    common = sorted(set.intersection(*map(set, by_step)))
    if not common:
        raise UserError(f"{group.runs[-1].path}: has no step in common with the other seeds of {group.name}")
    points = []
    for step in common:
        values = [math.nan if own[step] is None else own[step] for own in by_step]
        over = estimate(torch.tensor(values))
        points.append({"step": step, "mean": over.mean, "ci95": over.ci95})
    return Series(group, metric, points)


def _note(series: Sequence[Series]) -> str:
    """What the bands are, and the protocols."""
    groups = [line.group for line in series]
    over = ["over seeds"] if any(len(g.runs) > 1 for g in groups) else []
    if any(len(line.group.runs) == 1 and line.points[0]["ci95"] is not None for line in series):
        over.append("over tasks where there is one seed")
    words = [f"bands: 95% interval of the mean {', '.join(over)}"] if over else []
    hashes = sorted({run.protocol for g in groups for run in g.runs if run.protocol})
    if hashes:
        words.append(f"protocol{'s' if len(hashes) > 1 else ''} {', '.join(hashes)}")
    return fill("; ".join(words), LETTERS)
