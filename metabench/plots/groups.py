"""Several configurations in one picture: a line each, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metabench.axis import AXES
from metabench.errors import UserError
from metabench.figures.palette import PALETTE
from metabench.plots.curves import HEIGHT, UNITS, Lines, band, column, columns, limit, meta_steps, open_axes
from metabench.plots.named import Group, title
from metabench.plots.theme import GREY, LETTERS, legend_above
from metabench.runs.reader import RunReader
from metabench.utils.console import format_metric
from metabench.utils.files import DamagedError
from metabench.utils.interval import FEWEST, crossed, over_seeds

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
LEVEL = (0, (1, 2))
MARKERS = "osD^vPX"


@dataclass(frozen=True)
class Series:
    """The line of a group, or of a single one of its seeds: `step`, `mean` and `ci95` at each point."""

    name: str
    run: RunReader  # or the first of them
    metric: str
    points: Lines
    over: str | None  # what the band is over, in words
    flat: bool = False  # a single figure
    number: int = 0  # of the group, which decides the colour

    @property
    def label(self) -> str:
        """The group, its seeds, and where the line ends."""
        last = self.points[-1]
        return f"{self.name}: {format_metric(self.metric, last['mean'], last['ci95'])}"

    def level(self, first: int, last: int) -> Series:
        """The series; a single point as a level from `first` to `last`."""
        if len(self.points) > 1:
            return self
        return replace(self, points=[{**self.points[0], "step": step} for step in (first, last)], flat=True)


def learning_curves(groups: Sequence[Group], split: str) -> Figure:
    """The metric of `split` against meta-steps, at the steps that all seeds of a group have reached."""
    series = []
    for number, g in enumerate(groups):
        metric, lines = _of_split(g.runs, split)
        tasks = g.runs[0].validation_tasks if split == "validation" else None  # those of training differ by seed
        series += _over_seeds(g, number, metric, lines, tasks)
    picture, axes = _lines(groups, series, f"{split} tasks")
    meta_steps(axes)
    return picture


def along_axes(groups: Sequence[Group]) -> Figure:
    """The metric on test tasks after each inner step; a dotted level where there is nothing but the end."""
    first = groups[0].runs[0]
    axis = AXES[first.summary.test.axis]
    for run in (run for g in groups for run in g.runs):
        if run.summary.test.axis != axis.name:
            raise UserError(
                f"{run.path}: is tested along the {run.summary.test.axis}s, {first.path} along {axis.name}s"
            )
        if not run.summary.test.per_step:
            raise UserError(f"{run.path}: summary.json: test.per_step is empty")
    series = []
    for number, g in enumerate(groups):
        test = g.runs[0].summary.test
        lines = [[_point(point.step, point.mean, point.ci95) for point in run.summary.test.per_step] for run in g.runs]
        found = _over_seeds(g, number, test.metric, lines, _episodes(g.runs[0]))
        series += [_with_crossed_end(line, g.runs, test.prediction) for line in found]
    last = max([axis.first + 1, *(line.points[-1]["step"] for line in series)])
    counts = sorted({_episodes(run) for g in groups for run in g.runs})
    tasks = f"{' or '.join(f'{n:,}' for n in counts)} test tasks"
    picture, axes = _lines(groups, [line.level(axis.first, last) for line in series], tasks)
    columns(axes, axis.name, axis.first, last)
    return picture


def _point(step: int, mean: float | None, ci95: float | None) -> dict[str, Any]:
    return {"step": step, "mean": math.nan if mean is None else mean, "ci95": math.nan if ci95 is None else ci95}


def _episodes(run: RunReader) -> int:
    return run.summary.test.modes[run.summary.test.prediction].episodes


def _lines(groups: Sequence[Group], series: Sequence[Series], tasks: str) -> tuple[Figure, Axes]:
    """Every series as a line with its band; above what is drawn, in as many rows as it needs, below what it is over."""
    metric = series[0].metric
    for other in series:
        if other.metric != metric:
            first, second = (line.run.path for line in (series[0], other))
            raise UserError(f"{second}: is measured by {other.metric}, {first} by {metric}; draw them apart")
    picture, axes = open_axes()
    for place, line in enumerate(series):
        number = line.number
        colour, marker = PALETTE[number % len(PALETTE)], MARKERS[place % len(MARKERS)]
        style = LEVEL if line.flat else DASHES[(place + place // len(PALETTE)) % len(DASHES)]
        look = {"color": colour, "linestyle": style, **({"marker": ""} if line.flat else {"marker": marker})}
        band(axes, line.points, "mean", metric, line.label, **look)
    limit(axes, metric, np.concatenate([column(line.points, "mean") for line in series]))
    words, note = ", ".join(part for part in (title(groups), tasks) if part), _note(groups, series)
    handles, labels = axes.get_legend_handles_labels()
    lines = legend_above(picture, handles, labels, words)
    picture.set_figheight(HEIGHT + 0.33 + 0.17 * lines + 0.14 * note.count("\n"))
    picture.supxlabel(note, fontsize=7.5, color=GREY, x=0.01, ha="left")
    return picture, axes


def _of_split(runs: Sequence[RunReader], split: str) -> tuple[str, list[Lines]]:
    """The metric and the lines of each run."""
    lines = [run.lines(split) for run in runs]
    metric = next((name for name in UNITS if name in lines[0][0]), "")
    for run, own in zip(runs, lines, strict=True):
        if not all(metric in line for line in own):
            raise UserError(f"{run.path}: metrics.jsonl: has lines without {metric or ' or '.join(UNITS)}")
    return metric, [[_point(line["step"], line[metric], line.get("ci95")) for line in own] for own in lines]


def _over_seeds(group: Group, number: int, metric: str, lines: list[Lines], tasks: int | None) -> list[Series]:
    """The mean over seeds with its 95% interval as one line; of one seed or two a line for each, over tasks.

    `tasks` is the number of tasks that lines are means over, where all seeds are measured on the same ones.
    """
    runs = group.runs
    if len(lines) < FEWEST:
        names = [group.label if len(lines) == 1 else group.of_seed(run) for run in runs]
        made = zip(names, runs, lines, strict=True)
        return [Series(name, run, metric, own, _tasks_of(own), number=number) for name, run, own in made]
    by_step = [{line["step"]: line for line in own} for own in lines]
    common = sorted(set.intersection(*map(set, by_step)))
    if not common:
        raise UserError(f"{runs[-1].path}: has no step in common with the other seeds of {group.name}")
    points = []
    for step in common:
        means, halves = ([own[step][name] for own in by_step] for name in ("mean", "ci95"))
        points.append({"step": step, "mean": float(np.mean(means)), "ci95": over_seeds(means, halves, tasks)})
    over = "over seeds" if tasks is None else "over seeds and tasks"
    return [Series(group.label, runs[0], metric, points, over, number=number)]


def _with_crossed_end(line: Series, runs: Sequence[RunReader], mode: str) -> Series:
    """The series with the crossed interval at its end, where the value of every test task is recorded."""
    if len(runs) < FEWEST:
        return line
    try:
        values = np.array([run.episodes(mode) for run in runs])
    except DamagedError:
        return line
    end = {**line.points[-1], "ci95": crossed(values).half_width()}
    return replace(line, points=[*line.points[:-1], end])


def _tasks_of(lines: Lines) -> str | None:
    return "over tasks where there are fewer than three seeds" if math.isfinite(lines[0]["ci95"]) else None


def _note(groups: Sequence[Group], series: Sequence[Series]) -> str:
    """The meaning of the bands, and the protocols."""
    over = [line.over for line in sorted(series, key=lambda line: len(line.over or ""))]
    words = [f"bands: 95% interval of the mean {', '.join(dict.fromkeys(filter(None, over)))}"] if any(over) else []
    hashes = sorted({run.protocol for g in groups for run in g.runs if run.protocol})
    if hashes:
        words.append(f"protocol{'s' if len(hashes) > 1 else ''} {', '.join(hashes)}")
    return fill("; ".join(words), LETTERS)
