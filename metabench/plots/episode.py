"""Image tasks: the support drawings of each class, and what its queries were taken for."""

from __future__ import annotations

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from metabench.algo.base import Algorithm
from metabench.data.base import TaskSource
from metabench.objective import classes
from metabench.plots.theme import BLUE, GREY, INK, ORANGE, PALE, WIDTH, predictions
from metabench.tasks import Episode, Examples

SIDE_BY_SIDE = 10  # classes
CLASSES, QUERIES, SUPPORT, SUPPORT_OF_MANY = 20, 5, 5, 2  # shown at most; the last where classes take several bands

# Lengths, in the width of a class.
PAGE = SIDE_BY_SIDE + 1.3  # its width
MARGIN, GAP = 0.3, 0.45  # left of an episode; between episodes and between bands
TITLE, NAME, BREAK, MARK, LEGEND = 0.5, 0.3, 0.2, 0.3, 0.35  # heights, from the top down; the last of each line
TITLE_WIDTH = 4.5
DRAWING = 0.92  # the rest is the space to the next


class Plan:
    """The shown part of the episodes, and its place: one column per class, broken into bands where there are many."""

    def __init__(self, episode: Episode) -> None:
        self.tasks = 2 if 2 * episode.outputs <= SIDE_BY_SIDE else 1
        self.classes = min(episode.outputs, CLASSES)
        self.bands = math.ceil(self.classes / SIDE_BY_SIDE)
        self.columns = math.ceil(self.classes / self.bands)
        self.shots = min(episode.shots, SUPPORT if self.bands == 1 else SUPPORT_OF_MANY)
        self.queries = min(episode.queries, QUERIES)
        self.asked = self.queries * (1 + MARK)  # height of the queries
        self.band = NAME + self.shots + BREAK + self.asked + GAP  # height of everything
        self.pitch = MARGIN + max(self.columns, TITLE_WIDTH) + GAP
        self.width = self.tasks * self.pitch - GAP
        shown = [(self.classes, episode.outputs, "classes"), (self.shots, episode.shots, "support images per class")]
        shown.append((self.queries, episode.queries, "queries per class"))
        parts = [f"{some} of {whole} {name}" for some, whole, name in shown if some < whole]
        self.note = f"shown: {', '.join(parts)}" if parts else ""
        self.legend = TITLE + self.bands * self.band - GAP / 2  # top
        self.height = self.legend + (2 if parts else 1) * LEGEND

    def corner(self, task: int, label: int) -> tuple[float, float]:
        """Left and top of the images of a class."""
        band, column = divmod(label, self.columns)
        left = (PAGE - self.width) / 2 + task * self.pitch + MARGIN
        return left + column, TITLE + band * self.band


def episodes(algo: Algorithm, source: TaskSource) -> Figure:
    """One validation episode, or two small ones side by side."""
    plan = Plan(source.spec.eval)
    tasks = source.sample("validation", 0, plan.tasks)
    found = classes(predictions(algo, tasks, tasks.query.x)[-1])  # of all queries at once, as in evaluation
    picture = Figure(figsize=(WIDTH, WIDTH * plan.height / PAGE))
    axes = picture.add_axes((0, 0, 1, 1))
    for t in range(plan.tasks):
        support, query = (
            Examples(source.pixels(part.x[t]).cpu(), part.y[t].cpu()) for part in (tasks.support, tasks.query)
        )
        _episode(axes, plan, t, support, query, found[t])
    left, y = plan.corner(0, 0)[0], plan.legend + LEGEND / 2
    for x, text, color in (
        (0, "✓", BLUE), (0.25, "right", INK), (1.15, "✗ 2", ORANGE), (1.6, "wrong: taken for class 2", INK)
    ):  # fmt: skip
        axes.text(left + x, y, text, color=color, va="center")
    axes.text(left, y + LEGEND, plan.note, color=GREY, va="center")
    axes.set(xlim=(0, PAGE), ylim=(plan.height, 0))
    axes.set_axis_off()
    return picture


def _episode(axes: Axes, plan: Plan, task: int, support: Examples, query: Examples, found: Tensor) -> None:
    """Episode `task`, whose queries were given the labels `found [M]`."""
    right = int((found == query.y).sum())
    title = f"validation task {task}: {right} of {len(found)} queries right"
    axes.text(plan.corner(task, 0)[0], TITLE / 2, title, va="center")
    for label in range(plan.classes):
        x, y = plan.corner(task, label)
        middle = x + DRAWING / 2
        axes.text(middle, y + NAME / 2, f"{label + 1}", va="center", ha="center")
        y += NAME
        if label % plan.columns == 0:
            for name, below in (("support", plan.shots / 2), ("queries", plan.shots + BREAK + plan.asked / 2)):
                axes.text(x - MARGIN / 2, y + below, name, rotation=90, va="center", ha="center", color=GREY)
        for drawing in support.x[support.y == label][: plan.shots]:
            tile(axes, x, y, drawing, PALE, 1)
            y += 1
        y += BREAK
        asked = query.y == label
        for drawing, guess in zip(query.x[asked][: plan.queries], found[asked].tolist(), strict=False):
            mark, color, width = ("✓", BLUE, 1) if guess == label else (f"✗ {guess + 1}", ORANGE, 2)
            tile(axes, x, y, drawing, color, width)
            axes.text(middle, y + DRAWING + MARK / 2, mark, color=color, va="center", ha="center")
            y += 1 + MARK


def tile(axes: Axes, x: float, y: float, drawing: Tensor, color: str, width: float) -> None:
    """A picture `[C, H, W]` in 0..1, in a frame: three channels as colours, one as dark ink on white."""
    pixels = (drawing.movedim(0, -1) if len(drawing) == 3 else 1 - drawing[0]).numpy()
    extent = (x, x + DRAWING, y + DRAWING, y)
    axes.imshow(pixels, extent=extent, cmap="gray", vmin=0, vmax=1, aspect="auto")
    axes.add_patch(Rectangle((x, y), DRAWING, DRAWING, fill=False, edgecolor=color, linewidth=width))
