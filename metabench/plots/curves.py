"""The metric against meta-steps, and along the axis of the evaluation: inner steps, or instances of a class."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy import ndarray

from metabench.algo.base import Algorithm
from metabench.algo.fast_weights import FastWeights
from metabench.plots.theme import BLUE, GREY, INK, LETTERS, WIDTH, steps
from metabench.utils.console import format_metric

Lines = list[dict[str, Any]]
HEIGHT = 3.1  # inches
UNITS = {"accuracy": ("accuracy (%)", 100), "mse": ("mean squared error", 1)}  # axis label, scale


def learning_curve(records: Lines, algo: Algorithm) -> Figure:
    """The metric on training tasks and, with its 95% band, on validation tasks."""
    name = algo.objective.metric_name
    train, validation = ([r for r in records if r["split"] == split] for split in ("train", "validation"))
    values = [column(part, name) for part in (train, validation)]
    trained, judged = _settings(algo)
    picture, axes = open_axes()
    x, marker = column(train, "step"), "." if len(train) == 1 else ""
    axes.plot(x, scale(name) * values[0], color=GREY, linewidth=0.8, marker=marker, label=f"training{trained}")
    band(axes, validation, name, name, f"validation{judged}, 95% interval")
    finite = [r for r, value in zip(validation, values[1], strict=True) if math.isfinite(value)]
    if finite:
        pick = max if algo.objective.higher_is_better else min
        best = pick(finite, key=lambda r: r[name])
        hollow: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": INK, "linestyle": "", "zorder": 5}
        label = f"best: {format_metric(name, best[name])}"
        axes.plot(best["step"], scale(name) * best[name], marker="D", markersize=5, label=label, **hollow)
    finish(axes, name, np.concatenate(values))
    meta_steps(axes)
    return picture


def along_axis(per_step: Lines, algo: Algorithm) -> Figure:
    """The metric on test tasks for each column of the axis; a dashed line where the inner steps of training stop."""
    name, first, last = algo.objective.metric_name, per_step[0]["step"], per_step[-1]["step"]
    picture, axes = open_axes()
    band(axes, per_step, "mean", name, "test, 95% interval")
    if isinstance(algo, FastWeights) and 0 < algo.inner_steps <= last:
        label = f"{steps(algo.inner_steps)} in training"
        axes.axvline(algo.inner_steps, color=GREY, linewidth=1, linestyle=(0, (3, 2)), label=label, zorder=1.5)
    finish(axes, name, column(per_step, "mean"))
    columns(axes, algo.axis.name, first, last)
    return picture


def _settings(algo: Algorithm) -> tuple[str, str]:
    """The settings by which the metrics of training and validation differ beside their tasks."""
    train, validation = f", {algo.spec.train.outputs}-way", f", {algo.spec.eval.outputs}-way"
    if algo.spec.setting == "sequence":
        train, validation = f"{train}, all instances", f"{validation}, {_selecting(algo)}"
    if isinstance(algo, FastWeights):
        train, validation = f", {steps(algo.inner_steps)}", f", {steps(algo.eval_inner_steps)}"
    return (train, validation) if train != validation else ("", "")


def _selecting(algo: Algorithm) -> str:
    """The instances that validation is the mean of."""
    chosen = algo.axis.selection(algo.spec.eval.shots)
    return f"instance {chosen[-1]}" if len(chosen) == 1 else f"instances {chosen[0]} to {chosen[-1]}"


def meta_steps(axes: Axes) -> None:
    """Name and tick the axis of meta-steps."""
    axes.set_xlabel("meta-step")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def columns(axes: Axes, name: str, first: int, last: int) -> None:
    """Name and tick the axis of an evaluation, first..last."""
    axes.set_xlabel(name)
    margin = 0.02 * max(last - first, 1)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))


def open_axes() -> tuple[Figure, Axes]:
    """A picture of one panel."""
    picture = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    return picture, picture.add_subplot()


def column(lines: Lines, name: str) -> ndarray:
    """A figure of every line."""
    return np.array([line[name] for line in lines], dtype=float)  # a null of JSON becomes NaN


def scale(metric: str) -> float:
    """The factor from a metric to the unit of its axis."""
    return UNITS.get(metric, (metric, 1))[1]


def band(axes: Axes, lines: Lines, name: str, metric: str, label: str, **look: Any) -> None:
    """Means of `metric`, in the column `name`, as a line, and their 95% intervals as a band."""
    look = {"color": BLUE, "linewidth": 1.6, "markersize": 3, **look}
    x, unit = column(lines, "step"), scale(metric)
    mean, half = unit * column(lines, name), unit * column(lines, "ci95")
    half[~np.isfinite(half)] = 0  # that of a single task
    axes.plot(x, mean, **{"marker": "o" if len(x) <= 40 else "", **look}, label=label)
    axes.fill_between(x, mean - half, mean + half, color=look["color"], alpha=0.22, linewidth=0)
    if len(x) == 1:
        axes.errorbar(x, mean, half, color=look["color"], capsize=3)


def finish(axes: Axes, metric: str, values: ndarray) -> None:
    """Name and limit the axis of the metric, and put the legend where it hides nothing."""
    limit(axes, metric, values)
    letters = sum(8 + len(label) for label in axes.get_legend_handles_labels()[1])
    across = 3 if letters <= LETTERS else 1
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=across, borderaxespad=0.6, borderpad=0)


def limit(axes: Axes, metric: str, values: ndarray) -> None:
    """Name and limit the axis of the metric, by the values drawn."""
    axes.set_ylabel(UNITS.get(metric, (metric, 1))[0])
    values = scale(metric) * values[np.isfinite(values)]
    low, high = axes.get_ylim()
    if metric == "accuracy":
        axes.set_ylim(max(low, 0), min(high, 100.5))
    elif values.size and 0 < 10 * values.min() < values.max():
        axes.set_yscale("log")
        axes.set_ylim(values.min() / 1.5, values.max() * 1.5)  # not those of the intervals, which may reach below 0
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if values.max() < 1000 * values.min() else (1,)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.minorticks_off()
    else:
        axes.set_ylim(bottom=0)
