"""Texts of a picture that are cut off or lie on each other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def crowded(picture: Figure) -> list[str]:
    """The texts that reach over the edge of the picture, and pairs of them that overlap by more than a pixel."""
    renderer = FigureCanvasAgg(picture).get_renderer()
    picture.draw(renderer)
    page, hidden = picture.bbox, {*_not_drawn(picture)}
    boxes = [
        (text.get_text(), Text.get_window_extent(text, renderer))  # of an annotation without its arrow
        for text in picture.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]
    cut = [
        f"cut off: {name}"
        for name, box in boxes
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y0 < page.y0 - 1 or box.y1 > page.y1 + 1
    ]
    return cut + [f"{a} | {b}" for (a, one), (b, other) in combinations(boxes, 2) if _overlap(one, other)]


def _not_drawn(picture: Figure) -> Iterator[Text]:
    """Labels of ticks beyond the limits of their axis, and of axes that are off."""
    for axes in picture.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.majorTicks, *axis.minorTicks):
                if not axes.axison or not low <= tick.get_loc() <= high:
                    yield from (tick.label1, tick.label2)


def _overlap(one: Bbox, other: Bbox) -> bool:
    return min(one.x1, other.x1) - max(one.x0, other.x0) > 1 and min(one.y1, other.y1) - max(one.y0, other.y0) > 1
