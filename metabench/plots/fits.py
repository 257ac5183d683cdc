"""Tasks of curves: the true function, the support points, and the fit before and after some inner steps.

Draws of a latent variable are thin lines. Where a method predicts intervals, those of 95% are drawn, and it is said how
many targets of validation tasks lie in theirs.
"""

from __future__ import annotations

import math
from textwrap import fill
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy import ndarray

from metabench.algo.base import Algorithm
from metabench.data.curves import Curves
from metabench.objective import OBJECTIVES
from metabench.plots.theme import BLUE, INK, ORANGE, PALE, WIDTH, draws, predictions, steps

ROWS, COLUMNS = 2, 3  # a validation task in each
POINTS = 200  # of a curve
HALF = 1.96  # standard deviations, of a 95% interval
DRAWS = 12  # of a latent variable
MANY = 100  # validation tasks, to see how many targets lie in it


def fits(algo: Algorithm, source: Curves) -> Figure:
    """The first six validation tasks, each with the mean squared error of its last fit over the whole range of x."""
    picture = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    panels = picture.subplots(ROWS, COLUMNS, sharex=True, sharey=True)
    drawn = Fits(algo, source, ROWS * COLUMNS)
    for t, axes in enumerate(panels.flat):
        drawn.draw(axes, t)
    frame(picture, panels, drawn)
    return picture


def side_by_side(named: dict[str, Fits], title: str) -> Figure:
    """Fits of the same validation tasks by several models: one column per model, one row per task."""
    rows = min(len(drawn.tasks) for drawn in named.values())
    picture = Figure(figsize=(WIDTH * max(1, len(named) / COLUMNS), 0.9 + 1.85 * rows), layout="constrained")
    panels = picture.subplots(rows, len(named), sharex=True, sharey=True, squeeze=False)
    for column, (name, drawn) in enumerate(named.items()):
        for t, axes in enumerate(panels[:, column]):
            drawn.draw(axes, t)
        panels[0, column].set_title(fill(name, 26), fontsize=8, loc="left")
    frame(picture, panels, next(iter(named.values())), title)
    return picture


class Fits:
    """The fits of one algorithm to the first `count` validation tasks."""

    def __init__(self, algo: Algorithm, source: Curves, count: int) -> None:
        self.tasks = tasks = source.sample("validation", 0, count)
        self.x_range = low, high = source.x_range
        grid = torch.linspace(low, high, POINTS, device=tasks.support.x.device)
        asked = grid.expand(count, -1).unsqueeze(-1)
        self.found = predictions(algo, tasks, asked)  # [T, POINTS, 1 or 2] after each step
        self.draws = draws(algo, tasks, asked, DRAWS)
        self.x, self.true = grid.cpu(), source.curve(tasks, grid).cpu()
        self.interval = f"95% interval ({coverage(algo, source):.0%} of targets)" if predicts_intervals(algo) else None

    def draw(self, axes: Axes, t: int) -> None:
        """Task `t`, and the mean squared error of its last fit."""
        x, last = self.x, self.found[-1][t]
        axes.plot(x, self.true[t], color=PALE, linewidth=5, label="truth")
        points = (part[t, :, 0].cpu() for part in self.tasks.support)
        dot: dict[str, Any] = {"color": INK, "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
        axes.plot(*points, "o", label="support", zorder=4, clip_on=False, **dot)
        for step, look in _shown(len(self.found) - 1).items():
            axes.plot(x, self.found[step][t, :, 0], **look)
        for i, one in enumerate(self.draws):
            label = f"{len(self.draws)} draws" if i == 0 else None
            axes.plot(x, one[t, :, 0], color=BLUE, alpha=0.35, linewidth=0.7, label=label)
        if self.interval:
            mean, half = last[:, 0], HALF * last[:, 1]
            axes.fill_between(x, mean - half, mean + half, color=BLUE, alpha=0.22, linewidth=0, label=self.interval)
        note = f"MSE {self.error(t):#.2g}".rstrip(".")
        axes.text(0.03, 0.98, note, transform=axes.transAxes, va="top", fontsize=8, color=BLUE)

    def error(self, t: int) -> float:
        """The mean squared error of the last fit to task `t` over the whole range of x."""
        return (self.found[-1][t, :, 0] - self.true[t]).square().mean().item()


def frame(picture: Figure, panels: ndarray, drawn: Fits, title: str | None = None) -> None:
    """Limit and name the axes of `panels [rows, columns]`; one legend, above them."""
    reach = 1.35 * drawn.true.abs().max().item()  # of the truth: a fit that has diverged does not set the scale
    panels[0, 0].set(xlim=drawn.x_range, ylim=(-reach, reach))
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for axes in panels[-1]:
        axes.set_xlabel("x")
    for axes in panels[:, 0]:
        axes.set_ylabel("y", rotation=0)
    found = [axes.get_legend_handles_labels() for axes in panels[0]]
    entries = {label: handle for handles, labels in found for handle, label in zip(handles, labels, strict=True)}
    options: dict[str, Any] = {
        "loc": "outside upper left",
        "alignment": "left",
        "ncols": math.ceil(len(entries) / math.ceil(len(entries) / 7)),
        "title": title,
    }
    picture.legend(entries.values(), entries.keys(), **options)


def predicts_intervals(algo: Algorithm) -> bool:
    """True where predictions are means and standard deviations."""
    return algo.objective is OBJECTIVES["gaussian"]


def coverage(algo: Algorithm, source: Curves) -> float:
    """The share of validation targets within their 95% interval; 0.95 is calibrated."""
    tasks = source.sample("validation", 0, MANY)
    mean, std = predictions(algo, tasks, tasks.query.x)[-1].chunk(2, dim=-1)
    return ((tasks.query.y.cpu() - mean).abs() <= HALF * std).float().mean().item()


def _shown(last: int) -> dict[int, dict[str, Any]]:
    """The steps of 0..last that are drawn, and how: before, after 1 and 5 (or 10, if many follow), and the last."""
    final = {"color": BLUE, "linewidth": 1.8, "zorder": 3}
    if last == 0:
        return {0: {**final, "label": "prediction"}}
    looks: list[dict[str, Any]] = [  # told apart by their dashes too
        {"color": "#56b4e9", "linewidth": 1.3, "linestyle": (0, (1, 1.2))},
        {"color": "#3a93cc", "linewidth": 1.3, "linestyle": (0, (4, 1.5))},
    ]
    between = [step for step in ((1, 5) if last <= 10 else (1, 10)) if step < last]
    return {
        0: {"color": ORANGE, "linewidth": 1.3, "linestyle": (0, (5, 2, 1, 2)), "label": "before"},
        **{step: {**look, "label": steps(step)} for step, look in zip(between, looks, strict=False)},
        last: {**final, "label": steps(last)},
    }
