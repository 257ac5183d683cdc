"""Labels of points, each in the nearest place that no other label, point or line takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from matplotlib import cbook
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from numpy import ndarray
from numpy.typing import ArrayLike

FAR = 40  # rings of places that are tried
TURNS = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)]
APART = 3.0  # pixels between the pieces that a line is taken for
LINE = 1e-3  # a name on the line to another is this bad, where one on another name is 1
BESIDE = 2  # rings whose names stand beside their points; those further away have a line


def label_points(
    figure: Figure, axes: Axes, points: ndarray, names: Sequence[str], *, ink: str, line: str, size: float = 8,
    dot: float = 4, on_point: bool = False,
) -> list[Bbox]:  # fmt: skip
    """Write a name for each of `points [N, 2]`, in data units; returns the boxes of the names in pixels.

    A name stands beside its point, or further away with a thin line to it, within the picture; `on_point` lets it stand
    on the point where that is free. `dot` is the radius of a point, `size` that of letters, in typographic points.
    Where there is no free place the one with the least in its way is taken. The limits of the axes should be final.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()
    pixels = axes.transData.transform(points)
    radius = dot * figure.dpi / 72
    taken = np.concatenate([_around(pixels, 0 if on_point else radius), _lines(axes)])
    edge, right = axes.get_window_extent(renderer), figure.bbox.x1
    leaders = np.empty((0, 4))  # the lines from points to their names
    boxes: list[Bbox] = []
    for name, (x, y) in zip(names, pixels, strict=True):
        wide, high = _half_size(axes, name, size, renderer)
        best, place = np.inf, (x, y, 0)
        for at_x, at_y, ring in _places(x, y, wide, high, radius, on_point):
            if not (edge.x0 <= at_x - wide and at_x + wide <= right and edge.y0 <= at_y - high <= edge.y1 - 2 * high):
                continue
            met = _met(taken, at_x, at_y, wide, high) + LINE * _met(leaders, at_x, at_y, wide, high)
            if ring > BESIDE:
                met += LINE * _crossed(_pieces((x, y), (at_x, at_y)), boxes)
            if met < best:
                best, place = met, (at_x, at_y, ring)
            if met == 0:
                break
        at_x, at_y, ring = place
        boxes.append(Bbox.from_extents(at_x - wide, at_y - high, at_x + wide, at_y + high))
        taken = np.concatenate([taken, [[at_x - wide, at_y - high, at_x + wide, at_y + high]]])
        arrow = None
        if ring > BESIDE:
            leaders = np.concatenate([leaders, _around(_pieces((x, y), (at_x, at_y)), 1.0)])
            arrow = {"arrowstyle": "-", "color": line, "linewidth": 0.6, "shrinkB": 3, "shrinkA": 0}
        # in data units, so that the text stays there at every resolution
        (from_x, from_y), (to_x, to_y) = axes.transData.inverted().transform([(x, y), (at_x, at_y)]).tolist()
        axes.annotate(
            name, (from_x, from_y), (to_x, to_y), textcoords="data", fontsize=size, color=ink, parse_math=False,
            va="center", ha="center", zorder=5, annotation_clip=False, arrowprops=arrow,
        ).set_in_layout(False)  # fmt: skip
    return boxes


def _half_size(axes: Axes, name: str, size: float, renderer: object) -> tuple[float, float]:
    """Half the width and height of a name in pixels, with a little air."""
    text = axes.text(0, 0, name, fontsize=size, parse_math=False)
    box = text.get_window_extent(renderer)  # type: ignore[arg-type]
    text.remove()
    return box.width / 2 + 1, box.height / 2


def _places(
    x: float, y: float, wide: float, high: float, radius: float, on_point: bool
) -> Iterator[tuple[float, float, int]]:
    """Places for the middle of a name and the ring that each is of, from the nearest to the farthest."""
    if on_point:
        yield x, y, 0
    for ring in range(1, FAR):
        reach = radius * (0.6 + ring)
        for across, up in TURNS:
            yield x + across * (reach + wide), y + up * (reach + high), ring


def _met(taken: ndarray, x: float, y: float, wide: float, high: float) -> int:
    """Number of the boxes `taken [N, 4]` that a name at x, y overlaps."""
    left, low, right, top = taken.T
    return int(((left < x + wide) & (right > x - wide) & (low < y + high) & (top > y - high)).sum())


def _crossed(line: ndarray, boxes: Sequence[Bbox]) -> int:
    """Number of `boxes` that a line of pieces `[N, 2]` crosses."""
    x, y = line.T
    return sum(bool(((box.x0 < x) & (x < box.x1) & (box.y0 < y) & (y < box.y1)).any()) for box in boxes)


def _around(pixels: ndarray, radius: float) -> ndarray:
    """Boxes `[N, 4]` around points."""
    return np.concatenate([pixels - radius, pixels + radius], axis=1) if radius else np.empty((0, 4))


def _pieces(one: ArrayLike, other: ArrayLike) -> ndarray:
    """Points `[N, 2]` along a line."""
    start, way = np.asarray(one), np.subtract(other, one)
    count = max(2, int(np.hypot(*way) / APART))
    return start + way * np.linspace(0, 1, count)[:, None]


def _lines(axes: Axes) -> ndarray:
    """Boxes `[N, 4]` along the lines of the axes, those of error bars among them."""
    paths = []
    for line in axes.lines:
        x, y = cbook.STEP_LOOKUP_MAP[line.get_drawstyle()](*line.get_data(orig=False))
        if line.get_linestyle() not in ("None", "", " ") and len(x) > 1:
            paths.append(np.column_stack([x, y]))
    for collection in axes.collections:
        if isinstance(collection, LineCollection):
            paths += [np.asarray(segment) for segment in collection.get_segments()]
    found = [np.empty((0, 2))]
    for path in paths:
        ends = axes.transData.transform(path)
        for one, other in pairwise(ends):
            if np.isfinite([one, other]).all():
                found.append(_pieces(one, other))
    return _around(np.concatenate(found), 1.0)
