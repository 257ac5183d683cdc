"""The picture of task shift: methods by shifts, each cell as dark as its loss, with the number in it."""

from __future__ import annotations

import math

from matplotlib import style
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metabench.board.shift import Loss, Shifted
from metabench.board.shift_formats import CANNOT, LARGE
from metabench.report.charts import COLOURS, INK, LOOK, MUTED

CELL = (0.52, 0.24)  # inches
LETTERS = 7.5  # points
DARKEST = 0.75  # opacity
TIMES_WORSE = 1000  # of errors: the ratio to the home test that is darkest


def figures(shifted: Shifted) -> dict[str, Figure]:
    """The picture by title, in colours that stand for a page's."""
    what = "accuracy lost (points)" if shifted.board.metric == "accuracy" else "increase of mean squared error"
    return {f"{what} under each shift; improvements in another colour": heatmap(shifted)}


def shade(metric: str, loss: Loss) -> float:
    """A darkness from 0 to 1, negative for an improvement: the share of accuracy at home, or log ratio of errors."""
    before = loss.mean + loss.loss.mean if metric == "accuracy" else loss.mean - loss.loss.mean
    if metric == "accuracy":
        return max(-1.0, min(1.0, loss.loss.mean / max(before, 1e-9)))
    if loss.mean <= 0 or before <= 0:
        return 0.0
    return max(-1.0, min(1.0, math.log(loss.mean / before) / math.log(TIMES_WORSE)))


def heatmap(shifted: Shifted) -> Figure:
    """Rows are methods, best at home first; columns are shifts."""
    metric, rows, names = shifted.board.metric, shifted.rows, shifted.names
    left = 0.075 * max(len(row.name) for row in rows) + 0.1
    top = 0.07 * max(map(len, names)) * math.sin(math.radians(40)) + 0.25
    width, height = CELL[0] * len(names), CELL[1] * len(rows)
    size = (left + width + 0.45, top + height + 0.1)
    with style.context(LOOK, after_reset=True):
        figure = Figure(figsize=size)
        figure.patch.set_alpha(0)
        axes = figure.add_axes((left / size[0], 0.1 / size[1], width / size[0], height / size[1]))
        axes.set(xlim=(0, len(names)), ylim=(len(rows), 0))
        axes.set_axis_off()
        for j, name in enumerate(names):
            axes.text(
                j + 0.4, -0.25, name, rotation=40, ha="left", va="bottom", fontsize=LETTERS, color=INK,
                rotation_mode="anchor", parse_math=False,
            )  # fmt: skip
        for i, row in enumerate(rows):
            axes.text(-0.12, i + 0.5, row.name, ha="right", va="center", fontsize=LETTERS, color=INK, parse_math=False)
            for j, name in enumerate(names):
                loss = shifted.losses[row.name].get(name)
                if loss is None:
                    text = CANNOT if name in shifted.refused.get(row.name, {}) else ""
                    axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=LETTERS, color=MUTED)
                    continue
                dark = shade(metric, loss)
                colour = COLOURS[1] if dark > 0 else COLOURS[2]
                axes.add_patch(
                    Rectangle((j, i), 1, 1, facecolor=colour, alpha=DARKEST * abs(dark), linewidth=0, zorder=1)
                )
                text = _short(metric, loss.loss.mean)
                axes.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=LETTERS, color=INK, zorder=2)
        return figure


def _short(metric: str, loss: float) -> str:
    """A loss in few letters."""
    size = abs(loss)
    if metric == "accuracy":
        text = f"{100 * size:.1f}"
    elif size >= LARGE:
        text = f"{size:.0e}".replace("e+0", "e").replace("e+", "e")
    else:
        text = f"{size:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"
    return f"−{text}" if loss < 0 and float(text) else text
