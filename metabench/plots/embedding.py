"""An image episode as a network sees it: the features of its support and query examples, in two dimensions.

Features are what the backbone gives in the very pass that predicts, before and after adaptation where that moves them;
the plane is that of their two principal components, and each axis says what share of the variance it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn

from metabench.algo.base import Algorithm
from metabench.data.base import TaskSource
from metabench.figures.labels import label_points
from metabench.figures.palette import PALETTE
from metabench.objective import classes
from metabench.plots.theme import GREY, INK, WIDTH, predictions
from metabench.tasks import Tasks

WIDE = 3  # panels in the usual width
HEIGHT = 2.4  # inches, of a panel
NOTE = 0.75  # inches, for title and legend
ACROSS = 26  # letters in the width of a panel


@dataclass(frozen=True)
class Seen:
    """One moment of one model: features `[N, F]` of the support set and `[M, F]` of the queries."""

    support: Tensor
    query: Tensor


@dataclass(frozen=True)
class Embedded:
    """An episode under one model: features as it begins and, if that moved them, as it has adapted."""

    moments: tuple[Seen, ...]
    labels: tuple[Tensor, Tensor]  # [N], [M]
    predicted: Tensor  # [M]


def embed(algo: Algorithm, source: TaskSource, episode: int) -> Embedded | None:
    """Validation episode `episode`; None if the model does not use the features of its backbone."""
    tasks = source.sample("validation", episode, 1)
    shots, queries = tasks.support.x.shape[1], tasks.query.x.shape[1]
    outputs, query = _passes(algo, tasks, tasks.query.x)
    if not query:
        return None
    together = len(query[0]) > queries
    support = query if together else _passes(algo, tasks, tasks.support.x)[1]
    begin, end = (Seen(support[at][:shots], query[at][-queries:]) for at in (0, -1))
    labels = (tasks.support.y[0].cpu(), tasks.query.y[0].cpu())
    moments = (end,) if torch.equal(begin.query, end.query) else (begin, end)
    return Embedded(moments, labels, classes(outputs[-1][0]))


def embeddings(named: dict[str, Embedded], episode: int, title: str) -> Figure:
    """One column per model; below the features before adaptation those after it, where it changes them."""
    rows = max(len(found.moments) for found in named.values())
    picture = Figure(figsize=(WIDTH * max(1, len(named) / WIDE), rows * HEIGHT + NOTE), layout="constrained")
    panels = picture.subplots(rows, len(named), squeeze=False)
    for column, (name, found) in enumerate(named.items()):
        right = int((found.predicted == found.labels[1]).sum())
        above = rows - len(found.moments)
        for axes in panels[:above, column]:
            axes.set_axis_off()
        for row, seen in enumerate(found.moments):
            _panel(panels[above + row, column], seen, found)
        words = f"{fill(name, ACROSS)}\n{right} of {len(found.predicted)} queries right"
        moments = ("\nbefore adaptation", "after adaptation") if len(found.moments) > 1 else ("",)
        for axes, above_it, moment in zip(panels[above:, column], (words, ""), moments, strict=False):
            axes.set_title(f"{above_it}{moment}", fontsize=8, loc="left")
    about = f"{title}, validation task {episode}; principal components, with their share of the variance"
    picture.suptitle(about, fontsize=9, x=0.01, ha="left")
    ink: dict[str, Any] = {"color": INK, "linestyle": ""}
    handles = [
        Line2D([], [], marker="o", markersize=9, alpha=0.45, label="support, by class", **ink),
        Line2D([], [], marker="o", markersize=4, label="query, by class", **ink),
        Line2D([], [], marker="x", markersize=5, label="query taken for another class", **ink),
    ]
    picture.legend(handles=handles, loc="outside lower left", ncols=3)
    for column, found in enumerate(named.values()):
        for axes, seen in zip(panels[rows - len(found.moments) :, column], found.moments, strict=True):
            numbers = [f"{label + 1}" for label in found.labels[0].tolist()]
            points = plane(torch.cat([seen.support, seen.query]))[0][: len(seen.support)].numpy()
            label_points(picture, axes, points, numbers, ink=INK, line=GREY, size=6.5, dot=1, on_point=True)
    return picture


def _panel(axes: Axes, seen: Seen, found: Embedded) -> None:
    """The plane of the two principal components of support and queries together."""
    points, shares = plane(torch.cat([seen.support, seen.query]))
    support, query = points[: len(seen.support)], points[len(seen.support) :]
    wrong = found.predicted != found.labels[1]
    for label in found.labels[0].unique().tolist():
        colour = _colours(label)
        mine, asked = support[found.labels[0] == label], found.labels[1] == label
        axes.scatter(mine[:, 0], mine[:, 1], s=110, color=colour, alpha=0.45, linewidth=0, zorder=2)
        right, missed = query[asked & ~wrong], query[asked & wrong]
        axes.scatter(right[:, 0], right[:, 1], s=16, color=colour, linewidth=0, zorder=3)
        axes.scatter(missed[:, 0], missed[:, 1], s=26, color=colour, marker="x", linewidth=1.5, zorder=3)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.08)
    for name, share in zip(("x", "y"), shares, strict=True):
        axes.set(**{f"{name}label": f"component {1 + (name == 'y')} ({share:.0%})"})


def plane(points: Tensor) -> tuple[Tensor, tuple[float, float]]:
    """Points `[N, F]` on their two principal components `[N, 2]`, and the share of the variance on each.

    The sign of a component is arbitrary: its largest loading is made positive.
    """
    centred = (points - points.mean(0)).double()
    _, scale, axes = torch.linalg.svd(centred, full_matrices=False)
    axes, scale = (torch.nn.functional.pad(t, pad) for t, pad in ((axes, (0, 0, 0, 2)), (scale, (0, 2))))
    variance = scale.square()
    first = axes[:2]
    sign = torch.take_along_dim(first, first.abs().argmax(1, keepdim=True), 1).sign()
    shares = (variance[:2] / variance.sum().clamp_min(1e-300)).tolist()
    return centred @ (first * sign).T, (shares[0], shares[1])


def _colours(label: int) -> str:
    """A colour of its own for each of eight classes; with more of them the numbers tell."""
    return PALETTE[label % len(PALETTE)]


def _passes(algo: Algorithm, tasks: Tasks, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Predictions for x, and the features `[·, F]` of every pass of the backbone whose input ended in x."""
    found: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], z: Tensor) -> None:
        if given[0].shape[1] >= x.shape[1] and torch.equal(given[0][:, -x.shape[1] :], x):
            found.append(z[0].detach().float().cpu())

    handle = algo.backbone.register_forward_hook(keep)
    try:
        return predictions(algo, tasks, x), found
    finally:
        handle.remove()
