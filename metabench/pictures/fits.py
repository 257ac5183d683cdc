"""Tasks of curves: the true function, the support points, and the fit before and after some inner steps.

Draws of a latent variable are thin lines. Where a method predicts intervals, those of 95% are drawn, and it is said how
many targets of validation tasks lie in theirs.
"""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metabench.algo.base import Algorithm
from metabench.data.curves import Curves
from metabench.objective import OBJECTIVES
from metabench.pictures.look import BLUE, INK, ORANGE, PALE, WIDTH, draws, predictions, steps

ROWS, COLUMNS = 2, 3  # a validation task in each
POINTS = 200  # of a curve
HALF = 1.96  # standard deviations, of a 95% interval
DRAWS = 12  # of a latent variable
MANY = 100  # validation tasks, to see how many targets lie in it


def fits(algo: Algorithm, source: Curves) -> Figure:
    """The first six validation tasks, each with the mean squared error of its last fit over the whole range of x."""
    tasks = source.sample("validation", 0, ROWS * COLUMNS)
    low, high = source.x_range
    grid = torch.linspace(low, high, POINTS, device=tasks.support.x.device)
    found = predictions(algo, tasks, grid.expand(len(tasks), -1).unsqueeze(-1))  # [T, POINTS, 1 or 2] after each step
    drawn = draws(algo, tasks, grid.expand(len(tasks), -1).unsqueeze(-1), DRAWS)
    x, true = grid.cpu(), source.curve(tasks, grid).cpu()
    interval = f"95% interval ({coverage(algo, source):.0%} of targets)" if predicts_intervals(algo) else None
    picture = Figure(figsize=(WIDTH, 4.3), layout="constrained")
    panels = picture.subplots(ROWS, COLUMNS, sharex=True, sharey=True)
    for t, axes in enumerate(panels.flat):
        axes.plot(x, true[t], color=PALE, linewidth=5, label="truth")
        points = (part[t, :, 0].cpu() for part in tasks.support)
        dot: dict[str, Any] = {"color": INK, "markersize": 4.5, "markeredgecolor": "white", "markeredgewidth": 0.6}
        axes.plot(*points, "o", label="support", zorder=4, clip_on=False, **dot)
        for step, look in _shown(len(found) - 1).items():
            axes.plot(x, found[step][t, :, 0], **look)
        for i, one in enumerate(drawn):
            label = f"{len(drawn)} draws" if i == 0 else None
            axes.plot(x, one[t, :, 0], color=BLUE, alpha=0.35, linewidth=0.7, label=label)
        if interval:
            mean, half = found[-1][t, :, 0], HALF * found[-1][t, :, 1]
            axes.fill_between(x, mean - half, mean + half, color=BLUE, alpha=0.22, linewidth=0, label=interval)
        error = (found[-1][t, :, 0] - true[t]).square().mean().item()
        note = f"MSE {error:#.2g}".rstrip(".")
        axes.text(0.03, 0.98, note, transform=axes.transAxes, va="top", fontsize=8, color=BLUE)
    reach = 1.35 * true.abs().max().item()  # of the truth: a fit that has diverged does not set the scale
    panels[0, 0].set(xlim=(low, high), ylim=(-reach, reach))
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    for axes in panels[-1]:
        axes.set_xlabel("x")
    for axes in panels[:, 0]:
        axes.set_ylabel("y", rotation=0)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return picture


def predicts_intervals(algo: Algorithm) -> bool:
    """Whether predictions are means and standard deviations."""
    return algo.objective is OBJECTIVES["gaussian"]


def coverage(algo: Algorithm, source: Curves) -> float:
    """The share of validation targets within their 95% interval; 0.95 is calibrated."""
    tasks = source.sample("validation", 0, MANY)
    mean, std = predictions(algo, tasks, tasks.query.x)[-1].chunk(2, dim=-1)
    return ((tasks.query.y.cpu() - mean).abs() <= HALF * std).float().mean().item()


def _shown(last: int) -> dict[int, dict[str, Any]]:
    """Which of the steps 0..last to draw, and how: before, after 1 and 5 (or 10, if many follow), and the last."""
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
