"""A stream: its drawings in the order in which they come, and which of their labels were known before being shown."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from metabench.algo.base import Algorithm
from metabench.data.base import TaskSource
from metabench.plots.episode import DRAWING, LEGEND, MARK, NAME, PAGE, SIDE_BY_SIDE, TITLE, tile
from metabench.plots.theme import BLUE, GREY, INK, ORANGE, WIDTH, predictions

LONGEST = 60  # steps shown at most
LETTERS = "abcde"
PITCH = NAME + 1 + MARK  # height of a row


def stream(algo: Algorithm, source: TaskSource) -> Figure:
    """The first validation stream; above each drawing its label, below it whether that was the prediction."""
    tasks = source.sample("validation", 0, 1)
    found = predictions(algo, tasks, tasks.query.x)[-1]
    x, y = source.pixels(tasks.query.x[0]).cpu(), tasks.query.y[0].cpu()
    right = [bool(algo.objective.metric(found[:, t : t + 1], y[None, t : t + 1]) > 0) for t in range(len(y))]
    shown = min(len(y), LONGEST)
    height = TITLE + math.ceil(shown / SIDE_BY_SIDE) * PITCH + LEGEND
    picture = Figure(figsize=(WIDTH, WIDTH * height / PAGE))
    axes = picture.add_axes((0, 0, 1, 1))
    left = (PAGE - SIDE_BY_SIDE) / 2
    part = f", the first {shown} shown" if shown < len(y) else ""
    axes.text(left, TITLE / 2, f"validation task 0: {sum(right)} of {len(y)} steps right{part}", va="center")
    came: dict[str, int] = {}
    for t in range(shown):
        row, column = divmod(t, SIDE_BY_SIDE)
        at, top = left + column, TITLE + row * PITCH
        name = str(y[t].item() + 1) if y.dim() == 1 else "".join(LETTERS[i] for i in y[t].tolist())
        came[name] = came.get(name, 0) + 1
        new = came[name] == 1
        axes.text(at + DRAWING / 2, top + NAME / 2, name, va="center", ha="center", color=INK if new else GREY)
        mark, color = ("✓", BLUE) if right[t] else ("✗", ORANGE)
        tile(axes, at, top + NAME, x[t], color, 1 if right[t] else 2)
        axes.text(at + DRAWING / 2, top + NAME + DRAWING + MARK / 2, mark, color=color, va="center", ha="center")
    legend = "labels in black come for the first time: they can only be guessed"
    axes.text(left, height - LEGEND / 2, legend, color=GREY, va="center")
    axes.set(xlim=(0, PAGE), ylim=(height, 0))
    axes.set_axis_off()
    return picture
