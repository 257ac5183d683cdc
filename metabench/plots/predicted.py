"""Predictions of a learner for a user's own images or points."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from metabench.plots.theme import BLUE, GREY, INK, ORANGE, PALE, WIDTH

COLUMNS = 10  # images in a line
SUPPORT, QUERIES = 10, 60  # shown at most: examples of a class, queries
NAME, GAP, LEFT = 0.5, 0.35, 1.8  # in the width of an image: a line of text, space, the names of classes
TILE = 0.92
PIXELS = 128  # of the longer side of an image, at most
LETTERS, BELOW = 12, 9  # of a name, beside its class and below a query
HALF = 1.96  # standard deviations, of a 95% interval


def predicted_classes(
    support: Sequence[tuple[Image.Image, str]],
    queries: Sequence[tuple[Image.Image, str, float, bool | None]],
    title: str,
) -> Figure:
    """The support images of each class, then the queries with label and probability.

    A query is its image, label, probability, and if known whether the label is right.
    """
    classes: dict[str, list[Image.Image]] = {}
    for image, label in support:
        classes.setdefault(label, []).append(image)
    shown = queries[:QUERIES]
    lines = math.ceil(len(shown) / COLUMNS)
    height = 2 * NAME + len(classes) + GAP + NAME + lines * (1 + 2 * NAME)
    page = LEFT + COLUMNS
    picture = Figure(figsize=(WIDTH, WIDTH * height / page))
    axes = picture.add_axes((0, 0, 1, 1))
    axes.text(0.1, NAME / 2 + 0.1, title, va="center")
    axes.text(0.1, 1.5 * NAME, "support", va="center", color=GREY)
    y = 2 * NAME
    for label, images in classes.items():
        axes.text(LEFT - 0.15, y + TILE / 2, _short(label, LETTERS), va="center", ha="right")
        for i, image in enumerate(images[:SUPPORT]):
            _tile(axes, LEFT + i, y, image, PALE)
        y += 1
    left_out = f", {len(shown)} of {len(queries)}" if len(shown) < len(queries) else ""
    axes.text(0.1, y + GAP + NAME / 2, f"queries{left_out}", va="center", color=GREY)
    y += GAP + NAME
    for number, (image, label, chance, right) in enumerate(shown):
        line, column = divmod(number, COLUMNS)
        x, top = LEFT + column, y + line * (1 + 2 * NAME)
        color = {None: INK, True: BLUE, False: ORANGE}[right]
        _tile(axes, x, top, image, PALE if right is None else color)
        mark = {None: "", True: "✓ ", False: "✗ "}[right]
        axes.text(
            x + TILE / 2, top + 1 + NAME / 3, mark + _short(label, BELOW), color=color, ha="center", va="center", size=7
        )
        axes.text(x + TILE / 2, top + 1 + NAME, f"{chance:.0%}", color=GREY, ha="center", va="center", size=7)
    axes.set(xlim=(0, page), ylim=(height, 0))
    axes.set_axis_off()
    return picture


def predicted_curve(
    support: tuple[Sequence[float], Sequence[float]],
    queries: tuple[Sequence[float], Sequence[float]],
    std: Sequence[float] | None,
    title: str,
) -> Figure:
    """The support points, and the predictions in the order of x, with a 95% interval if there is one."""
    picture = Figure(figsize=(WIDTH, 3), layout="constrained")
    axes = picture.subplots()
    order = np.argsort(queries[0])
    x, y = (np.asarray(values)[order] for values in queries)
    axes.plot(x, y, ".-", color=BLUE, label="prediction")
    if std is not None:
        half = HALF * np.asarray(std)[order]
        axes.fill_between(x, y - half, y + half, color=BLUE, alpha=0.22, linewidth=0, label="95% interval")
    axes.plot(*support, "o", color=INK, label="support", zorder=3)
    axes.set(xlabel="x", ylabel="y")
    axes.set_title(title, loc="left", fontsize=9)
    axes.legend()
    return picture


def _tile(axes: Axes, x: float, y: float, image: Image.Image, color: str) -> None:
    """The image in its own shape and colours, in a square frame."""
    small = image.convert("RGB")
    small.thumbnail((PIXELS, PIXELS))
    wide, high = (TILE * side / max(small.size) for side in small.size)
    left, top = x + (TILE - wide) / 2, y + (TILE - high) / 2
    axes.imshow(np.asarray(small), extent=(left, left + wide, top + high, top), aspect="auto")
    axes.add_patch(Rectangle((x, y), TILE, TILE, fill=False, edgecolor=color))


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"
