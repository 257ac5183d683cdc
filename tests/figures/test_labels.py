"""Labels of points keep off each other, the points and the lines, and stay in the picture."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from layout import crowded
from matplotlib.figure import Figure

from metabench.figures.labels import label_points


def labelled(points: np.ndarray, **options):
    figure = Figure(figsize=(5, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.scatter(*points.T)
    axes.plot([0, 1], [0, 1])
    axes.errorbar(points[:, 0], points[:, 1], 0.05, linestyle="")
    axes.set(xlim=(-0.1, 1.3), ylim=(-0.1, 1.1))
    names = [f"method {i}" for i in range(len(points))]
    return figure, axes, label_points(figure, axes, points, names, ink="k", line="k", **options)


def test_labels_of_a_crowd_stand_apart():
    points = np.random.default_rng(0).random((16, 2)) * 0.5 + 0.25
    figure, axes, boxes = labelled(points)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    for x, y in axes.transData.transform(points):
        assert not any(box.contains(x, y) for box in boxes)
    for at in np.linspace(0, 1, 200):
        assert not any(box.contains(*axes.transData.transform((at, at))) for box in boxes)
    assert crowded(figure) == []


def test_a_lone_label_is_beside_its_point_without_a_line():
    _, axes, (box,) = labelled(np.array([[0.2, 0.8]]))
    x, y = axes.transData.transform((0.2, 0.8))
    assert 0 < box.x0 - x < 12
    assert box.y0 < y < box.y1
    assert axes.texts[0].arrow_patch is None


@pytest.mark.parametrize("count", [1, 2])
def test_numbers_stand_on_their_points_where_that_is_free(count):
    _, axes, boxes = labelled(np.tile([0.2, 0.8], (count, 1)), on_point=True, dot=1)
    # the error bar of the point goes through it, so that it is no free place; the nearest is beside it
    assert len(axes.texts) == count
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


@pytest.mark.parametrize("seed", range(3))
def test_no_line_to_a_label_crosses_another_label(seed):
    points = np.random.default_rng(seed).random((7, 2)) * [0.3, 0.12] + [0.3, 0.8]
    _, axes, boxes = labelled(points)
    lines = [text for text in axes.texts if text.arrow_patch is not None]
    assert lines
    for text in lines:
        own = axes.texts.index(text)
        ends = axes.transData.transform([text.xy, text.get_position()])
        for share in np.linspace(0, 1, 100):
            at = ends[0] + share * (ends[1] - ends[0])
            assert not any(box.contains(*at) for i, box in enumerate(boxes) if i != own)
