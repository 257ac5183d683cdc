"""Charts as SVG for a page that decides the colours: how cells learned, and what their accuracy cost.

Matplotlib draws; every colour it is given stands for a variable of the page's style sheet, so that one picture is right
in light and in dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator

from metabench.figures.labels import label_points
from metabench.figures.look import look
from metabench.figures.palette import PALETTE
from metabench.report.cells import Cell
from metabench.utils.interval import FEWEST, over_seeds

SERIES = len(PALETTE)  # colours; further rows take them again with another line
VARIABLES = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--grid)",
    "#040404": "var(--paper)",
    **{f"#1010{i:02x}": f"var(--series-{i})" for i in range(SERIES)},
}
INK, MUTED, GRID, PAPER, *COLOURS = VARIABLES
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))
MINUTE, HOUR, DAY = 60, 3600, 86400  # seconds
TIMES = (
    *(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20),
    *(MINUTE * minutes for minutes in (1, 2, 5, 10, 20)),
    *(HOUR * hours for hours in (1, 2, 5, 10)),
    *(DAY * days for days in (1, 2, 5, 10, 20, 50, 100)),
)  # that an axis may show
SIZE = (5.4, 3.3)  # inches
ACCURACIES = (0, 20, 50, 80, 90, 95, 98, 99, 99.5, 99.8, 99.9)  # marked where an axis is logarithmic in the error
OFFSET = 0.05  # percent, added to errors there, so that one of 0 has a place
DIVERGED = 100  # times the middle of the best errors: beyond that an axis ends
LOOK = {**look(ink=INK, axis=GRID, label=MUTED, grid=GRID), "svg.fonttype": "none", "axes.facecolor": "none"}
Lines = Sequence[Mapping[str, Any]]  # of metrics.jsonl: step, metric, ci95
Curves = Sequence[tuple[Cell, Sequence[Lines]]]


def series(rank: int) -> tuple[str, Any]:
    """The colour and the line of the row of that rank."""
    return COLOURS[rank % SERIES], DASHES[rank // SERIES % len(DASHES)]


def learning(curves: Curves, ranks: Mapping[tuple[str, str], int]) -> str:
    """The metric on validation tasks against meta-steps: one line per cell, or per seed of fewer than three.

    The band is the 95% interval: over seeds and tasks where three seeds or more validated at the same meta-steps, else
    over tasks.
    """
    with style.context(LOOK, after_reset=True):
        figure, axes = _axes()
        metric = curves[0][0].metric
        scale = 100 if metric == "accuracy" else 1
        drawn, best = [], []
        for cell, seeds in curves:
            colour, line = series(ranks[cell.row, cell.variant])
            for x, mean, half in _bands(seeds, metric, cell.runs[0].validation_tasks):
                mean, half = scale * mean, scale * np.nan_to_num(half)
                axes.plot(x, mean, color=colour, linestyle=line, linewidth=1.6, marker="o" if len(x) == 1 else "")
                axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.15, linewidth=0)
                drawn.append(mean[np.isfinite(mean)])
                best.append(np.nanmin(mean))
        axes.set_xlabel("meta-step")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
        values = np.concatenate(drawn)
        scale_metric(axes, metric, values if metric == "accuracy" else clipped(values, best), "validation")
        return as_svg(figure, f"{metric} on validation tasks against meta-steps")


Band = tuple[np.ndarray, np.ndarray, np.ndarray]  # steps, means and half-widths


def _bands(seeds: Sequence[Lines], metric: str, tasks: int | None) -> list[Band]:
    """One band over all seeds, or one for each of fewer than three, or where their meta-steps differ."""
    steps, means, halves = ([[line[name] for line in one] for one in seeds] for name in ("step", metric, "ci95"))
    if len(seeds) < FEWEST or any(one != steps[0] for one in steps):
        return [(np.array(x), np.array(y), np.array(h)) for x, y, h in zip(steps, means, halves, strict=True)]
    points = zip(zip(*means, strict=True), zip(*halves, strict=True), strict=True)
    half = [over_seeds(mean, own, tasks) for mean, own in points]
    return [(np.array(steps[0]), np.mean(means, axis=0), np.array(half))]


def cost(cells: Sequence[Cell], ranks: Mapping[tuple[str, str], int]) -> str:
    """The metric on test tasks against the seconds of meta-training: one point per cell with its 95% interval."""
    with style.context(LOOK, after_reset=True):
        figure, axes = _axes()
        metric = cells[0].metric
        scale = 100 if metric == "accuracy" else 1
        means = scale * np.array([cell.ours.mean for cell in cells])
        shown = means if metric == "accuracy" else clipped(means, list(means))
        points = [(cell.seconds, float(value)) for cell, value in zip(cells, shown, strict=True)]
        for cell, point, mean in zip(cells, points, means, strict=True):
            colour, _ = series(ranks[cell.row, cell.variant])
            half = scale * (cell.ours.ci95 or 0) if point[1] == mean else 0  # of one that diverged there is no interval
            marker = "o" if point[1] == mean else "^"
            axes.errorbar(*point, half, color=colour, marker=marker, markersize=6, capsize=2.5)
        axes.set_xscale("log")
        seconds = [cell.seconds for cell in cells]
        left, right = min(seconds) / 1.5, max(max(seconds) * 2.5, 10 * min(seconds))  # room for the names
        axes.set_xlim(left, right)
        times = [time for time in TIMES if left <= time <= right]
        axes.xaxis.set_major_locator(FixedLocator(times[:: max(1, len(times) // 5)]))
        axes.xaxis.minorticks_off()
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: time_text(seconds)))
        axes.set_xlabel("meta-training, of one seed")
        scale_metric(axes, metric, shown, "test")
        label_points(figure, axes, np.array(points), [cell.row for cell in cells], ink=INK, line=MUTED)
        return as_svg(figure, f"{metric} on test tasks against the time of meta-training")


def clipped(values: np.ndarray, best: Sequence[float]) -> np.ndarray:
    """Errors, those of diverged runs cut off at `DIVERGED` times the middle of the `best` error of each run."""
    finite = [value for value in best if np.isfinite(value)]
    return np.minimum(values, DIVERGED * float(np.median(finite))) if finite else values


def _axes() -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_alpha(0)
    return figure, figure.add_subplot()


def scale_metric(axes: Axes, metric: str, values: np.ndarray, what: str) -> None:
    """Name and limit the axis of the metric."""
    axes.set_ylabel(f"{what} {'accuracy (%)' if metric == 'accuracy' else 'error (mse)'}")
    if metric == "accuracy":
        _scale_accuracy(axes, values)
        return
    positive = values[values > 0]
    if positive.size and positive.max() > 8 * positive.min():
        axes.set_yscale("log")
        axes.set_ylim(positive.min() / 1.6, positive.max() * 1.6)
        wide = positive.max() > 1000 * positive.min()
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.minorticks_off()
    else:
        axes.set_ylim(bottom=0)


def _scale_accuracy(axes: Axes, values: np.ndarray) -> None:
    """Limit an axis of accuracies; where their errors differ much it is logarithmic in the error."""
    wrong = 100 - values[np.isfinite(values)] + OFFSET
    if not wrong.size or wrong.max() <= 8 * wrong.min():
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 100.5))
        return

    def up(accuracy: np.ndarray) -> np.ndarray:
        return -np.log10(np.maximum(100 + OFFSET - np.asarray(accuracy), 1e-9))

    axes.set_yscale("function", functions=(up, lambda height: 100 + OFFSET - 10 ** -np.asarray(height)))
    axes.set_ylim(*(100 + OFFSET - error for error in (min(1.2 * wrong.max(), 105), wrong.min() / 1.4)))
    axes.yaxis.set_major_locator(FixedLocator(ACCURACIES))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def time_text(seconds: float) -> str:
    """A time in its largest unit."""
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def as_svg(figure: Figure, label: str) -> str:
    """The picture as an element of a page, in the page's colours, letters and width."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    box = re.search(r'viewBox="([^"]*)"', svg)
    assert box is not None
    svg = (
        f'<svg viewBox="{box[1]}" role="img" aria-label="{label}" xmlns:xlink="http://www.w3.org/1999/xlink">'
        + (svg[svg.index(">") + 1 :])
    )
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg
